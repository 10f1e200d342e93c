// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagestore

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"orlop.dev/orlop/api/v1alpha1"
)

// The bounds of a store's spec. With what the agent may say in status the whole stays below 400 KB.
const (
	// maxImages is as the schema has it, maxImageBytes is what they take together. What is new leaves the last of both to tags that
	// move, each of which takes two entries for a while: without that a store that is full could follow none.
	maxImages, forMoves          = 1000, 100
	maxImageBytes, bytesForMoves = 160 << 10, 6 << 10
	// leastForMoves is for tags that move also where what stands has grown beyond its room, as by longer lists of caches.
	leastForMoves = 4 << 10
)

// arrange decides which entries there are, so that they find room by construction. What stands has its place, since the agent
// may have a record of it. What a tag moves away from takes one more, and the tag waits for it; then come records that have
// lost their entry; what is new comes last.
func (v *view) arrange() {
	is := map[string]string{}
	for _, w := range v.wants {
		is[w.image] = w.digest
	}
	v.letGo = v.standing(is)
	room := v.room()
	free := room.bytes
	room.bytes = max(room.bytes, leastForMoves)
	for _, w := range v.wants {
		if w.had != nil && !v.leave(w, is, &room) {
			w.wait()
			v.waiting = append(v.waiting, w.image)
		}
	}
	v.strays(is, &room)
	if free < room.bytes {
		room.bytes = free
	}
	room.entries, room.bytes = room.entries-forMoves, room.bytes-bytesForMoves
	for _, w := range v.wants {
		if w.had != nil {
			continue
		}
		entry := w.entry("")
		if w.out = !room.take(&entry); w.out {
			v.left = append(v.left, w.image)
		}
	}
}

// room is what is left for entries.
type room struct{ entries, bytes int }

// room is what those leave that stand.
func (v *view) room() room {
	stand := slices.Collect(maps.Values(v.letGo))
	for _, w := range v.wants {
		if w.had != nil {
			stand = append(stand, w.entry(""))
		}
	}
	return roomBeside(stand)
}

func roomBeside(entries []v1alpha1.StoreImage) room {
	r := room{maxImages, maxImageBytes}
	for i := range entries {
		r.entries, r.bytes = r.entries-1, r.bytes-weight(&entries[i])
	}
	return r
}

// take reports whether the entry finds room. After the first that does not no other does: nothing jumps the queue for being short.
func (r *room) take(entry *v1alpha1.StoreImage) bool {
	if r.entries < 1 || r.bytes < weight(entry) {
		*r = room{}
		return false
	}
	r.entries, r.bytes = r.entries-1, r.bytes-weight(entry)
	return true
}

// entryBytes is what an entry takes beside its texts: names of fields, quotes, a size, and the names of its credentials.
const entryBytes = 140

func weight(entry *v1alpha1.StoreImage) int {
	bytes := entryBytes + len(entry.Image) + len(entry.Digest)
	for _, c := range entry.Caches {
		bytes += len(c) + 3
	}
	return bytes
}

// standing are the entries that nobody wants any more, by name, until the agent has answered. is are the digests that names
// stand for now.
func (v *view) standing(is map[string]string) map[string]v1alpha1.StoreImage {
	let := map[string]v1alpha1.StoreImage{}
	for i := range v.store.Spec.Images {
		had := &v.store.Spec.Images[i]
		if _, wanted := is[had.Image]; !wanted && !v.undecided[had.Image] && (!had.Released || !v.answered(had, is)) {
			let[had.Image] = v.released(had, had.Image, had.Digest)
		}
	}
	return let
}

// leave lets go of what a name stood for before it moved, if it did, and reports whether there is room for that.
func (v *view) leave(w *want, is map[string]string, r *room) bool {
	old := w.had.Digest
	if old == "" && w.record != nil {
		old = w.record.Digest // A scout's entry names no digest: what the node has under the name does.
	}
	if w.digest == "" || old == "" || old == w.digest || strings.Contains(w.image, "@") {
		return true
	}
	entry := v.released(w.had, byDigest(w.image, old), old)
	if _, wanted := is[entry.Image]; wanted || v.undecided[entry.Image] {
		return true
	}
	if there, ok := v.letGo[entry.Image]; ok {
		if there.RemovalPolicy == v1alpha1.RemovalPolicyKeep {
			entry.RemovalPolicy = there.RemovalPolicy
		}
	} else if !r.take(&entry) {
		return false
	}
	v.letGo[entry.Image] = entry
	return true
}

// wait keeps the entry as it stands until there is room for what it leaves behind.
func (w *want) wait() {
	w.digest, w.size, w.recheck = w.had.Digest, w.had.Size, ""
	w.present = there(w.record, w.digest)
}

// strays are records whose entry was lost, and its policy with it.
func (v *view) strays(is map[string]string, r *room) {
	held := map[string]bool{}
	for _, w := range v.wants {
		if w.answered() && w.had.Digest != "" {
			held[byDigest(w.image, w.had.Digest)] = true // The node has moved on, and its entry will.
		}
	}
	for i := range v.store.Status.Images {
		record := &v.store.Status.Images[i]
		_, standing := v.had[record.Image]
		_, going := v.letGo[record.Image]
		_, wanted := is[record.Image]
		if standing || going || wanted || held[record.Image] || v.undecided[record.Image] || !record.Pulled && !record.Pinned {
			continue
		}
		entry := v.released(&v1alpha1.StoreImage{RemovalPolicy: v1alpha1.RemovalPolicyKeep}, record.Image, record.Digest)
		if r.take(&entry) {
			v.letGo[entry.Image] = entry
		}
	}
}

// released is the entry by which that of had is let go. Its policy is as it stands, or Keep, if a cache that it was there for
// says so by now: one edit may both change the policy and drop the image, and the policy may be changed while it goes.
func (v *view) released(had *v1alpha1.StoreImage, image, digest string) v1alpha1.StoreImage {
	entry := v1alpha1.StoreImage{
		Image: image, Digest: digest, RemovalPolicy: cmp.Or(had.RemovalPolicy, v1alpha1.RemovalPolicyRemove), Released: true, Caches: had.Caches,
	}
	if slices.ContainsFunc(had.Caches, func(c string) bool { return v.keepers[c] }) {
		entry.RemovalPolicy = v1alpha1.RemovalPolicyKeep
	}
	return entry
}

// answered reports whether the agent has seen that the entry is released, and has no record of it, nor one of a tag that still
// stands for its digest and is to move on: that would be carried over to it.
func (v *view) answered(had *v1alpha1.StoreImage, is map[string]string) bool {
	if v.store.Status.ObservedRevision < v.store.Spec.Revision {
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
