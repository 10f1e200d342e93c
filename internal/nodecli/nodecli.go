// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package nodecli is the command line of orlop-node: the images of this machine. It is made of pflag alone, so that
// the binary on every node stays small.
package nodecli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/node"
	"orlop.dev/orlop/internal/suggest"
	"orlop.dev/orlop/internal/term"
)

// Config is what a binary wires in.
type Config struct {
	term.Streams
	Version string
	// Open connects to the runtime at an endpoint, or finds one where endpoint is empty; name is the runtime that is
	// expected, if any.
	Open func(ctx context.Context, endpoint, name string) (engine.Interface, error)
	// Agent runs the agent until ctx ends; nil: there is none.
	Agent func(ctx context.Context, o AgentOptions) error
}

// Run executes one command line, without the program's name, and returns its exit code.
func Run(ctx context.Context, cfg Config, args []string) int {
	err := run(ctx, cfg, args)
	if err == nil {
		return term.ExitOK
	}
	if exit, ok := errors.AsType[exitError](err); ok {
		return exit.code
	}
	code := term.ExitError
	switch {
	case errors.Is(err, context.Canceled):
		code = term.ExitInterrupted
		if ctx.Err() != nil { // The error is that of whatever it ended, and says no more.
			err = errors.New("interrupted; nothing was done but what is told above")
		}
	case errors.Is(err, node.ErrAskerGone):
		code = term.ExitInterrupted
	case errors.Is(err, context.DeadlineExceeded):
		code = term.ExitTimeout
	}
	fmt.Fprintln(cfg.Err, "orlop-node:", err)
	return code
}

// exitError ends a command whose answer has been given, with another code than 0.
type exitError struct{ code int }

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", e.code) }

// command is one verb.
type command struct {
	name    string
	aliases []string
	args    string // for the usage line; none are taken where it is empty
	instead string // what to say to who gives arguments where none are taken
	short   string
	long    string // examples, and what the short line cannot say
	hidden  bool
	timeout time.Duration // of the whole command unless --timeout is given; 0 is none
	// setup declares the flags, and returns the work.
	setup func(*pflag.FlagSet) func(ctx context.Context, e *env, args []string) error
}

// env is what a running command has.
type env struct {
	Config
	endpoint string
	output   string
	command  []string // as typed, for "run this again"
}

// open connects to the runtime that the flags name.
func (e *env) open(ctx context.Context) (*node.Node, error) {
	rt, err := e.Open(ctx, e.endpoint, "")
	if err != nil {
		return nil, err
	}
	return &node.Node{Runtime: rt}, nil
}

func commands() []command {
	return []command{listCommand(), pullCommand(), rmCommand(), pruneCommand(), dfCommand(), pinCommand(true), pinCommand(false),
		versionCommand(), sessionCommand(), holdCommand(), agentCommand()}
}

func run(ctx context.Context, cfg Config, args []string) error {
	if len(args) == 0 || slices.Contains([]string{"help", "-h", "--help"}, args[0]) {
		if len(args) > 1 {
			return run(ctx, cfg, []string{args[1], "--help"})
		}
		printHelp(cfg.Out)
		return nil
	}
	if strings.HasPrefix(args[0], "-") {
		return errors.New("name the command first: orlop-node COMMAND [flags]\nrun: orlop-node help")
	}
	names := []string{}
	for _, c := range commands() {
		if c.name == args[0] || slices.Contains(c.aliases, args[0]) {
			return c.run(ctx, cfg, args)
		}
		if !c.hidden {
			names = append(names, append(c.aliases, c.name)...)
		}
	}
	return fmt.Errorf("unknown command %q%s\nrun: orlop-node help", args[0], suggest.DidYouMean(args[0], names))
}

func (c command) run(ctx context.Context, cfg Config, args []string) error {
	e := &env{Config: cfg, command: append([]string{"orlop-node"}, args...)}
	flags := pflag.NewFlagSet(c.name, pflag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.SortFlags = false
	work := c.setup(flags)
	flags.StringVarP(&e.endpoint, "runtime-endpoint", "r", "", "the runtime's socket, such as unix:///run/containerd/containerd.sock (default: $CONTAINER_RUNTIME_ENDPOINT, else found by looking)")
	flags.StringVarP(&e.output, "output", "o", "", "json, yaml or wide (default: a table)")
	timeout := flags.Duration("timeout", c.timeout, "give up after this long")
	err := flags.Parse(args[1:])
	switch {
	case errors.Is(err, pflag.ErrHelp):
		c.printHelp(cfg.Out, flags)
		return nil
	case err != nil:
		return fmt.Errorf("%w%s\nrun: orlop-node %s --help", err, suggestFlag(err, flags), c.name)
	case !slices.Contains([]string{"", "json", "yaml", "wide"}, e.output):
		return fmt.Errorf("unknown output format %q%s: it is json, yaml or wide", e.output, suggest.DidYouMean(e.output, []string{"json", "yaml", "wide"}))
	}
	if *timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, *timeout)
		defer cancel()
	}
	if c.args == "" && flags.NArg() > 0 { // Passed over, it would leave more chosen than was meant.
		return fmt.Errorf("%s takes no argument, but got %q%s\nrun: orlop-node %s --help", c.name, flags.Arg(0), c.instead, c.name)
	}
	err = work(ctx, e, flags.Args())
	if errors.Is(err, context.DeadlineExceeded) {
		return timeoutError{fmt.Errorf("not done within %s; allow more with --timeout", *timeout)}
	}
	return err
}

// timeoutError is the end of the time that a command was given.
type timeoutError struct{ error }

func (timeoutError) Is(target error) bool { return target == context.DeadlineExceeded }

// suggestFlag finds the flag that was meant by an unknown one.
func suggestFlag(err error, flags *pflag.FlagSet) string {
	unknown, ok := errors.AsType[*pflag.NotExistError](err)
	if !ok {
		return ""
	}
	known := []string{}
	flags.VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
	return suggest.DidYouMean(unknown.GetSpecifiedName(), known)
}

func printHelp(w io.Writer) {
	fmt.Fprint(w, "orlop-node sees, pulls, keeps and removes the container images of this machine.\n\nUsage: orlop-node COMMAND\n\n")
	for _, c := range commands() {
		if !c.hidden {
			fmt.Fprintf(w, "  %-10s %s\n", c.name, c.short)
		}
	}
	fmt.Fprint(w, "\nRun orlop-node COMMAND --help for examples and flags.\n")
}

func (c command) printHelp(w io.Writer, flags *pflag.FlagSet) {
	fmt.Fprintf(w, "%s\n\nUsage: %s\n", c.short, strings.Join(strings.Fields("orlop-node "+c.name+" "+c.args+" [flags]"), " "))
	if len(c.aliases) > 0 {
		fmt.Fprintf(w, "Also: %s\n", strings.Join(c.aliases, ", "))
	}
	if c.long != "" {
		fmt.Fprintf(w, "\n%s\n", strings.Trim(c.long, "\n"))
	}
	fmt.Fprintf(w, "\nFlags:\n%s", flags.FlagUsagesWrapped(helpWidth))
}

// helpWidth is where help lines break.
const helpWidth = 100
