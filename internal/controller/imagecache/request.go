// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagecache

import (
	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/condition"
)

// maxRequest is how long a value in status may be; of a longer annotation the beginning counts.
const maxRequest = 256

// request is what the annotations of a cache ask for that was not done yet.
type request struct {
	// refresh is a new value of orlop.dev/refresh, purge one of orlop.dev/purge; empty: nothing is asked.
	refresh, purge string
}

// requested compares the annotations with the values that were acted upon, which stand in status: so a request is acted upon once,
// also one that was made while nobody listened. If both are new, purge wins, and the refresh counts as done: it cannot be
// known which came last, and a purge that did not happen is found out late. A refresh that comes after a purge ends it.
func requested(c *v1alpha1.ImageCache) (r request) {
	if value := condition.Cut(c.Annotations[v1alpha1.AnnotationPurge], maxRequest); value != "" && value != c.Status.Purge {
		r.purge = value
	}
	if value := condition.Cut(c.Annotations[v1alpha1.AnnotationRefresh], maxRequest); value != "" && value != c.Status.Refresh {
		r.refresh = value
	}
	return r
}

// accept does in status what can be done at once: purging, ending a purge. What is left of the request takes asking
// registries.
func accept(status *v1alpha1.ImageCacheStatus, generation int64, r request) (left request) {
	switch {
	case r.purge != "":
		status.Purge, status.PurgedGeneration = r.purge, generation
		if r.refresh != "" {
			status.Refresh = r.refresh
		}
		return request{}
	case status.PurgedGeneration != 0 && status.PurgedGeneration != generation: // An edit ends it.
		status.PurgedGeneration = 0
		return r
	case r.refresh != "" && status.PurgedGeneration != 0:
		// Nothing is known of its images any more: they are all asked for without being told to.
		status.PurgedGeneration, status.Refresh = 0, r.refresh
		return request{}
	}
	return r
}
