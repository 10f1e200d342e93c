// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagecache

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
	"k8s.io/apimachinery/pkg/types"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/catalog"
	"orlop.dev/orlop/internal/demand"
	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
)

// spec writes to n1 what the nodes' reconciler would: the entry with a token.
func (b *bench) spec(image, digest, token string) {
	b.t.Helper()
	const name = "n1"
	var s v1alpha1.ImageStore
	if err := b.api.Get(b.t.Context(), types.NamespacedName{Name: name}, &s); err != nil {
		b.t.Fatal(err)
	}
	s.Spec.Images = []v1alpha1.StoreImage{{Image: image, Digest: digest, Recheck: token}}
	if err := b.api.Update(b.t.Context(), &s); err != nil {
		b.t.Fatal(err)
	}
}

// token is what some node is to be asked; empty: nothing.
func (b *bench) token(image string) string {
	b.t.Helper()
	for ref := range b.c.memory.wanting {
		if ref.String() == image {
			e, _ := b.c.cfg.Catalog.Get(ref)
			return e.ToRecheck()
		}
	}
	b.t.Fatalf("nobody wants %s", image)
	return ""
}

func rechecked(image, digest, token string) v1alpha1.StoreImageStatus {
	s := present(image, digest)
	s.Rechecked = token
	return s
}

func TestANodeFollowsATagForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nodes("n1", "n2")...)
		defer func() { b.stop() }()
		b.shelf.refuse[two] = engine.Becausef(engine.RegistryUnavailable, "reg.example: connection refused")
		first, second := digest.FromString("1").String(), digest.FromString("2").String()
		b.create(web, nil, two)
		b.node("n1", present(two, first))
		b.node("n2", present(two, first))
		b.run(time.Minute, web)
		b.expect(web, "2/2 Ready=True/Ready Degraded=True/RegistryUnavailable")
		if got := b.token(two); got != "" {
			t.Fatalf("a node is asked at once: %s", got)
		}
		b.counted()

		b.run(17*time.Minute, web)
		asked := b.token(two)
		if asked == "" || b.counted() != 0 {
			t.Fatalf("after a refresh interval the question is %q", asked)
		}
		b.spec(two, first, asked)
		b.node("n1", rechecked(two, first, asked), present("other", first))
		b.run(2*time.Second, web)
		b.expect(web, "2/2 Ready=True/Ready")
		if n := b.counted(); n != 1 || b.token(two) != "" {
			t.Errorf("the first answer took %d writes, want 1: it is no longer degraded", n)
		}

		b.run(17*time.Minute, web)
		again := b.token(two)
		if again <= asked || b.counted() != 0 {
			t.Fatalf("the next question is %q", again)
		}
		b.spec(two, first, again)
		b.restart()
		b.run(time.Minute, web)
		if got := b.token(two); got != again || b.counted() != 0 {
			t.Errorf("a new process asks %q, and wrote", got)
		}
		b.told = 0
		b.node("n1", rechecked(two, second, again))
		b.run(2*time.Second, web)
		b.expect(web, "1/2 Ready=False/RollingOut Reconciling=True/RollingOut")
		if got := b.cache(web).Status.Images[0].Digest; got != second || b.told != 1 {
			t.Errorf("the digest is %s; the nodes were told %d times", got, b.told)
		}
		if got := b.heard(); len(got) != 1 || !strings.Contains(got[0], "DigestMoved") {
			t.Errorf("events: %q", got)
		}
		b.node("n2", present(two, second))
		b.run(2*time.Second, web)
		b.expect(web, "2/2 Ready=True/Ready")
		b.spec(two, second, again)
		b.counted()
		b.restart()
		b.run(time.Minute, web)
		if got := b.token(two); got != "" || b.counted() != 0 {
			t.Errorf("after a restart the question is %q", got)
		}
	})
}

func TestANodeThatCannotLookDegrades(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nodes("n1")...)
		defer func() { b.stop() }()
		b.shelf.refuse[two] = engine.Becausef(engine.RegistryUnavailable, "reg.example: connection refused")
		first := digest.FromString("1").String()
		b.create(web, nil, two)
		b.node("n1", present(two, first))
		b.run(18*time.Minute, web)
		asked := b.token(two)
		b.spec(two, first, asked)
		b.node("n1", rechecked(two, first, asked))
		b.run(17*time.Minute, web)
		b.expect(web, "1/1 Ready=True/Ready")
		b.counted()
		b.spec(two, first, b.token(two))
		failing := rechecked(two, first, asked)
		failing.RecheckReason = string(engine.Timeout)
		b.node("n1", failing)
		b.run(time.Hour, web)
		b.expect(web, "1/1 Ready=True/Ready Degraded=True/RegistryUnavailable")
		if n := b.counted(); n != 1 {
			t.Errorf("%d writes", n)
		}
		if got := b.message(web, v1alpha1.ConditionDegraded); !strings.Contains(got, "Not refreshed") {
			t.Errorf("%q", got)
		}
	})
}

