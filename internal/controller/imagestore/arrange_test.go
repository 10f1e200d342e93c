// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagestore

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"orlop.dev/orlop/api/v1alpha1"
)

// standing are so many images of a cache, as a node holds them that was told all.
func standing(caches int, facts map[string]string, digest string) (r row) {
	r.facts = facts
	for c := range caches {
		var images []string
		for i := range 500 {
			image := fmt.Sprintf("r.io/c%d/i%03d:1", c, i)
			images = append(images, image)
			r.facts[image] = digest
			r.spec = append(r.spec, entry(image, one, func(e *v1alpha1.StoreImage) { e.Caches = []string{fmt.Sprintf("a/%d", c)} }))
			r.status = append(r.status, record(image, one, v1alpha1.ImagePresent))
		}
		r.caches = append(r.caches, cacheOf(fmt.Sprint(c), images...))
	}
	return r
}

// TestMoreTagsMoveThanFindRoom: each takes a second entry for a while. They move in turns, and all end where they should.
func TestMoreTagsMoveThanFindRoom(t *testing.T) {
	r := standing(2, map[string]string{}, two)
	const stood = 620
	r.spec, r.status = r.spec[:stood], r.status[:stood]
	for round := 0; ; round++ {
		v := r.view(t)
		entries := v.images(nil)
		if len(entries) > maxImages {
			t.Fatalf("%d entries", len(entries))
		}
		moved, released := 0, 0
		records := []v1alpha1.StoreImageStatus{}
		for _, e := range entries {
			switch {
			case e.Released:
				released++
			case e.Digest == two:
				moved++
				fallthrough
			default:
				records = append(records, record(e.Image, e.Digest, v1alpha1.ImagePresent))
			}
		}
		if moved+len(v.waiting)+len(v.left) != 1000 {
			t.Fatalf("round %d: %d moved, %d wait, %d are left out", round, moved, len(v.waiting), len(v.left))
		}
		if len(v.waiting) == 0 {
			if moved < stood || round < 3 || round > 20 {
				t.Errorf("after %d rounds %d have moved", round, moved)
			}
			break
		}
		if released == 0 {
			t.Fatalf("round %d: nothing goes, and %d wait", round, len(v.waiting))
		}
		r.spec, r.status = entries, records // The agent has let go of what was released.
	}
}

// TestAFullStoreFollowsTags: what is new leaves room for them.
func TestAFullStoreFollowsTags(t *testing.T) {
	r := standing(3, map[string]string{}, one)
	r.spec, r.status = nil, nil
	entries, left := r.entries(t)
	if left == 0 || left != 1500-len(entries) {
		t.Errorf("%d entries, %d left out", len(entries), left)
	}
	r.spec = entries
	for image := range r.facts {
		r.facts[image] = two
	}
	for _, e := range entries {
		r.status = append(r.status, record(e.Image, one, v1alpha1.ImagePresent))
	}
	v := r.view(t)
	if moved := len(v.letGo); moved < 20 || moved > forMoves || len(v.waiting) != len(entries)-moved {
		t.Errorf("%d of %d move, %d wait", moved, len(entries), len(v.waiting))
	}
}

// TestWhatFindsNoRoomKeepsNoTurn: a node that cannot be told of an image cannot pull it.
func TestWhatFindsNoRoomKeepsNoTurn(t *testing.T) {
	r := standing(2, map[string]string{}, one)
	r.caches = append(r.caches, cacheOf("late", web))
	r.facts[web] = one
	v := r.view(t)
	if len(v.left) != 1 || v.left[0] != web {
		t.Fatalf("left out are %v", v.left)
	}
	for _, a := range v.asks() {
		if a.need != needsNone {
			t.Errorf("%s is asked for: %v", a.slot, a.need)
		}
	}
}

func TestWhatWaitsIsTold(t *testing.T) {
	r := standing(2, map[string]string{}, two)
	r.caches = append(r.caches, cacheOf("late", web))
	r.facts[web] = one
	b := newBench(t)
	woken := map[string]int{}
	b.Wake = func(_ context.Context, cache types.NamespacedName) { woken[cache.String()]++ }
	v := r.view(t)
	v.store.UID = "uid"
	if _, known := b.LeftOut(v.node.Name); known {
		t.Error("what is left out is known before anybody has looked")
	}
	for range 2 { // It is said once.
		b.tell(t.Context(), v, saying{left: len(v.left), waiting: len(v.waiting)}, nil)
	}
	var told []string
	for len(b.recorder.Events) > 0 {
		told = append(told, <-b.recorder.Events)
	}
	all := strings.Join(told, "\n")
	if len(told) != 2 || !strings.Contains(all, web) || !strings.Contains(all, "1000 tags") || !strings.Contains(all, "r.io/c0/i000:1") {
		t.Errorf("told is %q", all)
	}
	if left, known := b.LeftOut(v.node.Name); !known || len(left) != 1 || !left[web] {
		t.Errorf("left out are %v, known %t", left, known)
	}
	if len(woken) != 3 || woken[v.caches[0].Key.String()] != 1 {
		t.Errorf("woken are %v", woken)
	}
	r.caches = r.caches[:2]
	v = r.view(t)
	b.tell(t.Context(), v, saying{}, nil)
	if left, known := b.LeftOut(v.node.Name); !known || len(left) != 0 {
		t.Errorf("left out are %v, known %t", left, known)
	}
}

// TestAPolicyChangedAfterTheReleaseIsHeeded: the image is still there, and its cache, wherever it selects nodes now, says Keep.
func TestAPolicyChangedAfterTheReleaseIsHeeded(t *testing.T) {
	r := row{caches: []*v1alpha1.ImageCache{cacheOf("x")}, spec: []v1alpha1.StoreImage{entry(web, one)}, status: []v1alpha1.StoreImageStatus{record(web, one, v1alpha1.ImagePresent)}}
	first, _ := r.entries(t)
	if len(first) != 1 || first[0].RemovalPolicy != v1alpha1.RemovalPolicyRemove {
		t.Fatalf("%+v", first)
	}
	r.spec, r.status[0].State = first, v1alpha1.ImageReleasing
	with(r.caches[0], keep)
	for name, elsewhere := range map[string]bool{"still selected": false, "no longer selected": true} {
		t.Run(name, func(t *testing.T) {
			in := r.view(t).input
			if elsewhere {
				in.caches = nil
			}
			entries := look(in).images(nil)
			if len(entries) != 1 || !entries[0].Released || entries[0].RemovalPolicy != v1alpha1.RemovalPolicyKeep {
				t.Errorf("%+v", entries)
			}
		})
	}
}
