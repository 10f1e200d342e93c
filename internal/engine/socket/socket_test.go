// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package socket

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"orlop.dev/orlop/internal/engine"
)

func TestWhy(t *testing.T) {
	for name, c := range map[string]struct {
		code   codes.Code
		said   string
		want   string
		reason engine.Reason
	}{
		"not found, through containerd": {
			codes.NotFound, `failed to pull and unpack image "a.test/x:1": failed to resolve reference "a.test/x:1": a.test/x:1: not found`,
			"a.test/x:1: not found", engine.NotFound,
		},
		"a refused login that containerd calls not found": {
			codes.NotFound, `failed to resolve image: pull access denied, repository does not exist or may require authorization: authorization failed: no basic auth credentials`,
			"pull access denied, repository does not exist or may require authorization: authorization failed: no basic auth credentials", engine.Unauthorized,
		},
		"nested frames": {
			codes.Unknown, `rpc error: code = Unknown desc = rpc error: code = NotFound desc = x: not found`,
			"x: not found", engine.NotFound,
		},
		"CRI-O, which tries an artifact after an image": {
			codes.Unknown, "unable to pull image or OCI artifact: pull image err: reading manifest 1 in a.test/x: name unknown; artifact err: get manifest: name unknown",
			"reading manifest 1 in a.test/x: name unknown", engine.NotFound,
		},
		"repeated parts": {
			codes.Unknown, "no space left on device: no space left on device", "no space left on device", engine.InsufficientDisk,
		},
		"a dead socket": {
			codes.Unavailable, `connection error: desc = "transport: Error while dialing: dial unix /run/x.sock: connect: connection refused"`,
			`connection error: desc = "transport: Error while dialing: dial unix /run/x.sock: connect: connection refused"`, engine.RuntimeUnavailable,
		},
		"a dead registry": {
			codes.Unavailable, `failed to do request: Head "https://a.test/v2/": dial tcp: connect: connection refused`,
			`failed to do request: Head "https://a.test/v2/": dial tcp: connect: connection refused`, engine.RegistryUnavailable,
		},
		"no such service":     {codes.Unimplemented, "unknown service runtime.v1.RuntimeService", "unknown service runtime.v1.RuntimeService", engine.Unsupported},
		"only the code tells": {codes.NotFound, "no", "no", engine.NotFound},
		"nothing tells":       {codes.Unknown, "boom", "boom", engine.Unknown},
		"too late":            {codes.DeadlineExceeded, "context deadline exceeded", "context deadline exceeded", engine.Timeout},
	} {
		t.Run(name, func(t *testing.T) {
			err := Why(status.Error(c.code, c.said))
			if engine.ReasonOf(err) != c.reason {
				t.Errorf("reason %s, want %s", engine.ReasonOf(err), c.reason)
			}
			if got := err.Error(); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestWhyKeepsCancellationAndBounds(t *testing.T) {
	if err := Why(status.Error(codes.Canceled, "context canceled")); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want one that is context.Canceled", err)
	}
	if err := Why(nil); err != nil {
		t.Errorf("Why(nil) = %v", err)
	}
	if err := Why(status.Error(codes.Unknown, strings.Repeat("é", 10*maxErrorText))); len(err.Error()) > maxErrorText+len("…") {
		t.Errorf("an error of %d bytes", len(err.Error()))
	}
}

// stub is a runtime of which nothing is used but its name.
type stub struct {
	engine.Interface
	name     string
	released *int
}

func (s stub) Describe(context.Context) (engine.Description, error) {
	return engine.Description{Name: s.name}, nil
}

func (s stub) Close() error { *s.released++; return nil }

// host is a machine with sockets, on each of which something answers.
type host struct {
	root     string
	released int
}

// answers says what a socket's owner is: a name, a name that serves nothing, or an error.
type answers struct {
	name string
	idle bool
	err  error
}

func (h *host) search(t *testing.T, sockets map[string]answers) Search {
	t.Helper()
	for path := range sockets {
		full := filepath.Join(h.root, path)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		listener, err := net.Listen("unix", full)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = listener.Close() })
	}
	probe := func(_ context.Context, endpoint string) (Answer, error) {
		a := sockets[strings.TrimPrefix(endpoint, "unix://"+h.root)]
		if a.err != nil {
			return Answer{}, a.err
		}
		return Answer{Runtime: stub{name: a.name, released: &h.released}, Serving: func(context.Context) (bool, error) { return !a.idle, nil }}, nil
	}
	return Search{Root: h.root, Probes: map[Kind]Probe{CRI: probe, Docker: probe}}
}

func TestFind(t *testing.T) {
	const (
		kubeadm = "/run/containerd/containerd.sock"
		k3s     = "/run/k3s/containerd/containerd.sock"
		crio    = "/run/crio/crio.sock"
		docker  = "/run/docker.sock"
	)
	disabled := engine.Becausef(engine.Unsupported, "unknown service runtime.v1.RuntimeService")
	for name, c := range map[string]struct {
		sockets  map[string]answers
		runtime  string
		want     string
		released int
	}{
		"one": {sockets: map[string]answers{crio: {name: "cri-o"}}, want: "cri-o"},
		"Docker's containerd has no CRI": {
			sockets: map[string]answers{kubeadm: {err: disabled}, docker: {name: "docker"}}, want: "docker",
		},
		"Docker's containerd answers CRI and holds nothing": {
			sockets: map[string]answers{kubeadm: {name: "containerd", idle: true}, docker: {name: "docker"}}, want: "docker", released: 1,
		},
		"k3s beside Docker": {
			sockets: map[string]answers{kubeadm: {name: "idle", idle: true}, k3s: {name: "k3s"}, docker: {name: "docker"}}, want: "k3s", released: 1,
		},
		"a new machine": {sockets: map[string]answers{kubeadm: {name: "containerd", idle: true}}, want: "containerd"},
		"what the node reports": {
			sockets: map[string]answers{kubeadm: {name: "containerd"}, crio: {name: "cri-o"}}, runtime: "cri-o://1.36.0", want: "cri-o", released: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := &host{root: t.TempDir()}
			s := h.search(t, c.sockets)
			s.Runtime = c.runtime
			rt, err := s.Find(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got, _ := rt.Describe(t.Context()); got.Name != c.want {
				t.Errorf("found %s, want %s", got.Name, c.want)
			}
			if h.released != c.released {
				t.Errorf("%d connections were closed, want %d", h.released, c.released)
			}
		})
	}
}

// TestFindDown: an idle runtime is not taken for another that is down. (A socket's path must be short.)
func TestFindDown(t *testing.T) {
	const kubeadm, k3s, crio, docker = "/run/containerd/containerd.sock", "/run/k3s/containerd/containerd.sock", "/run/crio/crio.sock", "/run/docker.sock"
	down := engine.Becausef(engine.RuntimeUnavailable, "connection refused")
	for name, c := range map[string]struct {
		sockets map[string]answers
		fails   string // the path of the runtime that is down; empty: the idle one is found
	}{
		"CRI-O restarts":    {map[string]answers{kubeadm: {name: "containerd", idle: true}, crio: {err: down}}, crio},
		"Docker restarts":   {map[string]answers{kubeadm: {name: "containerd", idle: true}, docker: {err: down}}, docker},
		"the first is down": {map[string]answers{kubeadm: {err: down}, k3s: {name: "containerd", idle: true}}, kubeadm},
		"it has no CRI": {
			map[string]answers{kubeadm: {err: engine.Becausef(engine.Unsupported, "unknown service")}, k3s: {name: "containerd", idle: true}}, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := &host{root: t.TempDir()}
			rt, err := h.search(t, c.sockets).Find(t.Context())
			if c.fails == "" {
				if err != nil || rt == nil {
					t.Errorf("found %v, error %v", rt, err)
				}
				return
			}
			if !errors.Is(err, engine.RuntimeUnavailable) || !strings.Contains(err.Error(), c.fails+": no ") {
				t.Errorf("found %v, error %v", rt, err)
			}
			if h.released != 1 {
				t.Errorf("%d connections were closed, want that to the idle one", h.released)
			}
		})
	}
}

