// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Command kubectl-orlop sees, pulls, removes and prunes the container images on every node of a cluster.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	_ "k8s.io/client-go/plugin/pkg/client/auth" // Logins by OIDC; those by a program are built in.

	"orlop.dev/orlop/internal/cli"
	"orlop.dev/orlop/internal/term"
)

// version is set by the linker.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first Ctrl-C ends the work and cleans up; a second one is no longer caught, and ends us.
	context.AfterFunc(ctx, stop)
	code := cli.Run(ctx, cli.Config{Streams: term.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}, Version: version}, os.Args)
	stop()
	os.Exit(code)
}
