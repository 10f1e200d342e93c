// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagestore

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orlop.dev/orlop/api/v1alpha1"
)

func TestWhoIsWatched(t *testing.T) {
	later := time.Date(2026, 11, 20, 12, 1, 0, 0, time.UTC)
	web, other := "ghcr.io/acme/web:v1", "ghcr.io/acme/other:v1"
	for name, test := range map[string]struct {
		until map[string]time.Time // by cache
		row   row
		want  time.Time
	}{
		"nobody looks on":        {row: row{caches: []*v1alpha1.ImageCache{cacheOf("x", web)}}},
		"a pull":                 {map[string]time.Time{"x": later}, row{caches: []*v1alpha1.ImageCache{cacheOf("x", web)}}, later},
		"of two the later":       {map[string]time.Time{"x": later, "y": later.Add(time.Second)}, row{caches: []*v1alpha1.ImageCache{cacheOf("x", web), cacheOf("y", web)}}, later.Add(time.Second)},
		"another cache's pull":   {map[string]time.Time{"y": later}, row{caches: []*v1alpha1.ImageCache{cacheOf("x", web), cacheOf("y", other)}, status: []v1alpha1.StoreImageStatus{record(other, two, v1alpha1.ImagePresent)}}, time.Time{}},
		"all of it is here":      {map[string]time.Time{"x": later}, row{caches: []*v1alpha1.ImageCache{cacheOf("x", web)}, status: []v1alpha1.StoreImageStatus{record(web, one, v1alpha1.ImagePresent)}}, time.Time{}},
		"it waits for its turn":  {map[string]time.Time{"x": later}, row{caches: []*v1alpha1.ImageCache{cacheOf("x", web)}, full: true}, time.Time{}},
		"the cache is suspended": {map[string]time.Time{"x": later}, row{caches: []*v1alpha1.ImageCache{with(cacheOf("x", web), suspend)}}, time.Time{}},
	} {
		t.Run(name, func(t *testing.T) {
			test.row.facts = map[string]string{web: one, other: two}
			v := test.row.view(t)
			for i := range v.caches {
				v.caches[i].WatchedUntil = test.until[v.caches[i].Key.Name]
			}
			granted := map[string]bool{}
			for _, a := range v.asks() {
				granted[a.slot] = !test.row.full
			}
			entries := v.images(granted)
			got := v.watched(entries)
			if got == nil && !test.want.IsZero() || got != nil && !got.Time.Equal(test.want) {
				t.Errorf("%s, want %s, with %v", got, test.want, entries)
			}
		})
	}
}

// TestTheEndOfAWatchIsNoWrite: the spec is written when somebody begins to look on or goes on to, and not when nobody does any more.
func TestTheEndOfAWatchIsNoWrite(t *testing.T) {
	at := func(minute int) *metav1.Time {
		return &metav1.Time{Time: time.Date(2026, 11, 20, 12, minute, 0, 0, time.UTC)}
	}
	for name, test := range map[string]struct {
		stands, wanted *metav1.Time
		same           bool
	}{
		"it begins":   {nil, at(1), false},
		"it goes on":  {at(1), at(2), false},
		"it ends":     {at(1), nil, true},
		"nothing new": {at(1), at(1), true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := same(&v1alpha1.ImageStoreSpec{WatchedUntil: test.stands}, &v1alpha1.ImageStoreSpec{WatchedUntil: test.wanted}); got != test.same {
				t.Errorf("same: %t", got)
			}
		})
	}
}

// TestLookingOnReachesTheNodes follows the annotation of a cache to its nodes' stores.
func TestLookingOnReachesTheNodes(t *testing.T) {
	cache := cacheOf("x", "ghcr.io/acme/web:v1")
	cache.Annotations = map[string]string{v1alpha1.AnnotationWatchedUntil: time.Now().Add(time.Minute).UTC().Format(time.RFC3339)}
	b := newBench(t, nodeOf("n1"), agentOn("n1"), cache)
	b.learn("ghcr.io/acme/web:v1", one)
	b.reconcile("n1")
	until := b.store("n1").Spec.WatchedUntil
	if until == nil || until.UTC().Format(time.RFC3339) != cache.Annotations[v1alpha1.AnnotationWatchedUntil] {
		t.Fatalf("watched until %s", until)
	}
	b.quiet("n1")
	before := cache.DeepCopy()
	before.Annotations = nil
	if !watchMoved(before, cache, time.Now()) || watchMoved(cache, cache, time.Now()) || watchMoved(cache, before, time.Now()) {
		t.Error("an annotation that is new is news, and nothing else")
	}
}
