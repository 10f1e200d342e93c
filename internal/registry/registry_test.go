// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package registry_test

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	fake "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/registry"
)

// server is a registry without sockets; fault may answer before it does.
type server struct {
	handler http.Handler
	fault   func(http.ResponseWriter, *http.Request) bool
	err     error

	heads, gets, now, most atomic.Int32
}

func newServer() *server { return &server{handler: fake.New(fake.Logger(log.New(io.Discard, "", 0)))} }

func (s *server) RoundTrip(req *http.Request) (*http.Response, error) {
	s.most.Store(max(s.most.Load(), s.now.Add(1)))
	defer s.now.Add(-1)
	if strings.Contains(req.URL.Path, "/manifests/") && req.Method == http.MethodHead {
		s.heads.Add(1)
	} else if strings.Contains(req.URL.Path, "/manifests/") {
		s.gets.Add(1)
	}
	if s.err != nil {
		return nil, s.err
	}
	if req.Body == nil {
		req = req.Clone(req.Context())
		req.Body = http.NoBody
	}
	answer := httptest.NewRecorder()
	if s.fault == nil || !s.fault(answer, req) {
		s.handler.ServeHTTP(answer, req)
	}
	if req.Context().Err() != nil {
		return nil, req.Context().Err()
	}
	resp := answer.Result()
	resp.Request = req
	return resp, nil
}

func (s *server) push(t *testing.T, image string, what remote.Taggable) string {
	t.Helper()
	where, err := name.ParseReference(image)
	if err != nil {
		t.Fatal(err)
	}
	switch what := what.(type) {
	case v1.ImageIndex:
		err = remote.WriteIndex(where, what, remote.WithTransport(s))
	case v1.Image:
		err = remote.Write(where, what, remote.WithTransport(s))
	}
	if err != nil {
		t.Fatal(err)
	}
	s.heads.Store(0)
	s.gets.Store(0)
	found, err := remote.Head(where, remote.WithTransport(s))
	if err != nil {
		t.Fatal(err)
	}
	s.heads.Store(0)
	return found.Digest.String()
}

