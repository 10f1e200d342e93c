// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package enginetest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
)

var extras = map[string]promise{
	"pin holds and lifts":                       pins,
	"pin survives a second pull":                pinSurvivesPull,
	"pin of an unknown name is NotFound":        pinsUnknown,
	"mark is kept and lifted":                   marks,
	"mark survives a second pull":               markSurvivesPull,
	"mark of an unknown name is NotFound":       marksUnknown,
	"watch tells of what comes and goes":        watches,
	"batch gives back what it removed":          restores,
	"batch frees the content when it is closed": frees,
	"batch leaves what it did not remove":       batchLeavesOthers,
	"batch measures what has no names any more": measuresLate,
}

func (s *scene) pinner() engine.Pinner {
	s.Helper()
	pinner, ok := engine.As[engine.Pinner](s.Runtime)
	if !ok {
		s.Skip("this runtime cannot pin")
	}
	return pinner
}

func (s *scene) pin(ref oci.Ref, pinned bool) {
	s.Helper()
	if err := s.pinner().Pin(s.ctx, ref, pinned); err != nil {
		s.Fatalf("pinning %s (%t): %v", ref, pinned, err)
	}
}

func (s *scene) wantPinned(id string, want bool) {
	s.Helper()
	s.eventually("pinned is as it was set", func() bool { return s.mustLook(id).Pinned == want })
}

func pins(s *scene) {
	ref := s.ref("a:1")
	s.pushed(s.content("x"), ref)
	image := s.pull(ref)
	if image.Pinned {
		s.Fatal("the image came pinned")
	}
	for range 2 {
		s.pin(ref, true)
		s.wantPinned(image.ID, true)
	}
	for range 2 {
		s.pin(ref, false)
		s.wantPinned(image.ID, false)
	}
	s.wantNames(s.mustLook(image.ID), slices.Concat(image.Tags, image.Digests)...)
}

func pinSurvivesPull(s *scene) {
	ref := s.ref("a:1")
	s.pushed(s.content("x"), ref)
	image := s.pull(ref)
	s.pin(ref, true)
	s.pull(ref)
	s.wantPinned(image.ID, true)
	s.pin(ref, false)
	s.wantPinned(image.ID, false)
}

func pinsUnknown(s *scene) {
	s.wantReason(s.pinner().Pin(s.ctx, s.ref("nowhere:1"), true), engine.NotFound)
}

func (s *scene) marker() engine.Marker {
	s.Helper()
	marker, ok := engine.As[engine.Marker](s.Runtime)
	if !ok {
		s.Skip("this runtime cannot mark")
	}
	return marker
}

func (s *scene) mark(ref oci.Ref, pulled bool) {
	s.Helper()
	if err := s.marker().Mark(s.ctx, ref, pulled); err != nil {
		s.Fatalf("marking %s (%t): %v", ref, pulled, err)
	}
}

func (s *scene) wantMarked(digest oci.Ref, want bool) {
	s.Helper()
	marked, err := s.marker().Marked(s.ctx)
	if err != nil {
		s.Fatal(err)
	}
	if slices.Contains(marked, digest) != want {
		s.Errorf("%s is marked: %t, want %t (marked are %v)", digest, !want, want, marked)
	}
}

func marks(s *scene) {
	ref := s.ref("a:1")
	byDigest := ref.WithDigest(s.pushed(s.content("x"), ref)).WithoutTag()
	image := s.pull(ref)
	s.wantMarked(byDigest, false)
	for range 2 {
		s.mark(ref, true)
		s.wantMarked(byDigest, true)
	}
	for range 2 {
		s.mark(ref, false)
		s.wantMarked(byDigest, false)
	}
	s.wantNames(s.mustLook(image.ID), slices.Concat(image.Tags, image.Digests)...)
}

