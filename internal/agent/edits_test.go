// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
)

// slowRuntime takes its time before each act, and again until it says what came of it: who breaks off between the two hears of no success.
type slowRuntime struct {
	engine.Interface
	span func() time.Duration
}

func (s slowRuntime) Unwrap() engine.Interface { return s.Interface }

func (s slowRuntime) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(s.span()):
		return nil
	}
}

func (s slowRuntime) List(ctx context.Context, ids ...string) ([]engine.Image, error) {
	images, err := s.Interface.List(ctx, ids...)
	return images, cmp.Or(err, s.wait(ctx))
}

// act has its effect also where it is broken off before: the runtime hears of that too late.
func (s slowRuntime) act(ctx context.Context, act func(context.Context) error) error {
	if err := s.wait(ctx); err != nil {
		time.AfterFunc(s.span(), func() { _ = act(context.WithoutCancel(ctx)) })
		return err
	}
	return cmp.Or(act(ctx), s.wait(ctx))
}

func (s slowRuntime) Pull(ctx context.Context, req engine.PullRequest) (engine.Image, error) {
	came := make(chan engine.Image, 1) // It may come when nobody waits any more.
	err := s.act(ctx, func(ctx context.Context) error {
		img, err := s.Interface.Pull(ctx, req)
		came <- img
		return err
	})
	if err != nil {
		return engine.Image{}, err
	}
	return <-came, nil
}

func (s slowRuntime) Pin(ctx context.Context, name oci.Ref, pinned bool) error {
	pinner, _ := engine.As[engine.Pinner](s.Interface)
	return s.act(ctx, func(ctx context.Context) error { return pinner.Pin(ctx, name, pinned) })
}

func (s slowRuntime) Mark(ctx context.Context, name oci.Ref, pulled bool) error {
	marker, _ := engine.As[engine.Marker](s.Interface)
	return s.act(ctx, func(ctx context.Context) error { return marker.Mark(ctx, name, pulled) })
}

func (s slowRuntime) Marked(ctx context.Context) ([]oci.Ref, error) {
	marker, _ := engine.As[engine.Marker](s.Interface)
	return marker.Marked(ctx)
}

// control does once what the controller does with a store whose caches want these images.
func (w *world) control(wanted ...v1alpha1.StoreImage) {
	store := w.api.Store()
	seen := store.Status.ObservedRevision >= store.Spec.Revision
	entries, needs := slices.Clone(wanted), store.Spec.Needs
	released, list := false, false
	for _, had := range store.Spec.Images {
		recorded := slices.ContainsFunc(store.Status.Images, func(st v1alpha1.StoreImageStatus) bool { return st.Image == had.Image })
		switch {
		case slices.ContainsFunc(wanted, func(e v1alpha1.StoreImage) bool { return e.Image == had.Image }):
		case !had.Released, !seen, recorded:
			list, released = list || !had.Released, true
			had.Released = true
			entries = append(entries, had)
		}
	}
	switch asked := store.Status.NeedsAsked; {
	case !released:
		needs = nil
	case list || needs == nil || asked != "" && asked != needs.Answers:
		needs = &v1alpha1.PodNeeds{AsOf: metav1.NowMicro(), Answers: asked}
	}
	slices.SortFunc(entries, func(a, b v1alpha1.StoreImage) int { return strings.Compare(a.Image, b.Image) })
	if !slices.EqualFunc(entries, store.Spec.Images, func(a, b v1alpha1.StoreImage) bool { return a.Image == b.Image && a.Released == b.Released }) || needs != store.Spec.Needs {
		w.api.Change(func(s *v1alpha1.ImageStoreSpec) { s.Images, s.Needs = entries, needs })
	}
}

// spans are up to a tenth of a second, the same for the same seed.
func spans(seed uint64) func() time.Duration {
	var mu sync.Mutex
	random := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // No secret.
	return func() time.Duration {
		mu.Lock()
		defer mu.Unlock()
		return time.Duration(random.Int64N(int64(100 * time.Millisecond)))
	}
}

// The list changes while its images are on their way, at whatever moment. What it ends with is there and pinned, and of the rest nothing
// stays: no image, no pin that came late, no record.
func TestEditsDuringPulls(t *testing.T) {
	const tick, patience, worlds = 20 * time.Millisecond, 45 * time.Second, 100
	for seed := range uint64(worlds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.gate.Interface = slowRuntime{w.runtime, spans(seed)}
				var entries []v1alpha1.StoreImage
				for i := range 6 {
					name := fmt.Sprintf("a%d:1", i)
					entries = append(entries, w.push(name, name, 1000))
				}
				gap := spans(seed + worlds)
				w.start()
				for i := range 5 {
					for until := time.Now().Add(4 * gap()); time.Now().Before(until); w.pass(tick) {
						w.control(entries[i : i+2]...)
					}
				}
				begun := time.Now()
				for ; time.Since(begun) < patience; w.pass(5 * tick) {
					w.control(entries[4:]...)
				}
				for i, e := range entries {
					byDigest, wanted := strings.TrimSuffix(e.Image, ":1")+"@"+e.Digest, i >= 4
					w.wantHere(e.Image, wanted)
					w.wantHere(byDigest, wanted)
					if img, _ := w.here(e.Image); wanted && !img.Pinned {
						w.Errorf("%s is not pinned", e.Image)
					}
				}
				if left := w.api.Store().Spec.Images; len(left) != 2 {
					w.Errorf("the store still speaks of %+v, and the agent of %+v", left, w.api.Store().Status.Images)
				}
			})
		})
	}
}
