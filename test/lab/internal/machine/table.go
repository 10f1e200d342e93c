// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package machine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
)

// table holds the services. Process 1 must take the end of every orphan, so nobody waits for a process by its id.
type table struct {
	mu       sync.Mutex
	services map[string]*entry
}

type entry struct {
	pid  int
	gone chan struct{}
}

func newTable() *table { return &table{services: map[string]*entry{}} }

// reap runs as long as the machine.
func (t *table) reap() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGCHLD)
	for range signals {
		t.collect()
	}
}

func (t *table) collect() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for {
		pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		for name, e := range t.services {
			if e.pid == pid {
				close(e.gone)
				delete(t.services, name)
			}
		}
	}
}

// start holds the lock over the start, so that the end of a short-lived process is not taken before it is known.
func (t *table) start(s Service) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e, ok := t.services[s.Name]; ok {
		return e.pid, nil
	}
	log, err := os.OpenFile(s.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return 0, err
	}
	defer log.Close()
	path, err := exec.LookPath(s.Argv[0])
	if err != nil {
		return 0, err
	}
	process, err := os.StartProcess(path, s.Argv, &os.ProcAttr{
		Dir: "/", Env: append(os.Environ(), s.Env...), Files: []*os.File{nil, log, log},
		Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return 0, fmt.Errorf("starting %s: %w", s.Name, err)
	}
	e := &entry{pid: process.Pid, gone: make(chan struct{})}
	t.services[s.Name] = e
	return e.pid, process.Release()
}

func (t *table) stop(ctx context.Context, r StopRequest) error {
	t.mu.Lock()
	e, ok := t.services[r.Name]
	if ok {
		// Under the lock the process is not yet reaped, so the id is still its own.
		_ = syscall.Kill(e.pid, r.Signal)
	}
	t.mu.Unlock()
	if !ok {
		return nil
	}
	select {
	case <-e.gone:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for the end of %s: %w", r.Name, ctx.Err())
	}
}

func (t *table) running() Running {
	t.mu.Lock()
	defer t.mu.Unlock()
	running := Running{}
	for name, e := range t.services {
		running[name] = e.pid
	}
	return running
}
