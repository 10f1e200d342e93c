// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagestore

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/demand"
)

// watched is until when somebody looks on at a pull that the entries let this node begin, or has begun; nil: nobody does.
// Nodes that wait for their turn are told with it.
func (v *view) watched(entries []v1alpha1.StoreImage) *metav1.Time {
	until := time.Time{}
	for _, w := range v.wants {
		if w.present {
			continue
		}
		for _, c := range w.caches {
			if c.WatchedUntil.After(until) && mayPull(entries, w.image) {
				until = c.WatchedUntil
			}
		}
	}
	if v.jobs != nil && v.jobs.watched.After(until) {
		until = v.jobs.watched
	}
	if until.IsZero() {
		return nil
	}
	return &metav1.Time{Time: until.UTC().Truncate(time.Second)}
}

func mayPull(entries []v1alpha1.StoreImage, image string) bool {
	return slices.ContainsFunc(entries, func(e v1alpha1.StoreImage) bool { return e.Image == image && e.Hold == "" && !e.Released })
}

// unwatched: that nobody looks on any more is not worth a write.
func unwatched(stands, wanted *v1alpha1.ImageStoreSpec) bool {
	return wanted.WatchedUntil == nil && stands.WatchedUntil != nil
}

// watchMoved reports whether somebody looks on at a cache since, or goes on to.
func watchMoved(before, after *v1alpha1.ImageCache, now time.Time) bool {
	is := demand.WatchedUntil(after.Annotations, now)
	return !is.IsZero() && before.Annotations[v1alpha1.AnnotationWatchedUntil] != after.Annotations[v1alpha1.AnnotationWatchedUntil]
}
