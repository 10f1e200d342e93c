// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package containerd

import (
	"context"
	"slices"
	"testing"

	"orlop.dev/orlop/internal/engine"
)

// shown is a CRI that shows one image, pinned as the server's records say.
type shown struct {
	engine.Interface
	*server
	image engine.Image
}

func (c shown) List(context.Context, ...string) ([]engine.Image, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	image := c.image
	for _, i := range c.records {
		image.Pinned = image.Pinned || isPinned(i)
	}
	return []engine.Image{image}, nil
}

// A cache lifts its own pin alone, a person both, and nobody what neither has pinned.
func TestPinsOfTwo(t *testing.T) {
	const tag = "a.test/x:1"
	type step struct {
		byHand, pin, pinned, others bool // others: than the caches
	}
	for name, c := range map[string]struct {
		foreign bool
		steps   []step
	}{
		"the cache first": {false, []step{
			{pin: true, pinned: true}, {byHand: true, pin: true, pinned: true, others: true}, {pinned: true, others: true}, {byHand: true},
		}},
		"the person first": {false, []step{
			{byHand: true, pin: true, pinned: true, others: true}, {pin: true, pinned: true, others: true}, {byHand: true}, {},
		}},
		"somebody else before": {true, []step{
			{pin: true, pinned: true, others: true}, {byHand: true, pin: true, pinned: true, others: true},
			{pinned: true, others: true}, {byHand: true, pinned: true, others: true},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			byDigest := at("a.test/x@"+indexA, indexA)
			if c.foreign {
				byDigest.Labels = map[string]string{labelPinned: valuePinned}
			}
			s := newServer("2.4.2", at(tag, indexA), byDigest, at(imageID, indexA))
			r := s.connected(t)
			r.cri = shown{server: s, image: listed(t, imageID, tag)}
			for n, step := range c.steps {
				set := r.Pin
				if step.byHand {
					set = r.PinByHand
				}
				if err := set(t.Context(), ref(t, tag), step.pin); err != nil {
					t.Fatal(err)
				}
				images, err := r.List(t.Context(), imageID)
				if err != nil {
					t.Fatal(err)
				}
				if images[0].Pinned != step.pinned || images[0].PinnedByOthers != step.others {
					t.Errorf("after step %d it is pinned %t, by others %t; want %+v", n+1, images[0].Pinned, images[0].PinnedByOthers, step)
				}
			}
			left := slices.ContainsFunc([]string{labelOurPin, labelHandPin}, func(label string) bool {
				return s.records[tag].Labels[label]+s.records[byDigest.Name].Labels[label]+s.records[imageID].Labels[label] != ""
			})
			if left {
				t.Errorf("a pin is left: %v", s.records)
			}
		})
	}
}
