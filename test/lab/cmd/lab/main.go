// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Command lab runs a real Kubernetes cluster on this machine, for trying things out and for tests.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	lab "orlop.dev/orlop/test/lab"
)

// command is one word of the command line.
type command struct {
	usage string
	short string
	run   func(context.Context, *call) error
}

// call is what a command is given.
type call struct {
	name  string
	args  []string
	extra []string // after --
	flags *flag.FlagSet
}

// errUsage has been explained already.
var errUsage = errors.New("usage")

var commands = map[string]command{
	"build":      {"build", "build every program of the lab; those that are there are left alone", build},
	"up":         {"up [--nodes 3] [--disk 2GB] [--api-port N] [--registry-port N] [--engines-only] [--docker N]", "start a cluster and wait until it is ready", up},
	"down":       {"down", "end the cluster and remove everything of it", down},
	"status":     {"status [-o json]", "say how the cluster and its nodes are", status},
	"kubeconfig": {"kubeconfig", "print the path of the administrator's kubeconfig", kubeconfig},
	"kubectl":    {"kubectl -- ARGS…", "run the kubectl of the cluster's own version", kubectl},
	"push":       {"push IMAGE [--layers 3x1MB] [--platforms linux/amd64,linux/arm64] [--seed TEXT] [--program FILE]", "make an image and push it to where the nodes find it", push},
	"crictl":     {"crictl NODE -- ARGS…", "run crictl on a node", crictl},
	"exec":       {"exec NODE -- COMMAND…", "run a command on a node", execute},
	"node":       {"node add|remove|stop|start|cut|restore|stop-engine|start-engine|stop-kubelet|start-kubelet|fill|free [NODE] [--percent 95] [--engine docker]", "do something with a node", node},
	"fault":      {"fault [add|clear|counts] [--images 'docker.io/acme/*'] [--only blobs] [--status 429] [--retry-after 5s] [--rate 1MB] [--stall 64KB] [--times 2]", "let the registry refuse, slow down or stall", fault},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	var exit *exec.ExitError
	switch {
	case err == nil:
	case errors.Is(err, errUsage):
		os.Exit(2)
	case errors.As(err, &exit) && exit.ExitCode() > 0:
		os.Exit(exit.ExitCode())
	default:
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 || slices.Contains([]string{"help", "-h", "--help"}, args[0]) {
		overview()
		return nil
	}
	cmd, ok := commands[args[0]]
	if !ok {
		overview()
		return fmt.Errorf("no command %q", args[0])
	}
	c := &call{args: args[1:], flags: flag.NewFlagSet(args[0], flag.ContinueOnError)}
	if i := slices.Index(c.args, "--"); i >= 0 {
		c.args, c.extra = c.args[:i], c.args[i+1:]
	}
	c.flags.StringVar(&c.name, "name", lab.DefaultName, "`name` of the lab; several can be up at once")
	c.flags.Usage = func() {
		fmt.Fprintf(os.Stderr, "lab %s [--name NAME]\n    %s\n", cmd.usage, cmd.short)
		c.flags.PrintDefaults()
	}
	return cmd.run(ctx, c)
}

func overview() {
	fmt.Fprintln(os.Stderr, "lab runs a real Kubernetes cluster on this machine.")
	for _, name := range []string{"build", "up", "down", "status", "kubeconfig", "kubectl", "push", "crictl", "exec", "node", "fault"} {
		fmt.Fprintf(os.Stderr, "\n  lab %s\n      %s\n", commands[name].usage, commands[name].short)
	}
}

// parse reads flags wherever they stand, and wants between least and most other words.
func (c *call) parse(least, most int) error {
	var words []string
	for rest := c.args; ; {
		if err := c.flags.Parse(rest); err != nil {
			return errUsage
		}
		if rest = c.flags.Args(); len(rest) == 0 {
			break
		}
		words, rest = append(words, rest[0]), rest[1:]
	}
	if len(words) < least || len(words) > most {
		if len(words) > most {
			fmt.Fprintf(os.Stderr, "lab: too many words: %s\n", strings.Join(words, " "))
		}
		c.flags.Usage()
		return errUsage
	}
	c.args = words
	return nil
}

// attach parses and finds the running lab.
func (c *call) attach(ctx context.Context, least, most int) (*lab.Cluster, error) {
	if err := c.parse(least, most); err != nil {
		return nil, err
	}
	cluster, err := lab.Attach(ctx, c.name)
	if errors.Is(err, lab.ErrNotUp) {
		return nil, fmt.Errorf("%w: start it with lab up", err)
	}
	return cluster, err
}
