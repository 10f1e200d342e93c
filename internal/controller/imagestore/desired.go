// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagestore

import (
	"slices"
	"strings"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/demand"
)

// maxCaches is how many caches an entry names, as the schema has it.
const maxCaches = 8

// images are the entries of the spec, by name, without credentials; what found no room is told by crowded.
func (v *view) images(granted map[string]bool) (entries []v1alpha1.StoreImage) {
	for _, w := range v.wants {
		if w.out {
			continue
		}
		entry := w.entry(v.hold(w, granted))
		entry.Recheck = w.toRecheck(granted)
		entries = append(entries, entry)
	}
	for _, entry := range v.letGo {
		entries = append(entries, entry)
	}
	slices.SortFunc(entries, func(a, b v1alpha1.StoreImage) int { return strings.Compare(a.Image, b.Image) })
	return entries
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
