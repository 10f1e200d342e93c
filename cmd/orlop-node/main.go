// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Command orlop-node sees, pulls, keeps and removes the container images of this machine.
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"orlop.dev/orlop/internal/nodecli"
	"orlop.dev/orlop/internal/term"
)

// version is set by the linker.
var version = "dev"

const (
	// briefGCPercent spares most commands every garbage collection: they live for less than a second, and each collection
	// takes processor from the runtime that they wait for. The agent sets its own.
	briefGCPercent = 800

	// briefMemoryLimit is from where memory counts more than time; the pods of kubectl-orlop may have twice as much.
	briefMemoryLimit = 128 << 20
)

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(briefGCPercent)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(briefMemoryLimit)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := nodecli.Run(ctx, nodecli.Config{
		Streams: term.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr},
		Version: version,
		Open:    open,
		Agent:   runAgent,
	}, os.Args[1:])
	stop()
	os.Exit(code)
}
