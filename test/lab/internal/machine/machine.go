// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package machine is process 1 of a lab's node: it makes the node's own root and disk, then starts, stops and reaps processes.
package machine

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"

	"orlop.dev/orlop/test/lab/internal/control"
)

// Role is the value of the environment variable by which a program knows that it is to be a machine.
const Role = "machine"

// Spec says what a machine looks like.
type Spec struct {
	Name string
	// Dir is the machine's folder; it holds the disk's image, and run, which becomes the machine's /run.
	Dir string
	// Shared is mounted at its own path, with everything that lies in it.
	Shared string
	// Volumes are folders of the disk by the place where they are mounted.
	Volumes map[string]string
	// Files are written into the machine's own root.
	Files map[string]string
	// Links are made in the machine's own root.
	Links map[string]string
}

// Disk is the image of the machine's disk.
func (s Spec) Disk() string { return filepath.Join(s.Dir, "disk.img") }

// Run is the folder that the machine has as /run.
func (s Spec) Run() string { return filepath.Join(s.Dir, "run") }

// Socket is where the machine takes orders.
func (s Spec) Socket() string { return filepath.Join(s.Dir, "init.sock") }

// Service is a program that runs until it is stopped.
type Service struct {
	Name string
	Argv []string
	Env  []string
	Log  string
}

// StopRequest names a service and how to end it.
type StopRequest struct {
	Name   string
	Signal syscall.Signal
}

// Running are the process ids of the services that run, by name.
type Running map[string]int

// Main is what a machine's first process does, until it is killed. It reads its Spec from standard input and writes
// one byte to descriptor 3 when it takes orders.
func Main() error {
	var spec Spec
	if err := json.NewDecoder(os.Stdin).Decode(&spec); err != nil {
		return fmt.Errorf("reading the machine's description: %w", err)
	}
	ready := os.NewFile(3, "ready")
	syscall.CloseOnExec(3)
	os.Remove(spec.Socket())
	listener, err := net.Listen("unix", spec.Socket())
	if err != nil {
		return err
	}
	if err := setUp(spec); err != nil {
		return err
	}
	table := newTable()
	go table.reap()
	mux := http.NewServeMux()
	control.Handle(mux, "Start", func(_ context.Context, s Service) (int, error) { return table.start(s) })
	control.Handle(mux, "Stop", func(ctx context.Context, r StopRequest) (struct{}, error) { return struct{}{}, table.stop(ctx, r) })
	control.Handle(mux, "Running", func(context.Context, struct{}) (Running, error) { return table.running(), nil })
	if _, err := ready.Write([]byte{1}); err != nil {
		return err
	}
	ready.Close()
	return http.Serve(listener, mux)
}