func markSurvivesPull(s *scene) {
	ref := s.ref("a:1")
	byDigest := ref.WithDigest(s.pushed(s.content("x"), ref)).WithoutTag()
	s.pull(ref)
	s.mark(ref, true)
	s.pull(ref)
	s.wantMarked(byDigest, true)
}

func marksUnknown(s *scene) {
	s.wantReason(s.marker().Mark(s.ctx, s.ref("nowhere:1"), true), engine.NotFound)
}

func watches(s *scene) {
	watcher, ok := engine.As[engine.Watcher](s.Runtime)
	if !ok {
		s.Skip("this runtime does not tell")
	}
	ref := s.ref("a:1")
	s.pushed(s.content("x"), ref)
	ctx, cancel := context.WithCancel(s.ctx)
	heard, ended := make(chan struct{}, 1), make(chan error, 1)
	go func() {
		ended <- watcher.Watch(ctx, func() {
			select {
			case heard <- struct{}{}:
			default:
			}
		})
	}()
	defer func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			s.Errorf("the watch ended with %v", err)
		}
	}()
	tells := func(what string) {
		s.Helper()
		select {
		case <-heard:
		case <-time.After(s.Patience / 6):
			s.Fatalf("nothing was told: %s", what)
		}
	}
	tells("that it listens")
	// What is told may be the rest of something earlier: both must be heard of for themselves.
	image := s.pull(ref)
	tells("an image has come")
	for settled := false; !settled; {
		select {
		case <-heard:
		case <-time.After(200 * time.Millisecond):
			settled = true
		}
	}
	s.remove(engine.RemoveRequest{Image: image})
	tells("an image has gone")
}

func (s *scene) batch() engine.Batch {
	s.Helper()
	batcher, ok := engine.As[engine.Batcher](s.Runtime)
	if !ok {
		s.Skip("this runtime removes one by one")
	}
	batch, err := batcher.Batch(s.ctx)
	if err != nil {
		s.Fatal(err)
	}
	return batch
}

// settled expects that all removals were as the runtime said.
func (s *scene) settled(batch engine.Batch) {
	s.Helper()
	untrue, err := batch.Settle(s.ctx)
	if err != nil || len(untrue) > 0 {
		s.Fatalf("settling the batch: %v; not true: %v", err, untrue)
	}
}

func (s *scene) closed(batch engine.Batch) {
	s.Helper()
	if err := batch.Close(s.ctx); err != nil {
		s.Fatalf("closing the batch: %v", err)
	}
}

func restores(s *scene) {
	a1, a2, b := s.ref("a:1"), s.ref("a:2"), s.ref("b:1")
	s.pushed(s.content("x"), a1, a2, b)
	image := s.measured(s.pull(a1, a2, b))
	_, pinned := engine.As[engine.Pinner](s.Runtime)
	if pinned {
		s.pin(a1, true)
	}
	batch := s.batch()
	if err := batch.Remove(s.ctx, engine.RemoveRequest{Image: image}); err != nil {
		s.Fatal(err)
	}
	s.settled(batch)
	s.wantGone(image)
	if err := batch.Restore(s.ctx, image.ID); err != nil {
		s.Fatal(err)
	}
	s.eventually("the image is back", func() bool { _, there := s.look(image.ID); return there })
	s.closed(batch)
	after := s.measured(s.mustLook(image.ID))
	s.wantNames(after, slices.Concat(image.Tags, image.Digests)...)
	if after.DiskBytes != image.DiskBytes || after.Pinned != pinned {
		s.Errorf("it came back with %d bytes, pinned %t; it had %d, pinned %t", after.DiskBytes, after.Pinned, image.DiskBytes, pinned)
	}
	if pinned {
		s.pin(a1, false)
	}
}

