// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"orlop.dev/orlop/test/lab/internal/control"
	"orlop.dev/orlop/test/lab/internal/instance"
	"orlop.dev/orlop/test/lab/internal/machine"
	"orlop.dev/orlop/test/lab/internal/programs"
	"orlop.dev/orlop/test/lab/internal/supervisor"
)

// Name is the lab's name.
func (c *Cluster) Name() string { return c.instance.Name }

// Kubeconfig is the path of the administrator's kubeconfig, good on this machine.
func (c *Cluster) Kubeconfig() string { return c.status.Kubeconfig }

// Program is the path of a program that the lab has built, such as kubectl or crictl.
func (c *Cluster) Program(name string) string { return c.programs[name] }

// Dir is the lab's folder; logs in it has the logs of the control plane.
func (c *Cluster) Dir() string { return c.instance.Dir() }

// NodeDir is a node's folder on the host; run in it is the node's /run, logs has the logs of its services.
func (c *Cluster) NodeDir(node string) string { return c.instance.Path("nodes", node) }

// ContainerdSocket is a node's containerd, as it is reached from the host.
func (c *Cluster) ContainerdSocket(node string) string {
	return filepath.Join(c.NodeDir(node), "run/containerd/containerd.sock")
}

// DockerSocket is a node's Docker engine, as it is reached from the host.
func (c *Cluster) DockerSocket(node string) string {
	return filepath.Join(c.NodeDir(node), "run/docker.sock")
}

// AddNode adds a node and waits until it is Ready.
func (c *Cluster) AddNode(ctx context.Context, options NodeOptions) (NodeStatus, error) {
	if options.Engine == Docker {
		if _, err := c.builder.Ensure(ctx, programs.Docker()...); err != nil {
			return NodeStatus{}, err
		}
	}
	return call[NodeStatus](ctx, c, "AddNode", options)
}

// RemoveNode takes the node, its disk and its Node object away.
func (c *Cluster) RemoveNode(ctx context.Context, node string) error {
	return c.act(ctx, node, supervisor.Remove)
}

// StopNode cuts a node's power: all its processes die at once, its disk stays.
func (c *Cluster) StopNode(ctx context.Context, node string) error {
	return c.act(ctx, node, supervisor.PowerOff)
}

// StartNode gives a node its power back and waits until it is Ready.
func (c *Cluster) StartNode(ctx context.Context, node string) error {
	return c.act(ctx, node, supervisor.PowerOn)
}

// CutNetwork takes a node off the network; its processes go on.
func (c *Cluster) CutNetwork(ctx context.Context, node string) error {
	return c.act(ctx, node, supervisor.Cut)
}

// RestoreNetwork puts a node back on the network.
func (c *Cluster) RestoreNetwork(ctx context.Context, node string) error {
	return c.act(ctx, node, supervisor.Restore)
}

// StopEngine stops a node's containerd or Docker engine; containers go on.
func (c *Cluster) StopEngine(ctx context.Context, node string) error {
	return c.act(ctx, node, supervisor.StopEngine)
}

// StartEngine starts a node's engine and waits until it answers.
func (c *Cluster) StartEngine(ctx context.Context, node string) error {
	return c.act(ctx, node, supervisor.StartEngine)
}

// StopKubelet stops a node's kubelet.
func (c *Cluster) StopKubelet(ctx context.Context, node string) error {
	return c.act(ctx, node, supervisor.StopKubelet)
}

// StartKubelet starts a node's kubelet.
func (c *Cluster) StartKubelet(ctx context.Context, node string) error {
	return c.act(ctx, node, supervisor.StartKubelet)
}

// AwaitReady waits until a node is Ready.
func (c *Cluster) AwaitReady(ctx context.Context, node string) error {
	return c.act(ctx, node, supervisor.AwaitReady)
}

// RestartAPIServer kills the API server, starts it anew and waits until it is ready.
func (c *Cluster) RestartAPIServer(ctx context.Context) error {
	_, err := call[struct{}](ctx, c, "RestartAPIServer", struct{}{})
	return err
}

func (c *Cluster) act(ctx context.Context, node string, action supervisor.Action) error {
	_, err := call[struct{}](ctx, c, "Act", supervisor.NodeAction{Node: node, Action: action})
	return err
}

