// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package lab runs a real Kubernetes cluster, or machines with nothing but a container engine, on this machine.
//
// Everything of a lab runs below one process, in namespaces of its own: when that process dies, however it dies, the
// kernel ends all the others and takes down mounts and links with them. Nothing of the host's network, mounts or
// files changes, except in the cache folder; one limit, that of file watches, is raised where it is low.
package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"

	"orlop.dev/orlop/test/lab/internal/control"
	"orlop.dev/orlop/test/lab/internal/instance"
	"orlop.dev/orlop/test/lab/internal/machine"
	"orlop.dev/orlop/test/lab/internal/programs"
	"orlop.dev/orlop/test/lab/internal/supervisor"
)

// DefaultName is the name of a lab that is given none.
const DefaultName = "orlop"

// ErrNotUp is returned for a lab that is not running.
var ErrNotUp = errors.New("the lab is not up")

// ErrUp is returned for a lab that is running already.
var ErrUp = errors.New("the lab is up already")

// Options say what a lab is like; the zero value is a control plane without nodes.
type Options struct {
	Name string
	// Nodes is how many nodes like Node there are at the start.
	Nodes int
	Node  NodeOptions
	// More are further nodes, each of its own kind.
	More []NodeOptions
	// EnginesOnly leaves Kubernetes out: the nodes are machines with a container engine, beside the registries.
	EnginesOnly bool
	// Detached lets the lab outlive this process.
	Detached bool
	// APIPort is the port of the API server on this machine's loopback address, any free one unless set.
	APIPort int
	// RegistryPort is the port of the registry on this machine's loopback address, any free one unless set.
	RegistryPort int
	// Progress is told what has been done; nil is silent.
	Progress func(Event)
}

// Event is something done, or begun when it is not Done, on the way to a running lab.
type Event struct {
	Text    string
	N, Of   int
	Elapsed time.Duration
	Done    bool
}

type (
	// NodeOptions say what a node is like; the zero value is a good node.
	NodeOptions = supervisor.NodeOptions
	// NodeStatus says how a node is.
	NodeStatus = supervisor.NodeStatus
	// Status says how a lab is.
	Status = supervisor.Status
)

// The engines a node can have.
const (
	Containerd = supervisor.Containerd
	Docker     = supervisor.Docker
)

// Cluster is a running lab.
type Cluster struct {
	instance instance.Instance
	programs programs.Paths
	builder  *programs.Builder
	status   Status
	// leash and ended belong to the one who started the lab.
	leash *os.File
	ended chan struct{}
}

// A lab's processes are this very program, started again: so a test binary needs no other program beside it.
func init() {
	var run func() error
	switch os.Getenv(supervisor.RoleVariable) {
	case "":
		return
	case supervisor.Role:
		run = supervisor.Main
	case machine.Role:
		run = machine.Main
	}
	_ = os.Unsetenv(supervisor.RoleVariable) // Of a name that is one.
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Start builds what is missing, starts a lab and waits until all of it is ready. What dead labs left is swept first.
func Start(ctx context.Context, options Options) (*Cluster, error) {
	if err := Supported(); err != nil {
		return nil, err
	}
	options.Name = cmp.Or(options.Name, DefaultName)
	inst, err := instance.Open(options.Name)
	if err != nil {
		return nil, err
	}
	if err := prepareHost(ctx, options.Progress); err != nil {
		return nil, err
	}
	if err := raiseWatchLimit(options.Progress); err != nil {
		return nil, err
	}
	c := &Cluster{instance: inst}
	if err := c.findPrograms(ctx, options); err != nil {
		return nil, err
	}
	_, swept := instance.SweepDead(ctx)
	lock, err := c.take(ctx)
	if err != nil {
		return nil, fmt.Errorf("starting the lab %s: %w", inst.Name, err)
	}
	defer lock.Close()
	// What another dead lab leaves is no reason not to start; what this one leaves is in the way.
	if _, err := os.Stat(inst.Dir()); err == nil {
		return nil, fmt.Errorf("sweeping what an earlier lab %s left: %w", inst.Name, swept)
	}
	if err := c.launch(ctx, options, lock); err != nil {
		return nil, fmt.Errorf("starting the lab %s: %w", inst.Name, err)
	}
	return c, nil
}

// takeTimeout outlasts a sweep, which holds the lock of a dead lab for a moment.
const takeTimeout = time.Second

// take locks the instance, unless a supervisor has it.
func (c *Cluster) take(ctx context.Context) (*os.File, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, takeTimeout, ErrUp)
	defer cancel()
	for {
		lock, ok, err := c.instance.Lock()
		if err != nil || ok {
			return lock, err
		}
		if _, err := c.Status(ctx); err == nil {
			return nil, ErrUp
		}
		if err := wait(ctx); err != nil {
			return nil, err
		}
	}
}

// Attach finds a running lab; one that is just being started is waited for.
func Attach(ctx context.Context, name string) (*Cluster, error) {
	inst, err := instance.Open(cmp.Or(name, DefaultName))
	if err != nil {
		return nil, err
	}
	c := &Cluster{instance: inst}
	for {
		c.status, err = c.Status(ctx)
		if err == nil && c.status.Up {
			return c, c.knowPrograms(nil)
		}
		if err != nil && (!errors.Is(err, ErrNotUp) || !c.locked()) {
			return nil, err
		}
		if err := wait(ctx); err != nil {
			return nil, fmt.Errorf("waiting for the lab %s: %w", inst.Name, err)
		}
	}
}

func (c *Cluster) locked() bool {
	lock, ok, err := c.instance.Lock()
	if ok {
		lock.Close()
	}
	return !ok && err == nil
}

func (c *Cluster) findPrograms(ctx context.Context, options Options) error {
	if err := c.knowPrograms(options.Progress); err != nil {
		return err
	}
	_, err := c.builder.Ensure(ctx, products(options)...)
	return err
}

func (c *Cluster) knowPrograms(progress func(Event)) (err error) {
	if c.builder, err = newBuilder(c.instance.Programs(), progress); err != nil {
		return err
	}
	c.programs, err = c.builder.Paths(allProducts()...)
	return err
}

// Status asks the lab how it is.
func (c *Cluster) Status(ctx context.Context) (Status, error) {
	status, err := call[Status](ctx, c, "Status", struct{}{})
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return status, fmt.Errorf("lab %s: %w", c.instance.Name, ErrNotUp)
	}
	return status, err
}

func call[A any](ctx context.Context, c *Cluster, method string, question any) (A, error) {
	return control.Call[A](ctx, c.instance.Path(instance.ControlSocket), method, question)
}
