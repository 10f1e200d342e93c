// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package lab runs a real Kubernetes cluster, or machines with nothing but a container engine, on this machine.
//
// Everything of a lab runs below one process, in namespaces of its own: when that process dies, however it dies, the
// kernel ends all the others and takes down mounts and links with them. Nothing of the host's network, mounts or
// files changes, except in the cache folder.
package lab

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

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

// closeTimeout bounds the clean-up, which waits for nothing but the kernel.
const closeTimeout = 30 * time.Second

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
	leash    *os.File
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
	os.Unsetenv(supervisor.RoleVariable)
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
	c := &Cluster{instance: inst}
	if err := c.findPrograms(ctx, options); err != nil {
		return nil, err
	}
	if _, err := instance.SweepDead(ctx); err != nil {
		return nil, err
	}
	lock, ok, err := inst.Lock()
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("starting the lab %s: %w", inst.Name, ErrUp)
	}
	defer lock.Close()
	if err := c.launch(ctx, options, lock); err != nil {
		return nil, fmt.Errorf("starting the lab %s: %w", inst.Name, err)
	}
	return c, nil
}

// Attach finds a running lab.
func Attach(ctx context.Context, name string) (*Cluster, error) {
	inst, err := instance.Open(cmp.Or(name, DefaultName))
	if err != nil {
		return nil, err
	}
	c := &Cluster{instance: inst}
	if c.status, err = c.Status(ctx); err != nil {
		return nil, err
	}
	return c, c.knowPrograms(nil)
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

// launch starts the supervisor and reads its steps until it is up.
func (c *Cluster) launch(ctx context.Context, options Options, lock *os.File) error {
	if err := os.MkdirAll(c.instance.Path("logs"), 0o755); err != nil {
		return err
	}
	started, err := c.spawn(options, lock)
	if err != nil {
		return err
	}
	defer started.progress.Close()
	c.leash = started.leash
	// A caller who gives up must not wait for steps that do not come.
	giveUp := context.AfterFunc(ctx, func() { _ = started.progress.SetReadDeadline(time.Now()) })
	defer giveUp()
	err = followSteps(started.progress, options.Progress)
	if err == nil {
		c.status, err = c.Status(ctx)
	}
	if err != nil {
		log, _ := os.ReadFile(c.instance.Path("logs", "supervisor.log"))
		return errors.Join(err, context.Cause(ctx), wordsOf(log), c.Close())
	}
	return nil
}

func wordsOf(log []byte) error {
	if text := strings.TrimSpace(string(log)); text != "" {
		return errors.New(text)
	}
	return nil
}

type spawned struct{ progress, leash *os.File }

func (c *Cluster) spawn(options Options, lock *os.File) (spawned, error) {
	var s spawned
	spec, err := json.Marshal(supervisor.Spec{
		Name: c.instance.Name, Programs: c.programs, Kubernetes: !options.EnginesOnly,
		Detached: options.Detached, Nodes: options.nodes(),
	})
	if err != nil {
		return s, err
	}
	leashEnd, leash, err := os.Pipe()
	if err != nil {
		return s, err
	}
	defer leashEnd.Close()
	progress, progressEnd, err := os.Pipe()
	if err != nil {
		return s, err
	}
	defer progressEnd.Close()
	files := []*os.File{leashEnd, progressEnd, lock}
	for _, port := range []int{options.APIPort, options.RegistryPort, 0} {
		file, err := listen(port)
		if err != nil {
			return s, err
		}
		defer file.Close()
		files = append(files, file)
	}
	log, err := os.Create(c.instance.Path("logs", "supervisor.log"))
	if err != nil {
		return s, err
	}
	defer log.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), supervisor.RoleVariable+"="+supervisor.Role)
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = bytes.NewReader(spec), log, log, files
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC,
		Setsid:     true,
	}
	if err := cmd.Start(); err != nil {
		return s, fmt.Errorf("starting the supervisor: %w", err)
	}
	go func() { _ = cmd.Wait() }() // Ends with the supervisor; nobody needs its answer, its end is seen by the lock.
	pid := strconv.Itoa(cmd.Process.Pid)
	return spawned{progress: progress, leash: leash}, os.WriteFile(c.instance.Path("supervisor.pid"), []byte(pid), 0o644)
}

func (o Options) nodes() []NodeOptions {
	var nodes []NodeOptions
	for range o.Nodes {
		nodes = append(nodes, o.Node)
	}
	return append(nodes, o.More...)
}

func listen(port int) (*os.File, error) {
	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return nil, err
	}
	defer listener.Close()
	return listener.(*net.TCPListener).File()
}

func followSteps(progress io.Reader, tell func(Event)) error {
	lines := bufio.NewScanner(progress)
	for lines.Scan() {
		var step supervisor.Step
		if err := json.Unmarshal(lines.Bytes(), &step); err != nil {
			return fmt.Errorf("reading the supervisor's steps: %w", err)
		}
		if step.Error != "" {
			return errors.New(step.Error)
		}
		if tell != nil {
			tell(Event{Text: step.Text, Elapsed: step.Elapsed, Done: true})
		}
		if step.Up {
			return nil
		}
	}
	return errors.Join(errors.New("the supervisor ended before the lab was up"), lines.Err())
}

// Status asks the lab how it is.
func (c *Cluster) Status(ctx context.Context) (Status, error) {
	status, err := call[Status](ctx, c, "Status", struct{}{})
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return status, fmt.Errorf("lab %s: %w", c.instance.Name, ErrNotUp)
	}
	return status, err
}

// Close ends the lab and waits until nothing is left of it.
func (c *Cluster) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if c.leash != nil {
		c.leash.Close()
	}
	return end(ctx, c.instance)
}

// Down ends the named lab, if it runs, and removes what is left of it.
func Down(ctx context.Context, name string) error {
	inst, err := instance.Open(cmp.Or(name, DefaultName))
	if err != nil {
		return err
	}
	return end(ctx, inst)
}

// end kills the supervisor, which is the way it always ends: there is nothing in a lab that must be saved.
func end(ctx context.Context, inst instance.Instance) error {
	for {
		lock, ok, err := inst.Lock()
		if err != nil {
			return err
		}
		if ok {
			defer lock.Close()
			return inst.Sweep(ctx)
		}
		if err := killSupervisor(inst); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the end of the lab %s: %w", inst.Name, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// killSupervisor trusts the written process id only as far as the lock is held, and the process is a lab's.
func killSupervisor(inst instance.Instance) error {
	pid, err := control.Peer(inst.Path(instance.ControlSocket))
	if err != nil {
		content, readErr := os.ReadFile(inst.Path("supervisor.pid"))
		if readErr != nil {
			return nil // It is only just being started: ask again.
		}
		if pid, err = strconv.Atoi(string(content)); err != nil {
			return err
		}
	}
	if !isLab(pid) {
		return nil
	}
	if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("killing the supervisor of the lab %s: %w", inst.Name, err)
	}
	return nil
}

func isLab(pid int) bool {
	environ, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "environ"))
	return err == nil && bytes.Contains(environ, []byte(supervisor.RoleVariable+"="+supervisor.Role))
}

func call[A any](ctx context.Context, c *Cluster, method string, question any) (A, error) {
	return control.Call[A](ctx, c.instance.Path(instance.ControlSocket), method, question)
}
