// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package lab

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"orlop.dev/orlop/test/lab/internal/control"
	"orlop.dev/orlop/test/lab/internal/instance"
	"orlop.dev/orlop/test/lab/internal/supervisor"
)

const (
	// closeTimeout bounds the clean-up, which waits for nothing but the kernel.
	closeTimeout = 30 * time.Second
	// pause is between two looks at something that is about to happen.
	pause   = 20 * time.Millisecond
	pidFile = "supervisor.pid"
)

// Close ends the lab and waits until nothing is left of it.
func (c *Cluster) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if c.leash != nil {
		c.leash.Close()
	}
	if err := end(ctx, c.instance); err != nil {
		return err
	}
	if c.ended != nil {
		<-c.ended
	}
	return nil
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
		if err := wait(ctx); err != nil {
			return fmt.Errorf("waiting for the end of the lab %s: %w", inst.Name, err)
		}
	}
}

func wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(pause):
		return nil
	}
}

// killSupervisor trusts the written process id only as far as the lock is held, and the process is a lab's.
func killSupervisor(inst instance.Instance) error {
	pid, err := control.Peer(inst.Path(instance.ControlSocket))
	if err != nil {
		content, readErr := os.ReadFile(inst.Path(pidFile))
		if readErr != nil {
			return nil //nolint:nilerr // It is only just being started, or just ending: ask again.
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