func frees(s *scene) {
	if s.HasContent == nil || !s.Can.Layers {
		s.Skip("nothing tells what is on disk")
	}
	shared, only := s.content("x"), s.content("y")
	s.pushed(shared, s.ref("keep:1"))
	s.pushed(only, s.ref("a:1"))
	keep, image := s.measured(s.pull(s.ref("keep:1"))), s.measured(s.pull(s.ref("a:1")))
	if len(image.Layers) == 0 {
		s.Fatal("the runtime does not tell of what the image consists")
	}
	batch := s.batch()
	if err := batch.Remove(s.ctx, engine.RemoveRequest{Image: image}); err != nil {
		s.Fatal(err)
	}
	for _, layer := range image.Layers {
		if !s.HasContent(s, layer.ID) {
			s.Errorf("layer %s is gone before the batch is closed", layer.ID)
		}
	}
	s.closed(batch)
	for _, layer := range image.Layers {
		needed := slices.ContainsFunc(keep.Layers, func(l engine.Layer) bool { return l.ID == layer.ID })
		if has := s.HasContent(s, layer.ID); has != needed {
			s.Errorf("layer %s is there: %t, needed by another image: %t", layer.ID, has, needed)
		}
	}
}

func batchLeavesOthers(s *scene) {
	a1, a2 := s.ref("a:1"), s.ref("a:2")
	s.pushed(s.content("x"), a1, a2)
	s.pushed(s.content("y"), s.ref("b:1"))
	image, other := s.pull(a1, a2), s.pull(s.ref("b:1"))
	batch := s.batch()
	if err := batch.Remove(s.ctx, engine.RemoveRequest{Image: image, Tags: []oci.Ref{a1}}); err != nil {
		s.Fatal(err)
	}
	s.settled(batch)
	s.closed(batch)
	s.eventually("the tag is gone", func() bool { _, there := s.named(a1); return !there })
	s.wantNames(s.mustLook(image.ID), a2)
	s.wantNames(s.mustLook(other.ID), s.ref("b:1"))
}

func measuresLate(s *scene) {
	s.pushed(s.content("x"), s.ref("goes:1"))
	s.pushed(s.content("y"), s.ref("stays:1"))
	goes, stays := s.measured(s.pull(s.ref("goes:1"))), s.measured(s.pull(s.ref("stays:1")))
	batch := s.batch()
	defer s.closed(batch)
	measurer, ok := engine.BatchAs[engine.LateMeasurer](batch)
	if !ok {
		s.Skip("this runtime has no batch that measures")
	}
	listed, err := s.Runtime.List(s.ctx)
	if err != nil {
		s.Fatal(err)
	}
	rest, err := measurer.MeasureLater(s.ctx, listed)
	if err != nil {
		s.Fatal(err)
	}
	if err := batch.Remove(s.ctx, engine.RemoveRequest{Image: goes}); err != nil {
		s.Fatal(err)
	}
	s.settled(batch)
	if err := rest(s.ctx, goes.ID); err != nil {
		s.Fatal(err)
	}
	for _, image := range listed {
		switch image.ID {
		case goes.ID:
			if diff := cmp.Diff(byID(goes.Layers), byID(image.Layers)); diff != "" || image.DiskBytes != goes.DiskBytes {
				s.Errorf("%d bytes, %d when it had its names; layers (-then +now):\n%s", image.DiskBytes, goes.DiskBytes, diff)
			}
		case stays.ID:
			bare := cmp.Transformer("bare", func(layer engine.Layer) string { return layer.ID })
			if diff := cmp.Diff(byID(stays.Layers), byID(image.Layers), bare); diff != "" || image.DiskBytes != 0 {
				s.Errorf("%d bytes, for which nobody asked; layers (-want +got):\n%s", image.DiskBytes, diff)
			}
		}
		if image.FirstSeen.IsZero() {
			s.Errorf("nobody knows since when %s is here", image.ID)
		}
	}
}

func byID(layers []engine.Layer) []engine.Layer {
	return slices.SortedFunc(slices.Values(layers), func(a, b engine.Layer) int { return strings.Compare(a.ID, b.ID) })
}
