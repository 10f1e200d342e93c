// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cri

import (
	"errors"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/engine/enginetest"
	"orlop.dev/orlop/internal/oci"
)

func TestConformance(t *testing.T) {
	for name, c := range map[string]struct {
		runtime    string
		answersRef bool
		can        enginetest.Abilities
	}{
		"CRI-O 1.36":  {runtime: "cri-o", can: enginetest.Abilities{OneTag: true, RefuseUse: true}},
		"CRI-O 1.35":  {runtime: "cri-o", answersRef: true, can: enginetest.Abilities{OneTag: true, RefuseUse: true}},
		"cri-dockerd": {runtime: "docker", answersRef: true, can: enginetest.Abilities{RefuseUse: true}},
	} {
		t.Run(name, func(t *testing.T) {
			enginetest.Run(t, func(t *testing.T) enginetest.Fixture {
				s := newServer(t, c.runtime)
				s.answersRef = c.answersRef
				f := s.fixture(t, engine.Verify(s.connected(t)))
				f.Can = c.can
				return f
			})
		})
	}
}

func ref(t testing.TB, s string) oci.Ref {
	t.Helper()
	r, err := oci.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func content(seed string) enginetest.Content {
	return enginetest.Content{Seed: seed, Layers: []enginetest.Blob{{Seed: seed, Size: 1000}}}
}

func pulled(t testing.TB, s *server, r *Runtime, seed string, names ...string) (image engine.Image) {
	t.Helper()
	for _, name := range names {
		s.push(ref(t, name), content(seed))
		var err error
		if image, err = r.Pull(t.Context(), engine.PullRequest{Ref: ref(t, name)}); err != nil {
			t.Fatal(err)
		}
	}
	return image
}

func TestListRefusesWhatIsNoID(t *testing.T) {
	s := newServer(t, "cri-o")
	r := s.connected(t)
	image := pulled(t, s, r, "x", "a.test/x:1")
	for _, id := range []string{"a.test/x:1", "x", image.ID[:12], ""} {
		if images, err := r.List(t.Context(), id); !errors.Is(err, engine.InvalidReference) || len(images) > 0 {
			t.Errorf("List(%q) = %d images, error %v", id, len(images), err)
		}
	}
	// An id in another runtime's form is nobody's here, and must not be read as a name.
	if images, err := r.List(t.Context(), "sha256:"+image.ID); err != nil || len(images) > 0 {
		t.Errorf("List(sha256:…) = %d images, error %v", len(images), err)
	}
}

func TestListThatFailsIsAnError(t *testing.T) {
	s := newServer(t, "cri-o")
	r := s.connected(t)
	pulled(t, s, r, "x", "a.test/x:1")
	s.fails = status.Error(codes.Unknown, "reading image 0123: file does not exist")
	images, err := r.List(t.Context())
	if err == nil || len(images) > 0 || !strings.Contains(err.Error(), "reading image 0123: file does not exist") {
		t.Errorf("List = %d images, error %v", len(images), err)
	}
	s.fails = status.Error(codes.Unknown, "no")
	if uses, err := r.Uses(t.Context()); err == nil || len(uses) > 0 {
		t.Errorf("Uses = %d, error %v", len(uses), err)
	}
}

func TestListWithManyIDs(t *testing.T) {
	s := newServer(t, "cri-o")
	r := s.connected(t)
	image := pulled(t, s, r, "x", "a.test/x:1")
	pulled(t, s, r, "y", "a.test/y:1")
	ids := []string{image.ID}
	for range maxStatusCalls {
		ids = append(ids, strings.Repeat("0", 64))
	}
	images, err := r.List(t.Context(), ids...)
	if err != nil || len(images) != 1 || images[0].ID != image.ID {
		t.Errorf("List = %v, error %v", images, err)
	}
}

func TestSandboxImage(t *testing.T) {
	for name, c := range map[string]struct {
		configured, pinned string
		image              string
		want               bool
	}{
		"configured":                  {configured: "a.test/sandbox:1", image: "a.test/sandbox:1", want: true},
		"configured in short":         {configured: "sandbox", image: "docker.io/library/sandbox:latest", want: true},
		"pinned pause":                {pinned: "a.test/pause:3", image: "a.test/pause:3", want: true},
		"pinned, and not pause":       {pinned: "a.test/app:3", image: "a.test/app:3"},
		"old pause, no longer pinned": {configured: "a.test/pause:4", image: "a.test/pause:3"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, "cri-o")
			s.sandboxImage, s.pinned = c.configured, c.pinned
			r := s.connected(t)
			image := pulled(t, s, r, "x", c.image)
			if image.Sandbox != c.want {
				t.Errorf("Sandbox = %t, want %t", image.Sandbox, c.want)
			}
			uses, err := r.Uses(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			told := slices.ContainsFunc(uses, func(u engine.Use) bool { return u.Kind == engine.UseSandbox })
			if told != (c.configured != "") {
				t.Errorf("uses = %+v", uses)
			}
		})
	}
}

