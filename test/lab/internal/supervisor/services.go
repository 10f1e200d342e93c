// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package supervisor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"orlop.dev/orlop/test/lab/internal/control"
	"orlop.dev/orlop/test/lab/internal/machine"
)

// stopGrace is how long a service may take to end before it is killed.
const stopGrace = 10 * time.Second

// act does one thing with a node, and waits until it is done.
func (s *Supervisor) act(ctx context.Context, a NodeAction) error {
	s.mu.Lock()
	n := s.nodes[a.Node]
	s.mu.Unlock()
	if n == nil {
		return fmt.Errorf("no node %q in the lab %s", a.Node, s.spec.Name)
	}
	if a.Action == AwaitReady {
		return s.awaitReady(ctx, n)
	}
	n.work.Lock()
	defer n.work.Unlock()
	switch a.Action {
	case Remove:
		return s.remove(ctx, n)
	case PowerOff:
		n.halt()
		return s.instance.RemoveCgroups(ctx, n.options.Name)
	case PowerOn:
		return s.powerOn(ctx, n)
	case Cut:
		return n.setLink(ctx, "down")
	case Restore:
		return n.setLink(ctx, "up")
	case StopEngine:
		name, _ := n.options.Engine.service()
		return n.stop(ctx, name)
	case StartEngine:
		return s.startEngine(ctx, n)
	case StopKubelet:
		return n.stop(ctx, "kubelet")
	case StartKubelet:
		return s.startKubelet(ctx, n)
	default: // AwaitReady has gone its own way above.
		return fmt.Errorf("no action %q on a node", a.Action)
	}
}

func (s *Supervisor) powerOn(ctx context.Context, n *node) error {
	if n.status(ctx).Running {
		return nil
	}
	return s.bringUp(ctx, n)
}

func (s *Supervisor) remove(ctx context.Context, n *node) error {
	n.halt()
	if err := s.instance.RemoveNode(ctx, n.options.Name); err != nil {
		return err
	}
	s.mu.Lock()
	delete(s.nodes, n.options.Name)
	s.mu.Unlock()
	if n.options.Standalone {
		return nil
	}
	if err := s.ask(ctx, http.MethodDelete, "/api/v1/nodes/"+n.options.Name, nil); !errors.Is(err, errNotFound) {
		return err
	}
	return nil
}

func (n *node) setLink(ctx context.Context, to string) error {
	if err := ip(ctx, 0, "link set "+n.link()+" "+to); err != nil {
		return err
	}
	n.state.Lock()
	defer n.state.Unlock()
	n.cut = to == "down"
	return nil
}

func (n *node) stop(ctx context.Context, service string) error {
	gentle, cancel := context.WithTimeout(ctx, stopGrace)
	defer cancel()
	_, err := control.Call[struct{}](gentle, n.socket(), "Stop", machine.StopRequest{Name: service, Signal: syscall.SIGTERM})
	if err != nil && ctx.Err() == nil {
		_, err = control.Call[struct{}](ctx, n.socket(), "Stop", machine.StopRequest{Name: service, Signal: syscall.SIGKILL})
	}
	return err
}

func (n *node) start(ctx context.Context, name string, argv ...string) error {
	_, err := control.Call[int](ctx, n.socket(), "Start", machine.Service{
		Name: name, Argv: append([]string{name}, argv...), Log: n.log(name),
	})
	return err
}

func (n *node) log(service string) string { return filepath.Join(n.dir, "logs", service+".log") }

func (s *Supervisor) startEngine(ctx context.Context, n *node) error {
	name, socket := n.options.Engine.service()
	if err := n.start(ctx, name); err != nil {
		return err
	}
	at := filepath.Join(n.dir, socket)
	return n.await(ctx, name, func() bool {
		if !answers("unix", at) {
			return false
		}
		if n.options.Engine == Docker {
			return dockerAnswers(ctx, at)
		}
		return s.criAnswers(ctx, at)
	})
}

// criAnswers asks for content: containerd listens, and even tells its version, before its CRI is initialised.
func (s *Supervisor) criAnswers(ctx context.Context, socket string) bool {
	for _, what := range []string{"images", "pods"} {
		cmd := exec.CommandContext(ctx, s.spec.Programs["crictl"],
			"--runtime-endpoint=unix://"+socket, "--image-endpoint=unix://"+socket, what, "--quiet")
		if cmd.Run() != nil {
			return false
		}
	}
	return true
}

func dockerAnswers(ctx context.Context, socket string) bool {
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://docker/_ping", nil)
	if err != nil {
		return false
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	return response.StatusCode == http.StatusOK
}

func (s *Supervisor) startKubelet(ctx context.Context, n *node) error {
	if n.options.Standalone {
		return fmt.Errorf("the node %s has no kubelet", n.options.Name)
	}
	n.state.Lock()
	n.kubelet = time.Now()
	n.state.Unlock()
	return n.start(ctx, "kubelet", "--config=/etc/kubernetes/kubelet.json", "--kubeconfig=/etc/kubernetes/kubelet.conf",
		"--hostname-override="+n.options.Name, "--node-ip="+n.address(), "--node-labels="+labels(n.options.Labels))
}

// awaitReady waits until the kubelet that runs now says that it is ready: that an earlier one was stands in the API for most of a minute after its end.
func (s *Supervisor) awaitReady(ctx context.Context, n *node) error {
	n.state.Lock()
	started := n.kubelet
	n.state.Unlock()
	return n.await(ctx, "kubelet", func() bool {
		var object nodeObject
		return s.get(ctx, "/api/v1/nodes/"+n.options.Name, &object) == nil && object.ready(started)
	})
}

// nodeObject is as much of a Node as tells whether pods can start there.
type nodeObject struct {
	Spec   struct{ Taints []struct{ Key string } }
	Status struct {
		Conditions []struct {
			Type, Status      string
			LastHeartbeatTime time.Time
		}
	}
}

// ready reports whether the node has been said to be ready since then.
func (o nodeObject) ready(since time.Time) bool {
	for _, taint := range o.Spec.Taints {
		if taint.Key == "node.kubernetes.io/not-ready" || taint.Key == "node.kubernetes.io/unreachable" {
			return false
		}
	}
	for _, c := range o.Status.Conditions {
		if c.Type == "Ready" {
			return c.Status == "True" && !c.LastHeartbeatTime.Before(since)
		}
	}
	return false
}

// await waits for what a service does once it is up, and no longer than the service lives.
func (n *node) await(ctx context.Context, service string, ask func() bool) error {
	ended := false
	err := until(ctx, service+" on "+n.options.Name, func() bool {
		if ask() {
			return true
		}
		running, err := control.Call[machine.Running](ctx, n.socket(), "Running", struct{}{})
		_, alive := running[service]
		ended = err == nil && !alive
		return ended
	})
	if ended {
		err = fmt.Errorf("starting %s on %s: it ended", service, n.options.Name)
	}
	if err != nil {
		return fmt.Errorf("%w; %s", err, lastWords(n.log(service)))
	}
	return nil
}
