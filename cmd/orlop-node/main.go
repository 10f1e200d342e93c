// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Command orlop-node sees, pulls, keeps and removes the container images of this machine.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"orlop.dev/orlop/internal/nodecli"
	"orlop.dev/orlop/internal/term"
)

// version is set by the linker.
var version = "dev"

func main() {
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
