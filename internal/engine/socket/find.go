// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package socket

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"orlop.dev/orlop/internal/engine"
)

// EndpointEnv names the endpoint where no flag does, as for crictl.
const EndpointEnv = "CONTAINER_RUNTIME_ENDPOINT"

// Kind is the language that a socket speaks.
type Kind string

// The kinds of sockets.
const (
	CRI    Kind = "CRI"
	Docker Kind = "Docker"
)

// Candidate is a place where a runtime may listen.
type Candidate struct {
	Path string
	Kind Kind
}

// usual gives the places where runtimes listen. Docker comes after containerd, which may serve Kubernetes with an
// engine beside it, and before cri-dockerd, which can do less with the same images.
func usual() []Candidate {
	return []Candidate{
		{"/run/containerd/containerd.sock", CRI},               // kubeadm, and most others
		{"/run/k3s/containerd/containerd.sock", CRI},           // k3s, RKE2
		{"/run/k0s/containerd.sock", CRI},                      // k0s
		{"/var/snap/microk8s/common/run/containerd.sock", CRI}, // MicroK8s
		{"/run/crio/crio.sock", CRI}, {"/var/run/crio/crio.sock", CRI},
		{"/run/docker.sock", Docker}, {"/var/run/docker.sock", Docker},
		{"/run/cri-dockerd.sock", CRI},
	}
}

// Probe connects to a socket.
type Probe func(ctx context.Context, endpoint string) (Answer, error)

// Answer is a runtime that answers.
type Answer struct {
	Runtime engine.Interface
	// Serving tells whether Kubernetes uses it: a containerd beside a Docker engine may answer, and hold nothing of
	// Kubernetes. Nil: it does.
	Serving func(ctx context.Context) (bool, error)
}

// Search is how a runtime is looked for. Nothing is created or changed on the machine.
type Search struct {
	// Probes are how to connect, by kind; without one, the candidates of that kind are left out.
	Probes map[Kind]Probe
	// Endpoint is the one that was named; empty: look at the candidates.
	Endpoint string
	// Runtime is what the Node object reports, such as containerd or containerd://2.4.2; empty: any.
	Runtime string
	// Root is where the host's root folder is mounted; empty: this is the host.
	Root string
	// Candidates are where to look; unset, the usual places.
	Candidates []Candidate
}

// Find connects to the first runtime that serves Kubernetes, else to the first that answers. One that serves nothing does
// not answer for one that is down, whose images would seem not to be there.
func (s Search) Find(ctx context.Context) (engine.Interface, error) {
	var idle engine.Interface
	var said refusals
	down := false
	candidates := s.candidates()
	alone := countSockets(candidates) == 1
	for _, c := range candidates {
		rt, serving, err := s.try(ctx, c, alone)
		switch {
		case err != nil:
			said.add(c.Path, err.Error())
			down = down || isSocket(c.Path) == nil && !errors.Is(err, engine.Unsupported)
		case serving:
			release(idle)
			return rt, nil
		case idle == nil:
			said.add(c.Path, "answers, but has no Kubernetes images")
			idle = rt
		default:
			release(rt)
		}
		if ctx.Err() != nil {
			release(idle)
			return nil, ctx.Err()
		}
	}
	if idle != nil && !down {
		return idle, nil
	}
	release(idle)
	return nil, engine.Because(engine.RuntimeUnavailable, s.nothing(said))
}

// refusals are what was found at each place, a line for each.
type refusals struct{ paths, words []string }

// add notes what was found. A place that is tried for two languages says most often the same.
func (r *refusals) add(path, words string) {
	last := len(r.paths) - 1
	switch {
	case last < 0 || r.paths[last] != path:
		r.paths, r.words = append(r.paths, path), append(r.words, words)
	case r.words[last] != words:
		r.words[last] += "; " + words
	}
}

func (r refusals) String() string {
	var lines []string
	for i, path := range r.paths {
		lines = append(lines, "  unix://"+path+": "+r.words[i])
	}
	return strings.Join(lines, "\n")
}

func (s Search) nothing(said refusals) error {
	what := "found no container runtime that serves Kubernetes"
	if s.Runtime != "" {
		what = "no " + nameOf(s.Runtime) + " found, which this node reports as its runtime"
	}
	return fmt.Errorf("%s; tried\n%s\nname its socket with --runtime-endpoint or $%s", what, said, EndpointEnv)
}

// candidates are those to try, each socket once: /var/run is most often /run.
func (s Search) candidates() []Candidate {
	if s.Endpoint != "" {
		path := strings.TrimPrefix(s.Endpoint, "unix://")
		return slices.DeleteFunc([]Candidate{{path, CRI}, {path, Docker}}, s.unknown)
	}
	all := s.Candidates
	if all == nil {
		all = usual()
	}
	var candidates []Candidate
	seen := map[string]bool{}
	for _, c := range all {
		c.Path = filepath.Join(cmp.Or(s.Root, "/"), c.Path)
		target, err := filepath.EvalSymlinks(c.Path)
		if s.unknown(c) || err == nil && seen[target] {
			continue
		}
		seen[target] = err == nil
		candidates = append(candidates, c)
	}
	return candidates
}

func (s Search) unknown(c Candidate) bool { return s.Probes[c.Kind] == nil }

func countSockets(candidates []Candidate) int {
	count := 0
	for _, c := range candidates {
		if isSocket(c.Path) == nil {
			count++
		}
	}
	return count
}

// try fails with Unsupported where something answers that is not what is looked for. It does not ask for whom a runtime
// works that is alone: it is chosen whatever the answer, which takes as long as a list of images.
func (s Search) try(ctx context.Context, c Candidate, alone bool) (rt engine.Interface, serving bool, err error) {
	if err := isSocket(c.Path); err != nil {
		return nil, false, err
	}
	got, err := s.Probes[c.Kind](ctx, "unix://"+c.Path)
	if err != nil {
		return nil, false, fmt.Errorf("no %s: %w", c.Kind, err)
	}
	if err := s.expected(ctx, got.Runtime); err != nil {
		release(got.Runtime)
		return nil, false, err
	}
	if s.Endpoint != "" || alone || got.Serving == nil {
		return got.Runtime, true, nil
	}
	if serving, err = got.Serving(ctx); err != nil {
		release(got.Runtime)
		return nil, false, err
	}
	return got.Runtime, serving, nil
}

func isSocket(path string) error {
	if !filepath.IsAbs(path) {
		return errors.New("an endpoint must read unix:///PATH")
	}
	info, err := os.Stat(path)
	if pathErr, ok := errors.AsType[*os.PathError](err); ok {
		return pathErr.Err
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != os.ModeSocket {
		return errors.New("not a socket")
	}
	return nil
}

func (s Search) expected(ctx context.Context, rt engine.Interface) error {
	if s.Runtime == "" {
		return nil
	}
	is, err := rt.Describe(ctx)
	if err != nil {
		return err
	}
	if is.Name != nameOf(s.Runtime) {
		return engine.Becausef(engine.Unsupported, "is %s, and this node reports %s", is.Name, nameOf(s.Runtime))
	}
	return nil
}

// nameOf takes a runtime's name from what a Node reports, such as containerd://2.4.2.
func nameOf(reported string) string {
	name, _, _ := strings.Cut(reported, "://")
	return name
}

func release(rt engine.Interface) {
	if closer, ok := rt.(io.Closer); ok {
		_ = closer.Close() // Nothing was asked of it that could be lost.
	}
}
