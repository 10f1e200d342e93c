// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package enginetest

import (
	"context"
	"crypto/rand"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
)

// Fixture is a runtime to prove, with what a test needs around it. A nil function leaves out the promises that need it.
type Fixture struct {
	Runtime engine.Interface

	// Repository is what the names of test images begin with, such as 127.0.0.1:5000/orlop: where Push puts them and
	// the runtime finds them.
	Repository string
	// Push puts an image under repository:tag, which moves there. Equal contents are equal images, to the byte. Where
	// Start is set, the images can run.
	Push func(t testing.TB, ref oci.Ref, content Content) digest.Digest

	// Private is like Repository, in a registry that asks for these credentials; empty: there is none.
	Private     string
	Credentials engine.Credentials

	// Start makes a container from a local image, and returns when it is in that state; remove takes it away.
	Start func(t testing.TB, image oci.Ref, state State) (remove func())
	// Mount makes a running container of the image by that mounts another local image as a volume.
	Mount func(t testing.TB, by, volume oci.Ref) (remove func())
	// Stall makes the registry hold back the layers of a repository until the test has ended.
	Stall func(t testing.TB, repository string)
	// HasContent reports whether the disk holds a layer that List told.
	HasContent func(t testing.TB, layer string) bool

	Can Abilities
	// Patience is how long one promise may take, and six times what it may wait for one change; unset, a minute.
	Patience time.Duration
}

// Abilities are what a runtime can do, and thereby which of two promises it is held to.
type Abilities struct {
	// OneTag: it takes one tag of several; else it says Unsupported, and does nothing.
	OneTag bool
	// MoveTag: a pull by tag and digest sets the tag to it whatever the registry's tag names; else it says NoEffect.
	MoveTag bool
	// RefuseUse: it refuses itself to remove what is in use; else the check is its caller's alone.
	RefuseUse bool
	// ForceExited: it lets go what only exited containers use, when forced.
	ForceExited bool
	// Progress: it tells how far a pull is.
	Progress bool
	// Layers: it tells what an image's bytes on disk consist of.
	Layers bool
}

// defaultPatience is what a promise takes at most on a real runtime of a busy machine.
const defaultPatience = time.Minute

// Run holds a runtime to every promise of the port. setup is called for each, and may give the same runtime: the
// images of one promise have names of their own, and are removed at its end.
func Run(t *testing.T, setup func(t *testing.T) Fixture) {
	t.Helper()
	for _, group := range []map[string]promise{listing, pulling, removing, using, extras} {
		for _, name := range slices.Sorted(maps.Keys(group)) {
			t.Run(name, func(t *testing.T) {
				s := newScene(t, setup(t))
				group[name](s)
			})
		}
	}
}

type promise func(*scene)

// scene is one promise's own corner of a runtime.
type scene struct {
	*testing.T
	Fixture
	ctx  context.Context
	path string
	seed string
}

func newScene(t *testing.T, f Fixture) *scene {
	if f.Patience == 0 {
		f.Patience = defaultPatience
	}
	ctx, cancel := context.WithTimeout(t.Context(), f.Patience)
	t.Cleanup(cancel)
	seed := strings.ToLower(rand.Text()[:10])
	s := &scene{T: t, Fixture: f, ctx: ctx, path: "/t" + seed + "/", seed: seed}
	t.Cleanup(s.sweep)
	return s
}

// sweep removes what this promise has left behind.
func (s *scene) sweep() {
	ctx, cancel := context.WithTimeout(context.Background(), s.Patience)
	defer cancel()
	images, err := s.Runtime.List(ctx)
	if err != nil {
		s.Logf("sweeping: %v", err)
		return
	}
	for _, image := range images {
		mine := func(ref oci.Ref) bool { return strings.Contains(ref.Repository(), s.path) }
		if slices.ContainsFunc(slices.Concat(image.Tags, image.Digests), mine) {
			if err := s.Runtime.Remove(ctx, engine.RemoveRequest{Image: image}); err != nil {
				s.Logf("sweeping: %v", err)
			}
		}
	}
}

