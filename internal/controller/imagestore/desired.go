// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagestore

import (
	"cmp"
	"slices"
	"strings"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/demand"
)

// The bounds of a store's spec. With what the agent may say in status the whole stays below 400 KB.
const (
	maxImages     = 1000
	maxImageBytes = 160 << 10
	maxCaches     = 8
)

// images are the entries of the spec, by name, without credentials; left counts those that found no room.
func (v *view) images(granted map[string]bool) (entries []v1alpha1.StoreImage, left int) {
	var added []v1alpha1.StoreImage
	for _, w := range v.wants {
		entry := w.entry(v.hold(w, granted))
		if w.had != nil {
			entries = append(entries, entry)
		} else {
			added = append(added, entry)
		}
	}
	entries = append(entries, v.released(append(slices.Clone(entries), added...))...)
	// What stands is never dropped for want of room: the agent may have a record of it.
	room := roomBeside(entries)
	for i := range added {
		room -= weight(&added[i])
		if len(entries) >= maxImages || room < 0 {
			left = len(added) - i
			break
		}
		entries = append(entries, added[i])
	}
	slices.SortFunc(entries, func(a, b v1alpha1.StoreImage) int { return strings.Compare(a.Image, b.Image) })
	return entries, left
}

// entryBytes is what an entry takes beside its texts: names of fields, quotes, a size, and the names of its credentials.
const entryBytes = 140

// roomBeside is what entries leave of the room for them.
func roomBeside(entries []v1alpha1.StoreImage) int {
	room := maxImageBytes
	for i := range entries {
		room -= weight(&entries[i])
	}
	return room
}

func weight(entry *v1alpha1.StoreImage) int {
	bytes := entryBytes + len(entry.Image) + len(entry.Digest)
	for _, c := range entry.Caches {
		bytes += len(c) + 3
	}
	return bytes
}

// entry merges what the caches ask for.
func (w *want) entry(hold v1alpha1.HoldReason) v1alpha1.StoreImage {
	entry := v1alpha1.StoreImage{
		Image: w.image, Digest: w.digest, Size: w.size, Hold: hold, RemovalPolicy: v1alpha1.RemovalPolicyRemove,
	}
	for _, c := range w.caches {
		entry.Pin = entry.Pin || c.Pin
		if c.Policy == v1alpha1.RemovalPolicyKeep {
			entry.RemovalPolicy = c.Policy
		}
		if len(entry.Caches) < maxCaches {
			entry.Caches = append(entry.Caches, c.Key.String())
		}
	}
	return entry
}

// hold is why no pull may start. What is there is held only where it would not be pulled again if it were lost, and not
// for a node or an agent that is away for a moment: that would be two writes for nothing.
func (v *view) hold(w *want, granted map[string]bool) v1alpha1.HoldReason {
	places := v.now
	if w.present {
		places = v.settled
	}
	usable, awake := w.unsuspended(places)
	switch {
	case !awake:
		return v1alpha1.HoldSuspended
	case len(usable) == 0:
		return v1alpha1.HoldNode
	case w.scouting():
		if granted[scoutSlot(w.ref)] {
			return ""
		}
		return v1alpha1.HoldScout
	case w.present || slices.ContainsFunc(usable, func(c *demand.Cache) bool { return granted[cacheSlot(c.Key)] }):
		return ""
	}
	return v1alpha1.HoldTurn
}

// released are the entries to let go of, beside those that are wanted.
//
//nolint:gocognit // The cases of one thing, one after the other: apart they would be harder to compare.
func (v *view) released(wanted []v1alpha1.StoreImage) []v1alpha1.StoreImage {
	keep := map[string]v1alpha1.StoreImage{}
	is := map[string]string{}
	for i := range wanted {
		is[wanted[i].Image] = wanted[i].Digest
	}
	letGo := func(image, digest string, policy v1alpha1.RemovalPolicy) {
		if _, ok := is[image]; ok || v.undecided[image] {
			return
		}
		policy = cmp.Or(policy, v1alpha1.RemovalPolicyRemove)
		if keep[image].RemovalPolicy == v1alpha1.RemovalPolicyKeep {
			policy = v1alpha1.RemovalPolicyKeep
		}
		keep[image] = v1alpha1.StoreImage{Image: image, Digest: digest, RemovalPolicy: policy, Released: true}
	}
	for i := range v.store.Spec.Images {
		had := &v.store.Spec.Images[i]
		digest, wantedStill := is[had.Image]
		switch {
		case !wantedStill && (!had.Released || !v.answered(had, is)):
			letGo(had.Image, had.Digest, v.policy(had))
		case wantedStill && digest != "" && !strings.Contains(had.Image, "@"):
			// A scout's entry names no digest: what the node has under the name does.
			old := had.Digest
			if record := v.records[had.Image]; old == "" && record != nil {
				old = record.Digest
			}
			if old != "" && old != digest {
				letGo(byDigest(had.Image, old), old, v.policy(had))
			}
		}
	}
	for i := range v.store.Status.Images {
		record := &v.store.Status.Images[i]
		if _, standing := v.had[record.Image]; !standing && (record.Pulled || record.Pinned) {
			// The entry was lost, and its policy with it.
			letGo(record.Image, record.Digest, v1alpha1.RemovalPolicyKeep)
		}
	}
	entries := make([]v1alpha1.StoreImage, 0, len(keep))
	for _, entry := range keep {
		entries = append(entries, entry)
	}
	return entries
}

// policy is what becomes of an entry that is let go: as it stands, or Keep, if a cache that it was there for says so by now. One
// edit may both change the policy and drop the image.
func (v *view) policy(had *v1alpha1.StoreImage) v1alpha1.RemovalPolicy {
	for i := range v.caches {
		if c := &v.caches[i]; c.Policy == v1alpha1.RemovalPolicyKeep && slices.Contains(had.Caches, c.Key.String()) {
			return c.Policy
		}
	}
	return had.RemovalPolicy
}

// answered reports whether the agent has seen that the entry is released, and has no record of it, nor one of a tag that still
// stands for its digest and is to move on: that would be carried over to it.
func (v *view) answered(had *v1alpha1.StoreImage, is map[string]string) bool {
	if v.store.Status.ObservedGeneration < v.store.Generation {
		return false
	}
	return !slices.ContainsFunc(v.store.Status.Images, func(r v1alpha1.StoreImageStatus) bool { return concerns(&r, had, is) })
}

// concerns reports whether the record is of the released entry, or will be once its tag has moved. is are the digests
// that names stand for now.
func concerns(record *v1alpha1.StoreImageStatus, released *v1alpha1.StoreImage, is map[string]string) bool {
	if record.Image == released.Image {
		return true
	}
	digest, wanted := is[record.Image]
	return wanted && record.Digest != "" && record.Digest != digest && byDigest(record.Image, record.Digest) == released.Image
}

// byDigest is the name by digest of the repository of an entry's name.
func byDigest(image, digest string) string {
	repository, _, _ := strings.Cut(image, "@")
	if at := strings.LastIndexByte(repository, ':'); at > strings.LastIndexByte(repository, '/') {
		repository = repository[:at]
	}
	return repository + "@" + digest
}
