// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagestore

import (
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/catalog"
	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
)

// asking makes every fact one whose registry refuses, and which some node is to look at.
func asking(facts func(oci.Ref) (catalog.Entry, bool), token string) func(oci.Ref) (catalog.Entry, bool) {
	return func(ref oci.Ref) (catalog.Entry, bool) {
		e, ok := facts(ref)
		e.Asked, e.Recheck.Token = time.Now(), token
		e.Refusal = &catalog.Refusal{Reason: engine.Unauthorized}
		return e, ok
	}
}

func rechecks(e *v1alpha1.StoreImage) { e.Recheck = "t1" }

func TestRecheckEntries(t *testing.T) {
	x := []*v1alpha1.ImageCache{cacheOf("x", web)}
	resolved, moved := map[string]string{web: one}, map[string]string{web: two}
	done := func(image, digest, token string) []v1alpha1.StoreImageStatus {
		r := record(image, digest, v1alpha1.ImagePresent)
		r.Rechecked = token
		return []v1alpha1.StoreImageStatus{r}
	}
	failing := done(web, one, "")
	failing[0].RecheckReason = string(engine.Timeout)
	stray := append(done(web, two, "t1"), record(byOne(), one, v1alpha1.ImageReleasing))
	cordoned := nodeOf("n1")
	cordoned.Spec.Unschedulable = true
	for name, r := range map[string]row{
		"this node looks":                      {caches: x, facts: resolved, recheck: "t1", spec: []v1alpha1.StoreImage{entry(web, one)}, status: done(web, one, ""), want: []string{"web:1 =ONE pin recheck:t1 a/x"}},
		"another node looks":                   {caches: x, facts: resolved, recheck: "t1", full: true, spec: []v1alpha1.StoreImage{entry(web, one)}, status: done(web, one, ""), want: []string{"web:1 =ONE pin a/x"}},
		"a cordoned node does not look":        {caches: x, node: cordoned, facts: resolved, recheck: "t1", spec: []v1alpha1.StoreImage{entry(web, one, held(v1alpha1.HoldNode))}, status: done(web, one, ""), want: []string{"web:1 =ONE hold:Node pin a/x"}},
		"it looks, and no turn is left":        {caches: x, facts: resolved, recheck: "t1", full: true, spec: []v1alpha1.StoreImage{entry(web, one, rechecks)}, status: done(web, one, ""), want: []string{"web:1 =ONE pin recheck:t1 a/x"}},
		"it has gone away":                     {caches: x, away: true, facts: resolved, recheck: "t1", spec: []v1alpha1.StoreImage{entry(web, one, rechecks)}, status: done(web, one, ""), want: []string{"web:1 =ONE pin a/x"}},
		"it failed, and nobody waits":          {caches: x, facts: resolved, recheck: "t1", full: true, spec: []v1alpha1.StoreImage{entry(web, one, rechecks)}, status: failing, want: []string{"web:1 =ONE pin recheck:t1 a/x"}},
		"answered, not known to all":           {caches: x, facts: resolved, recheck: "t1", full: true, spec: []v1alpha1.StoreImage{entry(web, one, rechecks)}, status: done(web, two, "t1"), want: []string{"web:1 =ONE pin recheck:t1 a/x"}},
		"answered, not known to all, a record": {caches: x, facts: resolved, recheck: "t1", full: true, spec: []v1alpha1.StoreImage{entry(web, one, rechecks)}, status: stray, want: []string{"web:1 =ONE pin recheck:t1 a/x"}},
		"answered, and stands":                 {caches: x, facts: resolved, spec: []v1alpha1.StoreImage{entry(web, one, rechecks)}, status: done(web, one, "t1"), want: []string{"web:1 =ONE pin recheck:t1 a/x"}},
		"answered, and moved":                  {caches: x, facts: moved, spec: []v1alpha1.StoreImage{entry(web, one, rechecks)}, status: stray, want: []string{"web:1 =TWO pin recheck:t1 a/x", "web@ONE =ONE released"}},
		"answered, and another digest counts":  {caches: []*v1alpha1.ImageCache{cacheOf("x", web), cacheOf("y", web+"@"+one)}, facts: resolved, spec: []v1alpha1.StoreImage{entry(web, one, rechecks)}, status: done(web, two, "t1"), want: []string{"web:1 =ONE pin a/x,a/y"}},
		"asked anew":                           {caches: x, facts: resolved, recheck: "t2", spec: []v1alpha1.StoreImage{entry(web, one, rechecks)}, status: done(web, one, "t1"), want: []string{"web:1 =ONE pin recheck:t2 a/x"}},
		"asked anew, another node":             {caches: x, facts: resolved, recheck: "t2", full: true, spec: []v1alpha1.StoreImage{entry(web, one, rechecks)}, status: done(web, one, "t1"), want: []string{"web:1 =ONE pin recheck:t1 a/x"}},
		"a new controller, not asked yet":      {caches: x, facts: resolved, full: true, spec: []v1alpha1.StoreImage{entry(web, one, rechecks)}, status: failing, want: []string{"web:1 =ONE pin recheck:t1 a/x"}},
	} {
		t.Run(name, func(t *testing.T) {
			entries, _ := r.entries(t)
			var got []string
			for _, e := range entries {
				got = append(got, short(e))
			}
			if diff := gocmp.Diff(r.want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

// TestOneNodeLooksForAll: only one is asked, the next once that has failed or gone, and what stands costs no write.
func TestOneNodeLooksForAll(t *testing.T) {
	names := []string{"n1", "n2", "n3", "n4"}
	objects := []client.Object{cacheOf("x", web)}
	for _, n := range names {
		objects = append(objects, nodeOf(n), agentOn(n))
	}
	b := newBench(t, objects...)
	b.learn(web, one)
	ref, err := oci.Parse(web)
	if err != nil {
		t.Fatal(err)
	}
	each := func() {
		for range 2 {
			for _, n := range names {
				b.reconcile(n)
			}
		}
	}
	each()
	for _, n := range names {
		b.answer(n, func(s *v1alpha1.ImageStoreStatus) {
			s.Images = []v1alpha1.StoreImageStatus{record(web, one, v1alpha1.ImagePresent)}
		})
	}
	each()
	b.writes = 0
	b.known.Update(ref, func(e catalog.Entry) catalog.Entry {
		e.Asked, e.Refusal, e.Recheck.Token = time.Now(), &catalog.Refusal{Reason: engine.Unauthorized}, "t1"
		return e
	})
	asked := func() (all []string) {
		for _, n := range names {
			if b.store(n).Spec.Images[0].Recheck == "t1" {
				all = append(all, n)
			}
		}
		return all
	}
	fails := func(s *v1alpha1.ImageStoreStatus) { s.Images[0].RecheckReason = string(engine.RegistryUnavailable) }
	for i, want := range names[:3] {
		each()
		if diff := gocmp.Diff([]string{want}, asked()); diff != "" {
			t.Fatalf("asked: -want +got\n%s", diff)
		}
		if i < 2 {
			b.answer(want, fails)
		}
	}
	if b.writes != 5 {
		t.Errorf("%d writes, want 3 to ask and 2 to ask no more", b.writes)
	}
	b.answer("n3", fails)
	each()
	if diff := gocmp.Diff([]string{"n3"}, asked()); diff != "" {
		t.Errorf("what three could not reach went on to a fourth: -want +got\n%s", diff)
	}
	b.answer("n3", func(s *v1alpha1.ImageStoreStatus) {
		s.Images[0].RecheckReason, s.Images[0].Rechecked = "", "t1"
	})
	b.known.Update(ref, func(e catalog.Entry) catalog.Entry {
		e.Digest, e.Recheck.Answered = digest.Digest(one), true
		return e
	})
	b.writes = 0
	each()
	if b.writes != 0 {
		t.Errorf("the answer took %d writes", b.writes)
	}
}
