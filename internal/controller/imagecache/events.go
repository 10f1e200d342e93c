// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagecache

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/condition"
)

const (
	// maxEvents bounds what one change of a status tells: each is a write.
	maxEvents = 5
	// maxNote is somewhat under what the API server takes.
	maxNote = 1000
)

// news is one event.
type news struct{ kind, reason, action, note string }

// transitions are what became otherwise between two statuses. Nothing is told of what is as it should be.
func transitions(before, after *v1alpha1.ImageCacheStatus) (all []news) {
	was := make(map[string]v1alpha1.CachedImageStatus, len(before.Images))
	for _, img := range before.Images {
		was[img.Image] = img
	}
	for _, img := range after.Images {
		old, known := was[img.Image]
		switch {
		case img.Reason != "" && img.Reason != old.Reason:
			all = append(all, news{corev1.EventTypeWarning, "ImageFailed", "Pull", fmt.Sprintf("%s: %s: %s", img.Image, img.Reason, img.Message)})
		case known && img.Reason == "" && old.Reason != "":
			all = append(all, news{corev1.EventTypeNormal, "ImageRecovered", "Pull", fmt.Sprintf("%s no longer fails: it was %s", img.Image, old.Reason)})
		}
		if known && old.Digest != "" && img.Digest != "" && old.Digest != img.Digest {
			all = append(all, news{corev1.EventTypeNormal, "DigestMoved", "Resolve", fmt.Sprintf("%s moved from %s to %s", img.Image, old.Digest, img.Digest)})
		}
	}
	if after.Purge != before.Purge && after.PurgedGeneration != 0 {
		all = append(all, news{corev1.EventTypeNormal, "Purged", "Purge", "What the cache brought was let go, as " + v1alpha1.AnnotationPurge + " asked"})
	}
	return all
}

func (c *Controller) tell(cache *v1alpha1.ImageCache, all []news) {
	for i, n := range all {
		if i == maxEvents {
			c.cfg.Recorder.Eventf(cache, nil, n.kind, n.reason, n.action, "%d more changes; see the status", len(all)-i)
			return
		}
		c.cfg.Recorder.Eventf(cache, nil, n.kind, n.reason, n.action, "%s", condition.Cut(n.note, maxNote))
	}
}
