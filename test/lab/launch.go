// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package lab

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"orlop.dev/orlop/test/lab/internal/supervisor"
)

// launch starts the supervisor and reads its steps until it is up.
func (c *Cluster) launch(ctx context.Context, options Options, lock *os.File) error {
	if err := os.MkdirAll(c.instance.Path("logs"), 0o755); err != nil {
		return err
	}
	progress, err := c.spawn(options, lock)
	if err != nil {
		return err
	}
	defer progress.Close()
	// A caller who gives up must not wait for steps that do not come.
	stop := context.AfterFunc(ctx, func() { _ = progress.SetReadDeadline(time.Now()) })
	defer stop()
	if err = followSteps(progress, options.Progress); err == nil {
		c.status, err = c.Status(ctx)
	}
	if err == nil {
		return nil
	}
	// The instance is locked for as long as any copy of the lock is open, this one included.
	lock.Close()
	if ctx.Err() != nil {
		return errors.Join(context.Cause(ctx), c.Close())
	}
	log, _ := os.ReadFile(c.instance.Path("logs", "supervisor.log"))
	if text := strings.TrimSpace(string(log)); text != "" && !strings.Contains(text, err.Error()) {
		err = fmt.Errorf("%w\n%s", err, text)
	}
	return errors.Join(err, c.Close())
}

// spawn starts the supervisor in namespaces of its own, and returns what it tells of its progress.
func (c *Cluster) spawn(options Options, lock *os.File) (*os.File, error) {
	spec, err := json.Marshal(supervisor.Spec{
		Name: c.instance.Name, Programs: c.programs, Kubernetes: !options.EnginesOnly,
		Detached: options.Detached, Nodes: options.nodes(),
	})
	if err != nil {
		return nil, err
	}
	var inherited []*os.File
	defer func() {
		for _, file := range inherited {
			file.Close()
		}
	}()
	leashEnd, leash, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	inherited, c.leash = append(inherited, leashEnd), leash
	progress, progressEnd, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	inherited = append(inherited, progressEnd)
	listeners, err := listeners(options.APIPort, options.RegistryPort, 0)
	inherited = append(inherited, listeners...)
	if err == nil {
		files := append([]*os.File{leashEnd, progressEnd, lock}, listeners...)
		err = c.exec(spec, files)
	}
	if err != nil {
		progress.Close()
		return nil, err
	}
	return progress, nil
}

func (c *Cluster) exec(spec []byte, files []*os.File) error {
	log, err := os.Create(c.instance.Path("logs", "supervisor.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "PATH="+systemPath, supervisor.RoleVariable+"="+supervisor.Role)
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.ExtraFiles, cmd.Dir = bytes.NewReader(spec), log, log, files, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC,
		// Ctrl-C is for whoever started it, who then ends the lab in order.
		Setsid: true,
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting the supervisor: %w", err)
	}
	c.ended = make(chan struct{})
	go func() {
		defer close(c.ended)
		_ = cmd.Wait()
	}()
	return os.WriteFile(c.instance.Path(pidFile), []byte(strconv.Itoa(cmd.Process.Pid)), 0o644)
}

func (o Options) nodes() []NodeOptions {
	var nodes []NodeOptions
	for range o.Nodes {
		nodes = append(nodes, o.Node)
	}
	return append(nodes, o.More...)
}

// listeners are open on this machine's loopback address, in its own network namespace; a port of 0 is any free one.
func listeners(ports ...int) ([]*os.File, error) {
	var files []*os.File
	for _, port := range ports {
		listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			return files, err
		}
		file, err := listener.(*net.TCPListener).File()
		listener.Close()
		if err != nil {
			return files, err
		}
		files = append(files, file)
	}
	return files, nil
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