func TestFindSaysWhatItTried(t *testing.T) {
	h := &host{root: t.TempDir()}
	s := h.search(t, map[string]answers{"/run/containerd/containerd.sock": {name: "containerd"}, "/run/docker.sock": {err: errors.New("it speaks no HTTP")}})
	if err := os.MkdirAll(filepath.Join(h.root, "run/crio/crio.sock"), 0o755); err != nil {
		t.Fatal(err)
	}
	s.Runtime = "cri-o://1.36"
	before := h.files(t)
	_, err := s.Find(t.Context())
	if !errors.Is(err, engine.RuntimeUnavailable) {
		t.Fatalf("error %v, want RuntimeUnavailable", err)
	}
	for _, want := range []string{
		"no cri-o found", "containerd.sock: is containerd, and this node reports cri-o", "/run/k3s/containerd/containerd.sock: no such file",
		"crio.sock: not a socket", "docker.sock: no Docker: it speaks no HTTP", "--runtime-endpoint", EndpointEnv,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in:\n%v", want, err)
		}
	}
	if after := h.files(t); !slices.Equal(before, after) {
		t.Errorf("looking changed the machine from %v to %v", before, after)
	}
}

func (h *host) files(t *testing.T) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(h.root, func(path string, _ os.DirEntry, err error) error {
		paths = append(paths, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

func TestFindTakesTheOneThatWasNamed(t *testing.T) {
	h := &host{root: t.TempDir()}
	s := h.search(t, map[string]answers{"/odd.sock": {name: "containerd", idle: true}, "/run/crio/crio.sock": {name: "cri-o"}})
	for _, endpoint := range []string{h.root + "/odd.sock", "unix://" + h.root + "/odd.sock"} {
		s.Endpoint = endpoint
		rt, err := s.Find(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := rt.Describe(t.Context()); got.Name != "containerd" {
			t.Errorf("found %s", got.Name)
		}
	}
	for _, endpoint := range []string{"odd.sock", "tcp://127.0.0.1:1", h.root + "/none.sock", h.root} {
		s.Endpoint = endpoint
		if _, err := s.Find(t.Context()); !errors.Is(err, engine.RuntimeUnavailable) || !strings.Contains(err.Error(), endpoint) {
			t.Errorf("%s: error %v", endpoint, err)
		}
	}
}

// TestNamedSocketIsToldOnce: a socket that was named is tried for every language, and told of in one line.
func TestNamedSocketIsToldOnce(t *testing.T) {
	refuse := func(context.Context, string) (Answer, error) { return Answer{}, errors.New("refused") }
	_, err := Search{Probes: map[Kind]Probe{CRI: refuse, Docker: refuse}, Endpoint: "unix:///no/such.sock"}.Find(t.Context())
	if err == nil || strings.Count(err.Error(), "/no/such.sock") != 1 || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("%v", err)
	}
}
