// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"orlop.dev/orlop/test/lab/internal/control"
	"orlop.dev/orlop/test/lab/internal/instance"
	"orlop.dev/orlop/test/lab/internal/registry"
)

// Supervisor runs one lab.
type Supervisor struct {
	spec     Spec
	instance instance.Instance
	begin    time.Time
	progress *os.File
	hosts    hostListeners
	certs    *certificates
	faults   registry.Faults
	plane    plane

	mu    sync.Mutex
	nodes map[string]*node
	up    bool
}

// hostListeners are open in the host's network namespace, so that the host reaches what runs in the lab's.
type hostListeners struct{ api, registry, private net.Listener }

// Main is what a lab's first process does until it is told to end, or the one who started it ends.
func Main() error {
	for fd := leashFD; fd <= privateFD; fd++ {
		// What the lab runs must not hold the leash, the lock or the listeners.
		syscall.CloseOnExec(fd)
	}
	s := &Supervisor{begin: time.Now(), progress: os.NewFile(progressFD, "progress"), nodes: map[string]*node{}}
	if err := json.NewDecoder(os.Stdin).Decode(&s.spec); err != nil {
		return fmt.Errorf("reading the lab's description: %w", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if !s.spec.Detached {
		go func() {
			defer stop()
			_, _ = io.Copy(io.Discard, os.NewFile(leashFD, "leash"))
		}()
	}
	if err := s.start(ctx, stop); err != nil {
		s.report(Step{Error: err.Error()})
		return err
	}
	s.mu.Lock()
	s.up = true
	s.mu.Unlock()
	s.report(Step{Up: true, Text: "up"})
	s.progress.Close()
	// Leaving ends process 1, and with it the kernel ends everything else.
	<-ctx.Done()
	return nil
}

func (s *Supervisor) start(ctx context.Context, stop func()) (err error) {
	if s.instance, err = instance.Open(s.spec.Name); err != nil {
		return err
	}
	if err := s.ownView(); err != nil {
		return err
	}
	if s.hosts, err = inherit(); err != nil {
		return err
	}
	if err := s.setUpNetwork(ctx); err != nil {
		return err
	}
	if err := s.serveNames(); err != nil {
		return err
	}
	if s.certs, err = s.makeCertificates(); err != nil {
		return err
	}
	s.plane.ready = make(chan struct{})
	if s.plane.client, err = s.newClient(); err != nil {
		return err
	}
	if err := s.serveControl(stop); err != nil {
		return err
	}
	return s.startAll(ctx)
}

// startAll starts everything at once, as far as nothing waits for another, and returns when all of it is ready.
func (s *Supervisor) startAll(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startDeadline)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.startRegistries(ctx) })
	if s.spec.Kubernetes {
		group.Go(func() error { return s.startPlane(ctx) })
	}
	for _, options := range s.spec.Nodes {
		n, err := s.newNode(options)
		if err != nil {
			return errors.Join(err, group.Wait())
		}
		group.Go(func() error {
			n.work.Lock()
			defer n.work.Unlock()
			return s.bringUp(ctx, n)
		})
	}
	return group.Wait()
}

// ownView gives the lab mounts and a /proc of its own.
func (s *Supervisor) ownView() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	for _, dir := range []string{"logs", "control", "nodes"} {
		if err := os.MkdirAll(s.instance.Path(dir), 0o755); err != nil {
			return err
		}
	}
	return nil
}

func inherit() (hostListeners, error) {
	var listeners hostListeners
	for fd, at := range map[uintptr]*net.Listener{apiFD: &listeners.api, registryFD: &listeners.registry, privateFD: &listeners.private} {
		file := os.NewFile(fd, "listener")
		listener, err := net.FileListener(file)
		if err != nil {
			return listeners, fmt.Errorf("taking over a listener: %w", err)
		}
		file.Close()
		*at = listener
	}
	return listeners, nil
}

func (s *Supervisor) report(step Step) {
	step.Elapsed = time.Since(s.begin)
	line, _ := json.Marshal(step)
	// The starter may have gone; a detached lab goes on without it.
	_, _ = s.progress.Write(append(line, '\n'))
}

func (s *Supervisor) serveControl(stop func()) error {
	socket := s.instance.Path(instance.ControlSocket)
	os.Remove(socket)
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	control.Handle(mux, "Status", func(ctx context.Context, _ struct{}) (Status, error) { return s.status(ctx), nil })
	control.Handle(mux, "AddNode", s.addNode)
	control.Handle(mux, "Act", func(ctx context.Context, a NodeAction) (struct{}, error) { return struct{}{}, s.act(ctx, a) })
	control.Handle(mux, "RestartAPIServer", func(ctx context.Context, _ struct{}) (struct{}, error) { return struct{}{}, s.restartAPIServer(ctx) })
	control.Handle(mux, "AddFault", func(_ context.Context, f registry.Fault) (struct{}, error) { return struct{}{}, s.faults.Add(f) })
	control.Handle(mux, "ClearFaults", func(context.Context, struct{}) (struct{}, error) { s.faults.Clear(); return struct{}{}, nil })
	control.Handle(mux, "Faults", func(context.Context, struct{}) ([]registry.Fault, error) { return s.faults.List(), nil })
	control.Handle(mux, "Counts", func(context.Context, struct{}) ([]registry.Count, error) { return s.faults.Counts(), nil })
	control.Handle(mux, "ResetCounts", func(context.Context, struct{}) (struct{}, error) { s.faults.ResetCounts(); return struct{}{}, nil })
	control.Handle(mux, "Shutdown", func(context.Context, struct{}) (struct{}, error) { stop(); return struct{}{}, nil })
	go func() { _ = http.Serve(listener, mux) }() // Ends with the process, as everything here.
	return nil
}

func (s *Supervisor) status(ctx context.Context) Status {
	status := Status{
		Name: s.spec.Name, Kubernetes: s.spec.Kubernetes, Started: s.begin,
		Registry: s.hosts.registry.Addr().String(), Private: s.hosts.private.Addr().String(),
		PrivateCA: s.certs.path("ca.crt"), Down: s.plane.down(), Nodes: []NodeStatus{},
	}
	if s.spec.Kubernetes {
		status.Kubeconfig, status.APIServer = s.instance.Kubeconfig(), "https://"+s.hosts.api.Addr().String()
	}
	s.mu.Lock()
	status.Up = s.up
	s.mu.Unlock()
	for _, n := range s.allNodes() {
		status.Nodes = append(status.Nodes, n.status(ctx))
	}
	return status
}

func (s *Supervisor) allNodes() []*node {
	s.mu.Lock()
	defer s.mu.Unlock()
	nodes := make([]*node, 0, len(s.nodes))
	for _, n := range s.nodes {
		nodes = append(nodes, n)
	}
	slices.SortFunc(nodes, func(a, b *node) int { return a.index - b.index })
	return nodes
}

// until asks again and again until the answer is yes.
func until(ctx context.Context, what string, ask func() bool) error {
	for !ask() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, context.Cause(ctx))
		case <-time.After(poll):
		}
	}
	return nil
}

func answers(network, address string) bool {
	conn, err := net.DialTimeout(network, address, time.Second)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// lastWords is the end of a log, to be shown with an error.
func lastWords(log string) string {
	const lines = 8
	content, err := os.ReadFile(log)
	if err != nil {
		return ""
	}
	all := strings.Split(strings.TrimSpace(string(content)), "\n")
	return fmt.Sprintf("the end of %s:\n%s", filepath.Base(log), strings.Join(all[max(0, len(all)-lines):], "\n"))
}
