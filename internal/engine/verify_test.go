// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/engine/enginetest"
	"orlop.dev/orlop/internal/oci"
)

func ref(t *testing.T, text string) oci.Ref {
	t.Helper()
	r, err := oci.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

var (
	oldWeb = enginetest.Content{Seed: "old", Layers: []enginetest.Blob{{Seed: "a", Size: 10}}}
	newWeb = enginetest.Content{Seed: "new", Layers: []enginetest.Blob{{Seed: "b", Size: 10}}}
)

// TestVerify has one image under web:1, web:2 and other:1 in a runtime that is not to be believed.
func TestVerify(t *testing.T) {
	type world struct {
		rt    *enginetest.Containerd
		image engine.Image
	}
	whole := func(ctx context.Context, w world, rt engine.Interface) error {
		return rt.Remove(ctx, engine.RemoveRequest{Image: w.image})
	}
	oneTag := func(ctx context.Context, w world, rt engine.Interface) error {
		return rt.Remove(ctx, engine.RemoveRequest{Image: w.image, Tags: []oci.Ref{ref(t, "web:1")}})
	}
	pull := func(text string) func(context.Context, world, engine.Interface) error {
		return func(ctx context.Context, _ world, rt engine.Interface) error {
			_, err := rt.Pull(ctx, engine.PullRequest{Ref: ref(t, text)})
			return err
		}
	}
	everyTag := func(ctx context.Context, w world, rt engine.Interface) error {
		image := w.rt.Load(newWeb, "fresh:1", "else@"+newWeb.Manifest().String())
		return rt.Remove(ctx, engine.RemoveRequest{Image: image, Tags: image.Tags})
	}
	pinned := "web:1@" + oldWeb.Manifest().String()
	cases := map[string]struct {
		traps  enginetest.Traps
		before func(world) func(enginetest.Call)
		act    func(context.Context, world, engine.Interface) error
		reason engine.Reason
		says   string
	}{
		"whole":               {act: whole},
		"one tag":             {act: oneTag},
		"pull":                {act: pull("web:1")},
		"pull both":           {act: pull(pinned)},
		"whole, late":         {traps: enginetest.Traps{ListLags: 5}, act: whole},
		"one tag, late":       {traps: enginetest.Traps{ListLags: 5}, act: oneTag},
		"pull, late":          {traps: enginetest.Traps{ListLags: 5}, act: pull("web:1")},
		"whole, no effect":    {traps: enginetest.Traps{RemoveNoEffect: true}, act: whole, reason: engine.NoEffect, says: "still there as docker.io/library/other:1"},
		"one tag, no effect":  {traps: enginetest.Traps{RemoveNoEffect: true}, act: oneTag, reason: engine.NoEffect, says: "library/web:1 is still there"},
		"one tag, takes all":  {traps: enginetest.Traps{RemoveTakesAll: true}, act: oneTag, reason: engine.Unknown, says: "not asked for: docker.io/library/other:1, docker.io/library/web:2"},
		"every tag":           {act: everyTag},
		"… takes a digest":    {traps: enginetest.Traps{RemoveTakesAll: true}, act: everyTag, reason: engine.Unknown, says: "not asked for: docker.io/library/else@sha256:"},
		"whole, untagged":     {traps: enginetest.Traps{RemoveLeavesUntagged: true}, act: whole, reason: engine.NoEffect, says: "still there as sha256:"},
		"pull, no effect":     {traps: enginetest.Traps{PullNoEffect: true}, act: pull("fresh:1"), reason: engine.NoEffect, says: "there is no image sha256:"},
		"pull, drops tag":     {traps: enginetest.Traps{PullDropsTag: true}, act: pull("fresh:1@" + newWeb.Manifest().String()), reason: engine.NoEffect, says: "only as docker.io/library/fresh@sha256:"},
		"pull, other digest":  {traps: enginetest.Traps{PullIgnoresDigest: true}, act: pull(pinned), reason: engine.NoEffect, says: "another digest"},
		"pull, list fails":    {traps: enginetest.Traps{ListFails: true}, act: pull("web:1"), reason: engine.Unknown, says: "looking for image"},
		"one tag, list fails": {traps: enginetest.Traps{ListFails: true}, act: oneTag, reason: engine.Unknown, says: "looking for image"},
		"someone else removes another tag just before": {act: oneTag, before: func(w world) func(enginetest.Call) {
			done := false
			return func(enginetest.Call) {
				if !done {
					done = true
					_ = w.rt.Remove(context.Background(), engine.RemoveRequest{Image: w.image, Tags: []oci.Ref{ref(t, "web:2")}})
				}
			}
		}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				registry := enginetest.NewRegistry()
				registry.Push(ref(t, "web:1"), oldWeb)
				registry.Push(ref(t, "web:1"), newWeb)
				registry.Push(ref(t, "fresh:1"), newWeb)
				rt := enginetest.NewContainerd(registry)
				w := world{rt, rt.Load(oldWeb, "web:1", "web:2", "other:1")}
				rt.Traps = c.traps
				if c.before != nil {
					rt.Before = c.before(w)
				}
				err := c.act(t.Context(), w, engine.Verify(rt))
				if got := engine.ReasonOf(err); got != c.reason {
					t.Errorf("reason = %q, want %q (error: %v)", got, c.reason, err)
				}
				if err != nil && !strings.Contains(err.Error(), c.says) {
					t.Errorf("error = %v, want it to say %q", err, c.says)
				}
			})
		})
	}
}