// Command is a command that will run on the node: in its namespaces, with its files and its network.
func (c *Cluster) Command(ctx context.Context, node string, argv ...string) (*exec.Cmd, error) {
	pid, err := c.pid(node)
	if err != nil {
		return nil, err
	}
	args := []string{"--target=" + strconv.Itoa(pid), "--mount", "--net", "--pid", "--uts", "--ipc", "--"}
	cmd := exec.CommandContext(ctx, "/usr/bin/nsenter", append(args, argv...)...)
	// nsenter stays outside and its child goes in: both must end when the command is given up.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Env = []string{"PATH=" + systemPath, "HOME=/root", "TERM=" + os.Getenv("TERM")}
	return cmd, nil
}

// Exec runs a command on the node and returns what it wrote to standard output; an error has the rest.
func (c *Cluster) Exec(ctx context.Context, node string, argv ...string) (string, error) {
	cmd, err := c.Command(ctx, node, argv...)
	if err != nil {
		return "", err
	}
	return output(cmd, node+": "+strings.Join(argv, " "))
}

// Crictl runs crictl on the node.
func (c *Cluster) Crictl(ctx context.Context, node string, args ...string) (string, error) {
	// Its own two seconds are too few for a removal that waits for a busy disk.
	return c.Exec(ctx, node, append([]string{"crictl", "--timeout", "1m"}, args...)...)
}

// Kubectl runs kubectl on this machine, as the administrator.
func (c *Cluster) Kubectl(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, c.Program("kubectl"), append([]string{"--kubeconfig", c.Kubeconfig()}, args...)...)
	return output(cmd, "kubectl "+strings.Join(args, " "))
}

func output(cmd *exec.Cmd, what string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("running %s: %w: %s", what, err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// Put copies a file of the host to a place on the node, as a program that can be run.
func (c *Cluster) Put(node, from, to string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	path, err := c.inside(node, to)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	// A program that is running cannot be written to, but it can be replaced.
	os.Remove(path)
	target, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(target, source)
	return errors.Join(err, target.Close())
}

// fillFile takes the space that FillDisk takes.
const fillFile = "/var/lib/lab-fill"

// FillDisk takes space on the node's disk until the percentage of it is used. FreeDisk gives it back.
func (c *Cluster) FillDisk(ctx context.Context, node string, percent int) error {
	if percent < 1 || percent > 100 {
		return fmt.Errorf("filling the disk of %s to %d percent: it is between 1 and 100", node, percent)
	}
	if err := c.FreeDisk(ctx, node); err != nil {
		return err
	}
	path, err := c.inside(node, fillFile)
	if err != nil {
		return err
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	var disk unix.Statfs_t
	if err := unix.Fstatfs(int(file.Fd()), &disk); err != nil {
		return err
	}
	total, free := int64(disk.Blocks)*disk.Bsize, int64(disk.Bavail)*disk.Bsize
	take := total*int64(percent)/100 - (total - free)
	if take <= 0 {
		return nil
	}
	if err := unix.Fallocate(int(file.Fd()), 0, 0, min(take, free)); err != nil && !errors.Is(err, unix.ENOSPC) {
		return fmt.Errorf("filling the disk of %s: %w", node, err)
	}
	return nil
}

// FreeDisk gives back what FillDisk took.
func (c *Cluster) FreeDisk(_ context.Context, node string) error {
	path, err := c.inside(node, fillFile)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// inside is the path of a node's file from the host.
func (c *Cluster) inside(node, path string) (string, error) {
	pid, err := c.pid(node)
	if err != nil {
		return "", err
	}
	return filepath.Join("/proc", strconv.Itoa(pid), "root", path), nil
}

func (c *Cluster) pid(node string) (int, error) {
	if err := instance.CheckName(node); err != nil {
		return 0, err
	}
	if _, err := os.Stat(c.NodeDir(node)); err != nil {
		return 0, fmt.Errorf("no node %q in the lab %s", node, c.instance.Name)
	}
	pid, err := control.Peer(machine.Spec{Dir: c.NodeDir(node)}.Socket())
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, os.ErrNotExist) {
		return 0, fmt.Errorf("reaching the node %s: it is off", node)
	}
	if err != nil {
		return 0, fmt.Errorf("reaching the node %s: %w", node, err)
	}
	return pid, nil
}

func unstarted(name string) (*Cluster, error) {
	inst, err := instance.Open(name)
	return &Cluster{instance: inst}, err
}