func layers(t *testing.T, n int64) v1.Image {
	t.Helper()
	img, err := random.Image(512, n)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func ref(t *testing.T, s string) oci.Ref {
	t.Helper()
	r, err := oci.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func refusal(status int, header, body string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, req *http.Request) bool {
		if !strings.Contains(req.URL.Path, "/manifests/") {
			return false
		}
		if header != "" {
			w.Header().Set("Retry-After", header)
		}
		w.WriteHeader(status)
		if req.Method != http.MethodHead {
			fmt.Fprint(w, body)
		}
		return true
	}
}

func TestDigest(t *testing.T) {
	s := newServer()
	want := s.push(t, "reg.example/acme/web:1", layers(t, 1))
	for name, tc := range map[string]struct {
		image       string
		fault       func(http.ResponseWriter, *http.Request) bool
		err         error
		reason      engine.Reason
		words       string
		heads, gets int32
	}{
		"one HEAD": {image: "reg.example/acme/web:1", heads: 1},
		"HEAD refused": {image: "reg.example/acme/web:1", heads: 1, gets: 1, fault: func(w http.ResponseWriter, req *http.Request) bool {
			if req.Method == http.MethodHead {
				w.WriteHeader(http.StatusMethodNotAllowed)
			}
			return req.Method == http.MethodHead
		}},
		"no such tag": {image: "reg.example/acme/web:2", heads: 1, gets: 1, reason: engine.NotFound, words: "reg.example: MANIFEST_UNKNOWN: Unknown manifest"},
		"denied": {image: "reg.example/acme/web:1", heads: 1, gets: 1, reason: engine.Unauthorized, words: "reg.example: DENIED: not for you",
			fault: refusal(403, "", `{"errors":[{"code":"DENIED","message":"not for you","detail":{"id":"4711"}}]}`)},
		"page of a proxy": {image: "reg.example/acme/web:1", heads: 1, gets: 1, reason: engine.RegistryUnavailable, words: "reg.example: 502 Bad Gateway",
			fault: refusal(502, "", `<html>`)},
		"limited": {image: "reg.example/acme/web:1", heads: 1, reason: engine.RateLimited, words: "reg.example: 429 Too Many Requests", fault: refusal(429, "30", "")},
		"our port is nobody's business": {image: "reg.example/acme/web:1", reason: engine.RegistryUnavailable, words: "reg.example: read tcp 10.0.0.2:443: connection reset by peer",
			err: errors.New("read tcp 10.0.0.1:54321->10.0.0.2:443: connection reset by peer")},
	} {
		t.Run(name, func(t *testing.T) {
			s.heads.Store(0)
			s.gets.Store(0)
			s.fault, s.err = tc.fault, tc.err
			resolver := registry.Resolver{Transport: s}
			got, err := resolver.Digest(t.Context(), ref(t, tc.image))
			if tc.reason == "" && (err != nil || got.String() != want) {
				t.Errorf("%s, %v; want %s", got, err, want)
			}
			if tc.reason != "" && (!errors.Is(err, tc.reason) || err.Error() != tc.words) {
				t.Errorf("%v (%v)", err, engine.ReasonOf(err))
			}
			if s.heads.Load() != tc.heads || s.gets.Load() != tc.gets {
				t.Errorf("%d HEAD, %d GET", s.heads.Load(), s.gets.Load())
			}
		})
	}
}

func TestDescribe(t *testing.T) {
	s := newServer()
	amd, arm := layers(t, 1), layers(t, 3)
	index := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: amd, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}},
		mutate.IndexAddendum{Add: arm, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}}},
		mutate.IndexAddendum{Add: layers(t, 2), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "windows", Architecture: "amd64"}}})
	digest := s.push(t, "reg.example/acme/many:1", index)
	alone := s.push(t, "reg.example/acme/one:1", arm)
	weight := func(img v1.Image) (n int64) {
		manifest, err := img.Manifest()
		if err != nil {
			t.Fatal(err)
		}
		n = manifest.Config.Size
		for _, l := range manifest.Layers {
			n += l.Size
		}
		return n
	}
	resolver := registry.Resolver{Transport: s}
	for image, want := range map[string]registry.Description{
		"reg.example/acme/many:1":           {Digest: ref(t, "x@"+digest).Digest(), Sizes: map[string]int64{"linux/amd64": weight(amd), "linux/arm64": weight(arm)}},
		"reg.example/acme/many:1@" + digest: {Digest: ref(t, "x@"+digest).Digest(), Sizes: map[string]int64{"linux/amd64": weight(amd), "linux/arm64": weight(arm)}},
		"reg.example/acme/one:1":            {Digest: ref(t, "x@"+alone).Digest(), Sizes: map[string]int64{"linux/amd64": weight(arm), "linux/arm64": weight(arm), "linux/riscv64": weight(arm)}},
	} {
		got, err := resolver.Describe(t.Context(), ref(t, image), []string{"linux/amd64", "linux/arm64", "linux/riscv64"})
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v %s", image, err, diff)
		}
	}
}

func TestMirrors(t *testing.T) {
	s := newServer()
	want := s.push(t, "mirror.example/hub/library/nginx:1", layers(t, 1))
	other := s.push(t, "all.example/quay.io/acme/web:1", layers(t, 1))
	resolver := registry.Resolver{Transport: s, Mirrors: map[string]string{"docker.io": "mirror.example/hub", "*": "all.example"}}
	for image, want := range map[string]string{"nginx:1": want, "quay.io/acme/web:1": other} {
		if got, err := resolver.Digest(t.Context(), ref(t, image)); err != nil || got.String() != want {
			t.Errorf("%s: %s, %v", image, got, err)
		}
	}
}

type login struct{ user, password string }

func (l login) Resolve(authn.Resource) (authn.Authenticator, error) {
	return authn.FromConfig(authn.AuthConfig{Username: l.user, Password: l.password}), nil
}