func TestVerifyBatch(t *testing.T) {
	cases := map[string]struct {
		traps  enginetest.Traps
		reason engine.Reason
	}{
		"believed":         {},
		"remove no effect": {traps: enginetest.Traps{RemoveNoEffect: true}, reason: engine.NoEffect},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rt := enginetest.NewContainerd(enginetest.NewRegistry())
				image := rt.Load(oldWeb, "web:1")
				rt.Traps = c.traps
				batch := openBatch(t, engine.Verify(rt))
				if err := batch.Remove(t.Context(), engine.RemoveRequest{Image: image}); err != nil {
					t.Fatal(err)
				}
				untrue, err := batch.Settle(t.Context())
				if got := engine.ReasonOf(cmp.Or(err, untrue[image.ID])); got != c.reason {
					t.Errorf("reason = %q, want %q (error: %v, %v)", got, c.reason, err, untrue)
				}
				if err := errors.Join(batch.Restore(t.Context(), image.ID), batch.Close(t.Context())); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// Each removal of the same image must not count what another took as taken without being asked.
func TestVerifyBatchOfSingleNames(t *testing.T) {
	rt := enginetest.NewContainerd(enginetest.NewRegistry())
	image := rt.Load(oldWeb, "web:1", "web:2", "web:3")
	batch := openBatch(t, engine.Verify(rt))
	for _, tag := range []string{"web:1", "web:2"} {
		if err := batch.Remove(t.Context(), engine.RemoveRequest{Image: image, Tags: []oci.Ref{ref(t, tag)}}); err != nil {
			t.Fatal(err)
		}
	}
	untrue, err := batch.Settle(t.Context())
	if err != nil || len(untrue) > 0 {
		t.Errorf("error %v, not true: %v", err, untrue)
	}
	if err := batch.Close(t.Context()); err != nil {
		t.Error(err)
	}
	left, err := rt.List(t.Context(), image.ID)
	if err != nil || len(left) != 1 || len(left[0].Tags) != 1 || left[0].Tags[0] != ref(t, "web:3") {
		t.Errorf("error %v, left: %+v", err, left)
	}
}

func openBatch(t *testing.T, rt engine.Interface) engine.Batch {
	t.Helper()
	batcher, ok := engine.As[engine.Batcher](rt)
	if !ok {
		t.Fatal("the decorated runtime does not batch any more")
	}
	batch, err := batcher.Batch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return batch
}

func TestAs(t *testing.T) {
	containerd := engine.Verify(engine.Verify(enginetest.NewContainerd(enginetest.NewRegistry())))
	crio := engine.Verify(enginetest.NewCRIO(enginetest.NewRegistry()))
	if _, ok := engine.As[engine.Pinner](containerd); !ok {
		t.Error("what wraps a containerd does not pin")
	}
	if _, ok := engine.As[engine.Pinner](crio); ok {
		t.Error("what wraps a CRI-O pins")
	}
	if _, ok := engine.As[engine.Batcher](crio); ok {
		t.Error("what wraps a CRI-O batches")
	}
}
