// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package demand

import (
	"testing"
	"time"

	"orlop.dev/orlop/api/v1alpha1"
)

func TestWatchedUntil(t *testing.T) {
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		value string
		want  time.Time
	}{
		"nobody":            {},
		"somebody":          {"2026-11-20T12:01:00Z", now.Add(time.Minute)},
		"in another zone":   {"2026-11-20T13:01:00+01:00", now.Add(time.Minute)},
		"not any more":      {value: "2026-11-20T11:59:59Z"},
		"this very moment":  {value: "2026-11-20T12:00:00Z"},
		"as long as may be": {"2026-11-20T12:10:00Z", now.Add(v1alpha1.MaxWatch)},
		"for ever":          {value: "2099-01-01T00:00:00Z"},
		"not a time":        {value: "yes"},
	} {
		t.Run(name, func(t *testing.T) {
			got := WatchedUntil(map[string]string{v1alpha1.AnnotationWatchedUntil: test.value}, now)
			if !got.Equal(test.want) {
				t.Errorf("%q: %s, want %s", test.value, got, test.want)
			}
		})
	}
}