func TestCredentialsAreTriedInTheirOrder(t *testing.T) {
	s := newServer()
	want := s.push(t, "reg.example/acme/web:1", layers(t, 1))
	var users []string
	s.fault = func(w http.ResponseWriter, req *http.Request) bool {
		user, password, _ := req.BasicAuth()
		if strings.Contains(req.URL.Path, "/manifests/") && req.Method == http.MethodHead {
			users = append(users, user)
		}
		if user == "ann" && password == "right" {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`)
		return true
	}
	resolver := registry.Resolver{Transport: s}
	got, err := resolver.Digest(t.Context(), ref(t, "reg.example/acme/web:1"), login{"bob", "x"}, login{"ann", "right"}, login{"cat", "x"})
	if err != nil || got.String() != want {
		t.Errorf("%s, %v", got, err)
	}
	if diff := cmp.Diff([]string{"bob", "ann"}, users); diff != "" {
		t.Error(diff)
	}
	_, err = resolver.Digest(t.Context(), ref(t, "reg.example/acme/web:1"))
	if !errors.Is(err, engine.Unauthorized) || !strings.Contains(err.Error(), "authentication required") {
		t.Errorf("%v", err)
	}
	for _, password := range []string{"x", "right"} {
		if strings.Contains(err.Error(), password+" ") {
			t.Errorf("a password is told: %v", err)
		}
	}
}

func TestRetryAfterIsObeyed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer()
		want := s.push(t, "reg.example/acme/web:1", layers(t, 1))
		s.push(t, "other.example/other/web:1", layers(t, 1))
		s.fault = refusal(429, "90", "")
		resolver := registry.Resolver{Transport: s}
		for i, step := range []struct {
			after time.Duration
			image string
			heads int32
			fine  bool
		}{
			{0, "reg.example/acme/web:1", 1, false},
			{time.Second, "reg.example/acme/api:1", 0, false},
			{0, "other.example/other/web:1", 1, true},
			{88 * time.Second, "reg.example/acme/web:1", 0, false},
			{2 * time.Second, "reg.example/acme/web:1", 1, true},
		} {
			time.Sleep(step.after)
			s.heads.Store(0)
			got, err := resolver.Digest(t.Context(), ref(t, step.image))
			if step.fine != (err == nil) || s.heads.Load() != step.heads || err != nil && !errors.Is(err, engine.RateLimited) {
				t.Errorf("step %d: %s, %v after %d HEAD", i, got, err, s.heads.Load())
			}
			if i == 4 && got.String() != want {
				t.Errorf("%s", got)
			}
			s.fault = nil
		}
	})
}

func TestARegistryThatStallsIsToldOfInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer()
		s.fault = func(_ http.ResponseWriter, req *http.Request) bool {
			<-req.Context().Done()
			return true
		}
		resolver := registry.Resolver{Transport: s}
		began := time.Now()
		var all sync.WaitGroup
		for i := range 40 {
			all.Go(func() {
				_, err := resolver.Digest(t.Context(), ref(t, fmt.Sprintf("reg.example/acme/web:%d", i)))
				if !errors.Is(err, engine.Timeout) || err.Error() != "reg.example: no answer within 4s" {
					t.Errorf("%v", err)
				}
			})
		}
		all.Wait()
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("40 names took %s", took)
		}
		if s.most.Load() > 8 {
			t.Errorf("%d questions at once", s.most.Load())
		}
	})
}

func TestOneStalledNameHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer()
		s.push(t, "reg.example/acme/web:1", layers(t, 1))
		s.fault = func(_ http.ResponseWriter, req *http.Request) bool {
			time.Sleep(50 * time.Millisecond)
			if strings.Contains(req.URL.Path, "/slow/") {
				<-req.Context().Done()
			}
			return false
		}
		resolver := registry.Resolver{Transport: s}
		var all sync.WaitGroup
		all.Go(func() {
			if _, err := resolver.Digest(t.Context(), ref(t, "reg.example/slow/web:1")); !errors.Is(err, engine.Timeout) {
				t.Errorf("%v", err)
			}
		})
		for range 100 {
			all.Go(func() {
				if _, err := resolver.Digest(t.Context(), ref(t, "reg.example/acme/web:1")); err != nil {
					t.Errorf("%v", err)
				}
			})
		}
		all.Wait()
		if _, err := resolver.Digest(t.Context(), ref(t, "reg.example/acme/web:1")); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
}

func TestARefusedConnectionIsToldAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer()
		s.err = fmt.Errorf("dial tcp 10.0.0.2:443: connect: %w", syscall.ECONNREFUSED)
		resolver := registry.Resolver{Transport: s}
		began := time.Now()
		_, err := resolver.Digest(t.Context(), ref(t, "reg.example/acme/web:1"))
		if !errors.Is(err, engine.RegistryUnavailable) || !strings.Contains(err.Error(), "connection refused") || time.Since(began) > time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}
	})
}
