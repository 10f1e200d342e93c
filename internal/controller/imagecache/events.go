// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagecache

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/condition"
)

// maxNote is somewhat under what the API server takes.
const maxNote = 1000

// news is one event.
type news struct{ kind, reason, action, note string }

// transitions are what became otherwise between two statuses. Nothing is told of what is as it should be. Images of which the same
// is to be told share an event: the API takes a second one like it for a repetition, and drops what it says.
func transitions(before, after *v1alpha1.ImageCacheStatus) (all []news) {
	was := make(map[string]v1alpha1.CachedImageStatus, len(before.Images))
	for _, img := range before.Images {
		was[img.Image] = img
	}
	var failed, recovered, moved []string
	for _, img := range after.Images {
		old, known := was[img.Image]
		switch {
		case img.Reason != "" && img.Reason != old.Reason:
			failed = append(failed, fmt.Sprintf("%s: %s: %s", img.Image, img.Reason, img.Message))
		case known && img.Reason == "" && old.Reason != "":
			recovered = append(recovered, fmt.Sprintf("%s no longer fails: it was %s", img.Image, old.Reason))
		}
		if known && old.Digest != "" && img.Digest != "" && old.Digest != img.Digest {
			moved = append(moved, fmt.Sprintf("%s moved from %s to %s", img.Image, old.Digest, img.Digest))
		}
	}
	for _, n := range []struct {
		news
		texts []string
	}{
		{news{kind: corev1.EventTypeWarning, reason: "ImageFailed", action: "Pull"}, failed},
		{news{kind: corev1.EventTypeNormal, reason: "ImageRecovered", action: "Pull"}, recovered},
		{news{kind: corev1.EventTypeNormal, reason: "DigestMoved", action: "Resolve"}, moved},
	} {
		if len(n.texts) > 0 {
			n.note = strings.Join(n.texts, "; ")
			all = append(all, n.news)
		}
	}
	if after.Purge != before.Purge && after.PurgedGeneration != 0 {
		all = append(all, news{corev1.EventTypeNormal, "Purged", "Purge", "What the cache brought was let go, as " + v1alpha1.AnnotationPurge + " asked"})
	}
	return all
}

func (c *Controller) tell(cache *v1alpha1.ImageCache, all []news) {
	for _, n := range all {
		c.cfg.Recorder.Eventf(cache, nil, n.kind, n.reason, n.action, "%s", condition.Cut(n.note, maxNote))
	}
}