func TestRemoveSparesATagThatHasMoved(t *testing.T) {
	s := newServer(t, "cri-o")
	r := s.connected(t)
	old := pulled(t, s, r, "old", "a.test/x:1", "a.test/x:2")
	newer := pulled(t, s, r, "new", "a.test/x:1")
	if err := r.Remove(t.Context(), engine.RemoveRequest{Image: old, Tags: []oci.Ref{ref(t, "a.test/x:1")}}); err != nil {
		t.Fatal(err)
	}
	images, err := r.List(t.Context(), newer.ID)
	if err != nil || len(images) != 1 || !slices.Contains(images[0].Tags, ref(t, "a.test/x:1")) {
		t.Errorf("the new image is %v, error %v", images, err)
	}
}

func TestRemoveOfEveryKnownTagSparesAnImageThatGotAnother(t *testing.T) {
	s := newServer(t, "docker")
	r := s.connected(t)
	listed := pulled(t, s, r, "x", "a.test/x:1")
	pulled(t, s, r, "x", "b.test/y:1")
	err := r.Remove(t.Context(), engine.RemoveRequest{Image: listed, Tags: listed.Tags})
	if !errors.Is(err, engine.Unsupported) {
		t.Errorf("error %v, want Unsupported", err)
	}
	if images, err := r.List(t.Context(), listed.ID); err != nil || len(images) != 1 || len(images[0].Tags) != 2 {
		t.Errorf("the image is %v, error %v", images, err)
	}
}

func TestPullNamesBothDigests(t *testing.T) {
	s := newServer(t, "cri-o")
	r := s.connected(t)
	tag := ref(t, "a.test/x:1")
	old, now := s.push(tag, content("old")), s.push(tag, content("new"))
	_, err := r.Pull(t.Context(), engine.PullRequest{Ref: tag.WithDigest(old)})
	if !errors.Is(err, engine.NoEffect) || !strings.Contains(err.Error(), old.String()) || !strings.Contains(err.Error(), now.String()) {
		t.Errorf("error %v, want NoEffect with %s and %s", err, old, now)
	}
}

func TestPullErrorsKeepTheWordsAndNotTheSecrets(t *testing.T) {
	s := newServer(t, "cri-o")
	r := s.connected(t)
	for name, c := range map[string]struct {
		ref         string
		credentials *engine.Credentials
		want        string
		reason      engine.Reason
	}{
		"unknown": {
			ref: "a.test/x:1", reason: engine.NotFound,
			want: "pulling a.test/x:1: initializing source docker://a.test/x:1: reading manifest in a.test/x:1: manifest unknown",
		},
		"secret": {
			ref: privateHost + "/x:1", credentials: &engine.Credentials{Username: "u", Password: "s3cret"}, reason: engine.Unauthorized,
			want: "pulling private.test/x:1: reading manifest in private.test/x:1: login with ***: unauthorized: authentication required",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := r.Pull(t.Context(), engine.PullRequest{Ref: ref(t, c.ref), Credentials: c.credentials})
			if engine.ReasonOf(err) != c.reason || err == nil || err.Error() != c.want {
				t.Errorf("error %v (%s)\nwant  %s (%s)", err, engine.ReasonOf(err), c.want, c.reason)
			}
		})
	}
}

func TestServing(t *testing.T) {
	for name, c := range map[string]struct {
		image string
		pods  []*cri.PodSandbox
		want  bool
	}{
		"nothing":  {},
		"an image": {image: "a.test/x:1", want: true},
		"a pod":    {pods: []*cri.PodSandbox{{Id: "1"}}, want: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, "containerd")
			s.pods = c.pods
			r := s.connected(t)
			if c.image != "" {
				pulled(t, s, r, "x", c.image)
			}
			if serving, err := r.Serving(t.Context()); err != nil || serving != c.want {
				t.Errorf("serving = %t, error %v", serving, err)
			}
		})
	}
}

func TestListTooLargeForOneMessage(t *testing.T) {
	s := newServer(t, "cri-o")
	r := s.connected(t)
	pulled(t, s, r, "x", "a.test/x:1")
	pulled(t, s, r, "y", "a.test/y:1")
	tooLarge := status.Error(codes.ResourceExhausted, "trying to send message larger than max")
	s.fails = tooLarge
	if images, err := r.List(t.Context()); err != nil || len(images) != 2 {
		t.Errorf("List = %d images, error %v", len(images), err)
	}
	s.fails, s.failsInStream = tooLarge, status.Error(codes.Unknown, "a broken image")
	if images, err := r.List(t.Context()); err == nil || len(images) > 0 {
		t.Errorf("a stream that broke gave %d images, error %v", len(images), err)
	}
}

func TestSilentSocketIsGivenUp(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	began := time.Now()
	if _, err := Connect(t.Context(), "unix://"+path); err == nil {
		t.Error("connected to a socket on which nobody answers")
	}
	if took := time.Since(began); took > 2*connectTimeout {
		t.Errorf("it took %s", took)
	}
}
