// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagecache

import (
	"testing"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/catalog"
	"orlop.dev/orlop/internal/engine"
)

// TestAFailureOfAnotherCacheIsNotOurs: a cache with credentials is not stalled by what failed before a node knew of it.
func TestAFailureOfAnotherCacheIsNotOurs(t *testing.T) {
	const other, ours = "shop/other", "shop/web"
	full := []string{"a/1", "a/2", "a/3", "a/4", "a/5", "a/6", "a/7", "a/8"}
	told := v1alpha1.ImageCacheStatus{ObservedGeneration: 3, Failures: []v1alpha1.CacheFailure{{Node: "n1", Image: one}}}
	for name, tc := range map[string]struct {
		caches    []string // that want the image, as far as the store's spec says
		seen      int64    // the generation that the agent has seen, of 7
		before    v1alpha1.ImageCacheStatus
		wantFails int
	}{
		"the store does not name us yet":        {[]string{other}, 7, v1alpha1.ImageCacheStatus{}, 0},
		"the agent has not seen us yet":         {[]string{other, ours}, 6, v1alpha1.ImageCacheStatus{}, 0},
		"tried for us":                          {[]string{other, ours}, 7, v1alpha1.ImageCacheStatus{}, 1},
		"more caches than are named":            {full, 7, v1alpha1.ImageCacheStatus{}, 1},
		"told already, and the store changes":   {[]string{other, ours}, 6, told, 1},
		"told of an older spec":                 {[]string{other, ours}, 6, v1alpha1.ImageCacheStatus{ObservedGeneration: 2, Failures: told.Failures}, 0},
		"more are told than the status can say": {[]string{other, ours}, 6, v1alpha1.ImageCacheStatus{ObservedGeneration: 3, OmittedFailures: 1}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			c := cacheOf(one)
			d := read(t, c)
			v := viewOf("n1", failed(one, engine.Unauthorized, "no basic auth credentials"))
			v.store.Spec.Revision = 7
			v.store.Spec.Images = []v1alpha1.StoreImage{{Image: one, Caches: tc.caches}}
			v.store.Status.ObservedRevision = tc.seen
			s := total(d, facts(d.Images, catalog.New()), []view{v}, earlierOf(&tc.before, c.Generation), nil)
			if s.failed != tc.wantFails || len(s.failures) != tc.wantFails || s.images[0].left != 1-tc.wantFails {
				t.Errorf("%d nodes failed, %d failures, %d nodes left to try; want %d", s.failed, len(s.failures), s.images[0].left, tc.wantFails)
			}
		})
	}
}