// TestARefreshOnDemandWaitsForTheNode: for a while, and for tags that are pulled if not present, too.
func TestARefreshOnDemandWaitsForTheNode(t *testing.T) {
	for name, answers := range map[string]bool{"which answers": true, "which does not": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, nodes("n1")...)
				defer func() { b.stop() }()
				b.shelf.refuse[one] = engine.Becausef(engine.Unauthorized, "reg.example: denied")
				first := digest.FromString("1").String()
				b.create(web, nil, one)
				b.node("n1", present(one, first))
				b.run(time.Hour, web)
				if got := b.token(one); got != "" {
					t.Fatalf("nobody asked, and a node is: %s", got)
				}
				b.counted()
				b.edit(web, func(c *v1alpha1.ImageCache) { c.Annotations = map[string]string{v1alpha1.AnnotationRefresh: "now"} })
				b.run(5*time.Second, web)
				if asked := b.token(one); asked == "" || b.cache(web).Status.Refresh != "" {
					t.Fatalf("the question is %q, and the refresh counts as done: %q", asked, b.cache(web).Status.Refresh)
				}
				if answers {
					b.spec(one, first, b.token(one))
					b.node("n1", rechecked(one, first, b.token(one)))
					b.run(time.Second, web)
				} else {
					b.run(30*time.Second, web)
				}
				if got := b.cache(web).Status.Refresh; got != "now" {
					t.Errorf("acted upon is %q", got)
				}
				if n := b.counted(); n != 1 {
					t.Errorf("%d writes", n)
				}
				token := b.token(one)
				b.run(time.Hour, web)
				if got := b.token(one); got != token {
					t.Errorf("it was asked again: %q", got)
				}
			})
		})
	}
}

func mustRef(t *testing.T, name string) oci.Ref {
	t.Helper()
	ref, err := oci.Parse(name)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func TestRecheckDue(t *testing.T) {
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	tag, fixed := demand.Image{Ref: mustRef(t, two), Always: true}, demand.Image{Ref: mustRef(t, "reg.example/two@"+digest.FromString("1").String())}
	once := demand.Image{Ref: mustRef(t, one)}
	refused := func(since time.Duration, change ...func(*catalog.Entry)) catalog.Entry {
		e := catalog.Entry{Digest: digest.FromString("1"), Asked: now, Known: ago(time.Hour), Refusal: &catalog.Refusal{Since: ago(since)}}
		for _, c := range change {
			c(&e)
		}
		return e
	}
	asked := func(at time.Duration, answered bool) func(*catalog.Entry) {
		return func(e *catalog.Entry) { e.Recheck = catalog.Recheck{Token: tokenAt(ago(at)), Answered: answered} }
	}
	for name, tc := range map[string]struct {
		img   demand.Image
		entry catalog.Entry
		o     occasion
		want  time.Duration // from now
		never bool
	}{
		"the registry answers":                     {img: tag, entry: catalog.Entry{Digest: "sha256:1", Asked: now}, o: occasion{refresh: time.Minute}, never: true},
		"nothing is known":                         {img: tag, entry: catalog.Entry{Refusal: &catalog.Refusal{}}, o: occasion{refresh: time.Minute}, never: true},
		"fixed":                                    {img: fixed, entry: refused(time.Hour), o: occasion{refresh: time.Minute, forced: now}, never: true},
		"the interval is over":                     {img: tag, entry: refused(time.Hour), o: occasion{refresh: 15 * time.Minute}},
		"it has refused for a moment":              {img: tag, entry: refused(5 * time.Second), o: occasion{refresh: 15 * time.Minute}, want: passing - 5*time.Second},
		"the interval is not over":                 {img: tag, entry: refused(time.Hour, asked(5*time.Minute, true)), o: occasion{refresh: 15 * time.Minute}, want: 10 * time.Minute},
		"no interval":                              {img: tag, entry: refused(time.Hour), never: true},
		"a node is asked already":                  {img: tag, entry: refused(time.Hour, asked(50*time.Minute, false)), o: occasion{refresh: 15 * time.Minute}, never: true},
		"if not present":                           {img: once, entry: refused(time.Hour), o: occasion{refresh: 15 * time.Minute}, never: true},
		"if not present, on demand":                {img: once, entry: refused(time.Hour), o: occasion{forced: ago(time.Second)}},
		"on demand, the registry not asked yet":    {img: tag, entry: refused(time.Hour, func(e *catalog.Entry) { e.Asked = ago(time.Minute) }), o: occasion{forced: ago(time.Second)}, never: true},
		"on demand, while a node is asked already": {img: tag, entry: refused(time.Hour, asked(time.Minute, false)), o: occasion{forced: ago(time.Second)}},
		"on demand, and asked since":               {img: tag, entry: refused(time.Hour, asked(time.Second, false)), o: occasion{forced: ago(2 * time.Second)}, never: true},
		"the digest is nowhere":                    {img: once, entry: refused(time.Hour), o: occasion{missing: true}},
		"the digest is nowhere, asked just now":    {img: once, entry: refused(time.Hour, asked(10*time.Second, true)), o: occasion{missing: true}, want: 50 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			tc.o.now = now
			got := recheckDue(tc.img, tc.entry, tc.o)
			if got.IsZero() != tc.never || !tc.never && got.Sub(now) != tc.want {
				t.Errorf("due at %s", got)
			}
		})
	}
}
