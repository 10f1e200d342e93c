// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagecache

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/catalog"
	"orlop.dev/orlop/internal/demand"
	"orlop.dev/orlop/internal/engine"
)

func cacheOf(images ...string) *v1alpha1.ImageCache {
	c := &v1alpha1.ImageCache{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", Generation: 3}}
	for _, image := range images {
		c.Spec.Images = append(c.Spec.Images, v1alpha1.CachedImage{Image: image})
	}
	return c
}

func read(t *testing.T, c *v1alpha1.ImageCache) demand.Cache {
	t.Helper()
	d, err := demand.Of(c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func viewOf(name string, images ...v1alpha1.StoreImageStatus) view {
	objects := nodes(name)
	v := view{node: objects[0].(*corev1.Node), store: objects[1].(*v1alpha1.ImageStore), ready: true}
	v.store.Status.Images = images
	return v
}

// TestTheWorstStaysSmall: 500 images fail on 5,000 nodes, with as many words as anyone may say.
func TestTheWorstStaysSmall(t *testing.T) {
	for name, tc := range map[string]struct {
		length int // of an image's name
		words  string
	}{
		"usual names":    {55, strings.Repeat("no such manifest ", 100)},
		"escaped words":  {55, strings.Repeat("<\"ä\u2028>", 500)},
		"long names":     {150, strings.Repeat("x", 5000)},
		"hardly a word":  {40, "no"},
		"nothing failed": {55, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var images []string
			for i := range 500 {
				head := fmt.Sprintf("registry.example/team%03d/", i)
				images = append(images, head+strings.Repeat("a", tc.length-len(head)-3)+":v1")
			}
			c := cacheOf(images...)
			d := read(t, c)
			known := catalog.New()
			for _, img := range d.Images {
				adopt(known, img.Ref, digest.FromString(img.Written))
			}
			var status []v1alpha1.StoreImageStatus
			for _, img := range images {
				s := failed(img, engine.NotFound, tc.words)
				if tc.words == "" {
					s = present(img, digest.FromString(img).String())
				}
				s.LastAttemptTime = new(metav1.Now())
				status = append(status, s)
			}
			var views []view
			for i := range 20 { // The list is cut long before: more would only take longer.
				views = append(views, viewOf(fmt.Sprintf("node-with-a-rather-long-name-%04d.region.compute.internal", i), status...))
			}
			all := facts(d.Images, known)
			c.Status = compose(picture{cache: c, demand: d, facts: all, sum: total(d, all, views, earlier{}, nil)}, time.Now())
			text, err := json.Marshal(c)
			if err != nil {
				t.Fatal(err)
			}
			spec, err := json.Marshal(c.Spec)
			if err != nil {
				t.Fatal(err)
			}
			// Managed fields name each image of the spec once more, with some quoting.
			if whole := len(text) + 500*(tc.length+40); whole > 100_000 && tc.length < 100 || len(text) > 200_000 {
				t.Errorf("%d bytes, of which status is %d", whole, len(text)-len(spec))
			}
			s := c.Status
			if int(s.OmittedImages)+len(s.Images) != 500 || len(s.Images) == 0 {
				t.Errorf("%d images, %d omitted", len(s.Images), s.OmittedImages)
			}
			if tc.words != "" && (int(s.OmittedFailures)+len(s.Failures) != 500*20 || len(s.Failures) == 0 || len(s.Failures) > 50 || s.Failures[0].Image != images[0]) {
				t.Errorf("%d failures, %d omitted", len(s.Failures), s.OmittedFailures)
			}
		})
	}
}

func TestTheOrderOfNodesDoesNotMatter(t *testing.T) {
	c := cacheOf(one, two)
	d := read(t, c)
	all := facts(d.Images, catalog.New())
	var views []view
	for i := range 300 {
		views = append(views, viewOf(fmt.Sprintf("n%03d", i), failed(one, engine.Timeout, "slow"), failed(two, engine.Unauthorized, fmt.Sprint("denied ", i))))
	}
	views[299].store.Status.Images[0] = failed(one, engine.NotFound, "gone")
	now := time.Now()
	want := compose(picture{cache: c, demand: d, facts: all, sum: total(d, all, views, earlier{}, nil)}, now)
	if want.Images[0].Reason != "NotFound" || want.Failures[0].Node != "n000" || want.OmittedFailures != 550 {
		t.Errorf("%+v", want)
	}
	for i := range views[:150] {
		views[i], views[299-i] = views[299-i], views[i]
	}
	if diff := cmp.Diff(want, compose(picture{cache: c, demand: d, facts: all, sum: total(d, all, views, earlier{}, nil)}, now)); diff != "" {
		t.Error(diff)
	}
}

func TestPinsThatCannotBeHad(t *testing.T) {
	c := cacheOf(one)
	d := read(t, c)
	known := catalog.New()
	sum1 := digest.FromString("1")
	adopt(known, d.Images[0].Ref, sum1)
	all := facts(d.Images, known)
	full := present(one, sum1.String())
	full.Pinned, full.Reason, full.Message = false, "PinLimit", "pinned images would take 70% of the disk"
	docker := viewOf("n2", present(one, sum1.String()))
	docker.store.Status.CanPin = false
	s := compose(picture{cache: c, demand: d, facts: all, sum: total(d, all, []view{viewOf("n1", full), docker}, earlier{}, nil)}, time.Now())
	var got []string
	for _, cond := range s.Conditions {
		got = append(got, fmt.Sprintf("%s=%s/%s: %s", cond.Type, cond.Status, cond.Reason, cond.Message))
	}
	want := []string{
		"Degraded=True/CannotPin: On 1 node the runtime does not let images be pinned: what the kubelet takes is pulled again. On 1 node images are not pinned: pinned images would take 70% of the disk (n1)",
		"Ready=True/Ready: 1 image on 2 nodes", "Reconciling=False/AsExpected: ", "Stalled=False/AsExpected: ",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestDue(t *testing.T) {
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	refused := &catalog.Refusal{Reason: engine.NotFound}
	tag := read(t, cacheOf(one)).Images[0]
	always := read(t, cacheOf(two)).Images[0]
	fixed := read(t, cacheOf("reg.example/one@"+digest.FromString("1").String())).Images[0]
	o := occasion{now: now, refresh: 15 * time.Minute}
	for name, tc := range map[string]struct {
		img  demand.Image
		e    catalog.Entry
		o    occasion
		want time.Time
	}{
		"new":                              {tag, catalog.Entry{}, o, now},
		"known from before":                {tag, catalog.Entry{Digest: "x"}, o, time.Time{}},
		"always, known from before":        {always, catalog.Entry{Digest: "x"}, o, now},
		"always, fresh":                    {always, catalog.Entry{Digest: "x", Asked: ago(5 * time.Minute)}, o, now.Add(10 * time.Minute)},
		"always, old":                      {always, catalog.Entry{Digest: "x", Asked: ago(16 * time.Minute)}, o, now},
		"always, never refreshed":          {always, catalog.Entry{Digest: "x", Asked: ago(time.Hour)}, occasion{now: now}, time.Time{}},
		"refused":                          {tag, catalog.Entry{Refusal: refused, Asked: ago(time.Second)}, occasion{now: now, next: now.Add(9 * time.Second)}, now.Add(9 * time.Second)},
		"refused, and a node has it":       {tag, catalog.Entry{Digest: "x", Refusal: refused, Asked: ago(time.Hour)}, o, time.Time{}},
		"always, refused":                  {always, catalog.Entry{Digest: "x", Refusal: refused, Asked: ago(time.Second)}, occasion{now: now, refresh: time.Minute, next: now.Add(20 * time.Second)}, now.Add(20 * time.Second)},
		"on demand":                        {tag, catalog.Entry{Digest: "x", Asked: ago(time.Hour)}, occasion{now: now, forced: ago(time.Second)}, now},
		"on demand, done":                  {tag, catalog.Entry{Digest: "x", Asked: now}, occasion{now: now, forced: ago(time.Second)}, time.Time{}},
		"nodes miss it":                    {tag, catalog.Entry{Digest: "x", Asked: ago(10 * time.Second)}, occasion{now: now, missing: true}, now.Add(50 * time.Second)},
		"by digest":                        {fixed, catalog.Entry{}, o, now},
		"by digest, asked":                 {fixed, catalog.Entry{Refusal: refused, Asked: ago(time.Hour)}, occasion{now: now, forced: now}, time.Time{}},
		"by digest, its size is known":     {fixed, catalog.Entry{Sizes: map[string]int64{"linux/amd64": 1}}, o, time.Time{}},
		"refused before this process came": {tag, catalog.Entry{Refusal: refused}, o, now},
	} {
		if got := due(tc.img, tc.e, tc.o); !got.Equal(tc.want) {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
}

func TestRequests(t *testing.T) {
	type state struct {
		Refresh, Purge string
		Purged         int64
	}
	for name, tc := range map[string]struct {
		refresh, purge string
		was, want      state
		left           request
	}{
		"nothing":                     {},
		"refresh":                     {refresh: "a", left: request{refresh: "a"}},
		"refresh, done":               {refresh: "a", was: state{Refresh: "a"}, want: state{Refresh: "a"}},
		"purge":                       {purge: "p", want: state{Purge: "p", Purged: 3}},
		"purge, done":                 {purge: "p", was: state{Purge: "p", Purged: 3}, want: state{Purge: "p", Purged: 3}},
		"both at once":                {refresh: "a", purge: "p", want: state{Refresh: "a", Purge: "p", Purged: 3}},
		"refresh after purge":         {refresh: "b", purge: "p", was: state{Refresh: "a", Purge: "p", Purged: 3}, want: state{Refresh: "b", Purge: "p"}},
		"edit after purge":            {purge: "p", was: state{Purge: "p", Purged: 2}, want: state{Purge: "p"}},
		"purge again":                 {purge: "q", was: state{Purge: "p", Purged: 3}, want: state{Purge: "q", Purged: 3}},
		"annotations that were taken": {was: state{Refresh: "a", Purge: "p"}, want: state{Refresh: "a", Purge: "p"}},
		"a long value":                {purge: strings.Repeat("x", 300), want: state{Purge: strings.Repeat("x", 255) + "…", Purged: 3}},
		"a long value, done":          {purge: strings.Repeat("x", 300), was: state{Purge: strings.Repeat("x", 255) + "…"}, want: state{Purge: strings.Repeat("x", 255) + "…"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := cacheOf()
			c.Annotations = map[string]string{v1alpha1.AnnotationRefresh: tc.refresh, v1alpha1.AnnotationPurge: tc.purge}
			c.Status.Refresh, c.Status.Purge, c.Status.PurgedGeneration = tc.was.Refresh, tc.was.Purge, tc.was.Purged
			left := accept(&c.Status, c.Generation, requested(c))
			got := state{c.Status.Refresh, c.Status.Purge, c.Status.PurgedGeneration}
			if got != tc.want || left != tc.left {
				t.Errorf("%+v, left %+v", got, left)
			}
		})
	}
}

func TestARefusalKeepsItsWords(t *testing.T) {
	first := refusal(nil, engine.Becausef(engine.Unauthorized, "denied (request 4f3a, at 12:00:01)"), time.Time{})
	if again := refusal(first, engine.Becausef(engine.Unauthorized, "denied (request 99bc, at 12:00:11)"), time.Now()); again != first {
		t.Errorf("%+v", again)
	}
	if other := refusal(first, errors.New("denied (request 4f3a, at 12:00:01)"), time.Now()); other == first || other.Reason != engine.Unknown {
		t.Errorf("%+v", other)
	}
}

func TestPauses(t *testing.T) {
	for n, want := range map[int]time.Duration{1: 10 * time.Second, 2: 20 * time.Second, 6: 5 * time.Minute, 50: 5 * time.Minute} {
		if got := pause(n); got < want*9/10 || got > want*11/10 {
			t.Errorf("after %d refusals %s", n, got)
		}
	}
	for _, uid := range []types.UID{"a", "b", "c"} {
		if got := jittered(time.Hour, uid); got < 54*time.Minute || got > 66*time.Minute || got != jittered(time.Hour, uid) {
			t.Errorf("%s", got)
		}
	}
}

func BenchmarkTotal(b *testing.B) {
	var images []string
	for i := range 50 {
		images = append(images, fmt.Sprintf("reg.example/app%d:1", i))
	}
	d, err := demand.Of(cacheOf(images...))
	if err != nil {
		b.Fatal(err)
	}
	known := catalog.New()
	var status []v1alpha1.StoreImageStatus
	for _, img := range d.Images {
		adopt(known, img.Ref, digest.FromString(img.Written))
		status = append(status, present(img.Written, digest.FromString(img.Written).String()))
	}
	var views []view
	for i := range 5000 {
		views = append(views, viewOf(fmt.Sprintf("n%04d", i), status...))
	}
	all := facts(d.Images, known)
	for b.Loop() {
		if s := total(d, all, views, earlier{}, nil); s.ready != 5000 {
			b.Fatal(s.ready)
		}
	}
}

// TestARefusedStoreIsAFailure: what the API server says of a node's store is told for each image that the node lacks.
func TestARefusedStoreIsAFailure(t *testing.T) {
	c := cacheOf("ghcr.io/acme/a:1", "ghcr.io/acme/b:1")
	d := read(t, c)
	known := catalog.New()
	for _, img := range d.Images {
		adopt(known, img.Ref, digest.FromString(img.Written))
	}
	there := v1alpha1.StoreImageStatus{Image: "ghcr.io/acme/a:1", Digest: digest.FromString("ghcr.io/acme/a:1").String(), State: v1alpha1.ImagePresent}
	refused := viewOf("n1", there)
	refused.refusal = "hands off n1"
	s := total(d, facts(d.Images, known), []view{refused, viewOf("n2", there)}, earlier{}, nil)
	if s.failed != 1 || len(s.failures) != 1 {
		t.Fatalf("%d nodes failed, with %+v", s.failed, s.failures)
	}
	want := v1alpha1.CacheFailure{Node: "n1", Image: "ghcr.io/acme/b:1", Reason: v1alpha1.ReasonRefused, Message: "hands off n1"}
	if diff := cmp.Diff(want, s.failures[0]); diff != "" {
		t.Error(diff)
	}
}
