// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package demand

import (
	"time"

	"orlop.dev/orlop/api/v1alpha1"
)

// WatchedUntil is until when somebody looks on at what has these annotations; zero: nobody does.
func WatchedUntil(annotations map[string]string, now time.Time) time.Time {
	until, err := time.Parse(time.RFC3339, annotations[v1alpha1.AnnotationWatchedUntil])
	if err != nil || !until.After(now) || until.Sub(now) > v1alpha1.MaxWatch {
		return time.Time{}
	}
	return until
}
