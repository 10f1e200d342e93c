// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package supervisor

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"orlop.dev/orlop/test/lab/internal/control"
	"orlop.dev/orlop/test/lab/internal/instance"
	"orlop.dev/orlop/test/lab/internal/machine"
)

// node is one machine of the lab.
type node struct {
	options NodeOptions
	index   int
	dir     string

	// work is held by whoever changes the node, state by whoever reads or writes the fields below.
	work  sync.Mutex
	state sync.Mutex
	cmd   *exec.Cmd
	gone  chan struct{}
	cut   bool
	// kubelet is when the kubelet was started last.
	kubelet time.Time
}

// newNode takes a place for a node in the lab; nothing is running yet.
func (s *Supervisor) newNode(options NodeOptions) (*node, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	taken := map[int]bool{}
	for _, n := range s.nodes {
		taken[n.index] = true
	}
	index := 1
	for taken[index] || options.Name == "" && s.nodes[fmt.Sprintf("node%d", index)] != nil {
		index++
	}
	if index > maxNodes {
		return nil, fmt.Errorf("adding a node: the lab has its %d nodes", maxNodes)
	}
	options.Name = cmp.Or(options.Name, fmt.Sprintf("node%d", index))
	options.DiskSize = cmp.Or(options.DiskSize, defaultDisk)
	options.Engine = cmp.Or(options.Engine, Containerd)
	options.Standalone = options.Standalone || options.Engine == Docker || !s.spec.Kubernetes
	if err := instance.CheckName(options.Name); err != nil {
		return nil, err
	}
	if options.Engine != Containerd && options.Engine != Docker {
		return nil, fmt.Errorf("adding the node %s: no engine %q, there is %s and %s", options.Name, options.Engine, Containerd, Docker)
	}
	if s.nodes[options.Name] != nil {
		return nil, fmt.Errorf("adding the node %s: there is one of that name", options.Name)
	}
	n := &node{options: options, index: index, dir: s.instance.Path("nodes", options.Name)}
	s.nodes[options.Name] = n
	return n, nil
}

func (s *Supervisor) addNode(ctx context.Context, options NodeOptions) (NodeStatus, error) {
	n, err := s.newNode(options)
	if err != nil {
		return NodeStatus{}, err
	}
	n.work.Lock()
	defer n.work.Unlock()
	if err := s.bringUp(ctx, n); err != nil {
		return NodeStatus{}, errors.Join(err, s.remove(context.WithoutCancel(ctx), n))
	}
	return n.status(ctx), nil
}

// bringUp makes the machine and takes it all the way to a Ready node.
func (s *Supervisor) bringUp(ctx context.Context, n *node) error {
	if err := s.boot(ctx, n); err != nil {
		return fmt.Errorf("starting the machine %s: %w", n.options.Name, err)
	}
	if err := s.startEngine(ctx, n); err != nil {
		return err
	}
	if n.options.Standalone {
		s.report(Step{Text: fmt.Sprintf("%s runs %s", n.options.Name, n.options.Engine)})
		return nil
	}
	select {
	case <-s.plane.ready:
	case <-ctx.Done():
		return fmt.Errorf("waiting for the API server: %w", context.Cause(ctx))
	}
	if err := s.startKubelet(ctx, n); err != nil {
		return err
	}
	if err := s.awaitReady(ctx, n); err != nil {
		return err
	}
	s.report(Step{Text: n.options.Name + " Ready"})
	return nil
}

// boot starts the machine's process 1 in namespaces of its own and plugs it in.
func (s *Supervisor) boot(ctx context.Context, n *node) error {
	spec, err := s.machineSpec(n)
	if err != nil {
		return err
	}
	if err := s.prepare(ctx, n, spec); err != nil {
		return err
	}
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer read.Close()
	pid, err := n.spawn(spec, write)
	write.Close()
	if err != nil {
		return err
	}
	if err := n.plug(ctx, pid); err != nil {
		return err
	}
	if _, err := io.ReadFull(read, make([]byte, 1)); err != nil {
		return fmt.Errorf("it ended; %s", lastWords(n.log("init")))
	}
	return nil
}

// spawn starts the machine's process 1, which writes to ready when it takes orders.
func (n *node) spawn(spec machine.Spec, ready *os.File) (pid int, err error) {
	description, err := json.Marshal(spec)
	if err != nil {
		return 0, err
	}
	log, err := os.OpenFile(n.log("init"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return 0, err
	}
	defer log.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{RoleVariable + "=" + machine.Role, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(description), log, log
	cmd.ExtraFiles = []*os.File{ready}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_ = cmd.Wait()
	}()
	n.state.Lock()
	n.cmd, n.gone, n.cut = cmd, gone, false
	n.state.Unlock()
	return cmd.Process.Pid, nil
}

// prepare makes what must be there before the machine starts: its folders, its disk, its cgroups.
func (s *Supervisor) prepare(ctx context.Context, n *node, spec machine.Spec) error {
	// What lies in /run does not outlive a start on a real machine either.
	if err := os.RemoveAll(spec.Run()); err != nil {
		return err
	}
	for _, dir := range []string{spec.Run(), filepath.Join(spec.Run(), "lock"), filepath.Join(n.dir, "logs")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := s.instance.MakeCgroup(n.options.Name); err != nil {
		return err
	}
	if _, err := os.Stat(spec.Disk()); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return makeDisk(ctx, spec.Disk(), n.options.DiskSize)
}

func makeDisk(ctx context.Context, path string, size int64) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := errors.Join(file.Truncate(size), file.Close()); err != nil {
		return fmt.Errorf("making a disk of %d bytes: %w", size, err)
	}
	// Nothing here outlives a crash, so the disk needs no journal, and no space that only root may use.
	out, err := exec.CommandContext(ctx, "mkfs.ext4", "-q", "-F", "-m", "0", "-O", "^has_journal", "-E", "lazy_itable_init=1,nodiscard", path).CombinedOutput()
	if err != nil {
		return fmt.Errorf("making a file system of %d bytes: %w: %s", size, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// halt kills process 1 of the machine; the kernel kills the rest and takes down mounts and links.
func (n *node) halt() {
	n.state.Lock()
	cmd, gone := n.cmd, n.gone
	n.state.Unlock()
	if cmd == nil {
		return
	}
	_ = cmd.Process.Kill()
	<-gone
	n.state.Lock()
	n.cmd = nil
	n.state.Unlock()
}

func (n *node) status(ctx context.Context) NodeStatus {
	n.state.Lock()
	status := NodeStatus{NodeOptions: n.options, Address: n.address(), Cut: n.cut, Dir: n.dir, Running: n.cmd != nil}
	n.state.Unlock()
	if !status.Running {
		return status
	}
	services, err := control.Call[machine.Running](ctx, n.socket(), "Running", struct{}{})
	status.Running, status.Services = err == nil, services
	return status
}

func (n *node) socket() string { return machine.Spec{Dir: n.dir}.Socket() }