func (s *scene) ref(name string) oci.Ref { return s.parse(s.Repository + s.path + name) }

func (s *scene) parse(name string) oci.Ref {
	s.Helper()
	ref, err := oci.Parse(name)
	if err != nil {
		s.Fatal(err)
	}
	return ref
}

// content is an image that no other promise has, of two layers; name tells those of one promise apart.
func (s *scene) content(name string) Content {
	return Content{Seed: s.seed + name, Layers: []Blob{{Seed: s.seed + "base", Size: 64 << 10}, {Seed: s.seed + name, Size: 96 << 10}}}
}

// pushed puts one image under several names.
func (s *scene) pushed(content Content, names ...oci.Ref) digest.Digest {
	s.Helper()
	var d digest.Digest
	for _, name := range names {
		d = s.Push(s, name, content)
	}
	return d
}

// pull pulls each name, and returns the image as it is listed after the last.
func (s *scene) pull(names ...oci.Ref) engine.Image {
	s.Helper()
	var image engine.Image
	for _, name := range names {
		var err error
		if image, err = s.Runtime.Pull(s.ctx, engine.PullRequest{Ref: name}); err != nil {
			s.Fatalf("pulling %s: %v", name, err)
		}
	}
	return s.mustLook(image.ID)
}

func (s *scene) mustLook(id string) engine.Image {
	s.Helper()
	image, there := s.look(id)
	if !there {
		s.Fatalf("image %s is not listed", id)
	}
	return image
}

// measured adds what the image takes on disk, where the list alone does not tell.
func (s *scene) measured(image engine.Image) engine.Image {
	s.Helper()
	measurer, ok := engine.As[engine.Measurer](s.Runtime)
	if !ok {
		return image
	}
	images := []engine.Image{image}
	if err := measurer.Measure(s.ctx, images); err != nil {
		s.Fatal(err)
	}
	return images[0]
}

func (s *scene) look(id string) (engine.Image, bool) {
	s.Helper()
	images, err := s.Runtime.List(s.ctx, id)
	if err != nil {
		s.Fatalf("listing %s: %v", id, err)
	}
	for _, image := range images {
		if image.ID == id {
			return image, true
		}
	}
	return engine.Image{}, false
}

// named is the image that has a name now, by looking at all images.
func (s *scene) named(ref oci.Ref) (engine.Image, bool) {
	s.Helper()
	images, err := s.Runtime.List(s.ctx)
	if err != nil {
		s.Fatalf("listing: %v", err)
	}
	for _, image := range images {
		if slices.Contains(image.Tags, ref) || slices.Contains(image.Digests, ref) {
			return image, true
		}
	}
	return engine.Image{}, false
}

func (s *scene) remove(req engine.RemoveRequest) {
	s.Helper()
	if err := s.Runtime.Remove(s.ctx, req); err != nil {
		s.Fatalf("removing %v of %v: %v", req.Tags, req.Image.Tags, err)
	}
}

// eventually waits for what the runtime shows late.
func (s *scene) eventually(what string, holds func() bool) {
	s.Helper()
	for deadline := time.Now().Add(s.Patience / 6); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.Fatalf("still not so: %s", what)
		}
	}
}

func (s *scene) wantNames(image engine.Image, names ...oci.Ref) {
	s.Helper()
	for _, name := range names {
		if !slices.Contains(image.Tags, name) && !slices.Contains(image.Digests, name) {
			s.Errorf("%s is not among the names of its image: %v %v", name, image.Tags, image.Digests)
		}
	}
}

func (s *scene) wantNotNamed(image engine.Image, names ...oci.Ref) {
	s.Helper()
	for _, name := range names {
		if slices.Contains(image.Tags, name) || slices.Contains(image.Digests, name) {
			s.Errorf("%s is still among the names of the image: %v %v", name, image.Tags, image.Digests)
		}
	}
}

func (s *scene) wantReason(err error, want engine.Reason) {
	s.Helper()
	if got := engine.ReasonOf(err); got != want {
		s.Errorf("reason = %q, want %q (error: %v)", got, want, err)
	}
}
