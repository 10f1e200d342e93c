// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package enginetest

import (
	"context"
	"slices"
	"strings"
	"time"

	"orlop.dev/orlop/internal/engine"
)

var listing = map[string]promise{
	"describe names the runtime":             describes,
	"list gives an image with all its names": listsAllNames,
	"list by ids gives those that are there": listsByID,
	"list that fails gives no images":        failingList,
	"layers are shared by their ids":         sharesLayers,
}

func describes(s *scene) {
	d, err := s.Runtime.Describe(s.ctx)
	if err != nil {
		s.Fatal(err)
	}
	if !slices.Contains([]string{"containerd", "cri-o", "docker"}, d.Name) {
		s.Errorf("name = %q, want containerd, cri-o or docker", d.Name)
	}
	if d.Version == "" || !strings.Contains(d.Endpoint, "://") {
		s.Errorf("version %q and endpoint %q do not tell which runtime this is", d.Version, d.Endpoint)
	}
}

func listsAllNames(s *scene) {
	a1, a2, b := s.ref("a:1"), s.ref("a:2"), s.ref("b:1")
	digest := s.pushed(s.content("x"), a1, a2, b)
	image := s.pull(a1, a2, b)
	byName, _ := s.named(a1)
	if byName.ID != image.ID {
		s.Errorf("the list of all has %s as %q, the list by id as %q", a1, byName.ID, image.ID)
	}
	s.wantNames(image, a1, a2, b, a1.WithDigest(digest).WithoutTag(), b.WithDigest(digest).WithoutTag())
	if len(image.Tags) != 3 {
		s.Errorf("tags = %v, want these three alone", image.Tags)
	}
	if image.PullBytes == 0 && image.DiskBytes == 0 {
		s.Error("neither the compressed size nor that on disk is known")
	}
	if age := time.Since(image.FirstSeen); !image.FirstSeen.IsZero() && (age < -time.Minute || age > s.Patience) {
		s.Errorf("first seen %s, which is not when it was pulled", image.FirstSeen)
	}
}

func listsByID(s *scene) {
	s.pushed(s.content("x"), s.ref("a:1"))
	s.pushed(s.content("y"), s.ref("b:1"))
	a, b := s.pull(s.ref("a:1")), s.pull(s.ref("b:1"))
	images, err := s.Runtime.List(s.ctx, b.ID, unknownID(a.ID))
	if err != nil {
		s.Fatal(err)
	}
	if len(images) != 1 || images[0].ID != b.ID {
		s.Errorf("listing one image by id, and one that is not there, gave %d images", len(images))
	}
}

// unknownID is an id of the runtime's own form that no image has.
func unknownID(id string) string {
	digits := strings.NewReplacer("0", "f", "1", "e", "2", "d", "3", "c", "4", "b", "5", "a", "6", "9", "7", "8",
		"8", "7", "9", "6", "a", "5", "b", "4", "c", "3", "d", "2", "e", "1", "f", "0")
	if head, hex, ok := strings.Cut(id, ":"); ok {
		return head + ":" + digits.Replace(hex)
	}
	return digits.Replace(id)
}

func failingList(s *scene) {
	ctx, cancel := context.WithCancel(s.ctx)
	cancel()
	if images, err := s.Runtime.List(ctx); err == nil || len(images) != 0 {
		s.Errorf("a list that was cancelled gave %d images and error %v", len(images), err)
	}
	if uses, err := s.Runtime.Uses(ctx); err == nil || len(uses) != 0 {
		s.Errorf("a list of uses that was cancelled gave %d and error %v", len(uses), err)
	}
}

func sharesLayers(s *scene) {
	if !s.Can.Layers {
		s.Skip("this runtime does not tell layers")
	}
	s.pushed(s.content("x"), s.ref("a:1"))
	s.pushed(s.content("y"), s.ref("b:1"))
	a, b := s.measured(s.pull(s.ref("a:1"))), s.measured(s.pull(s.ref("b:1")))
	shared := 0
	for _, layer := range a.Layers {
		if slices.ContainsFunc(b.Layers, func(l engine.Layer) bool { return l.ID == layer.ID }) {
			shared++
		}
		if layer.Bytes < 0 {
			s.Errorf("layer %s has %d bytes", layer.ID, layer.Bytes)
		}
	}
	if shared == 0 || shared == len(a.Layers) {
		s.Errorf("two images with one layer in common share %d of %d", shared, len(a.Layers))
	}
}
