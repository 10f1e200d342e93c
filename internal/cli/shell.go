// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/mattn/go-shellwords"
	"github.com/spf13/cobra"
	"k8s.io/client-go/tools/remotecommand"
	kubeterm "k8s.io/kubectl/pkg/util/term"

	"orlop.dev/orlop/internal/fleet"
	"orlop.dev/orlop/internal/term"
)

const (
	// shellLife bounds how long a forgotten shell holds the socket of a node.
	shellLife = 4 * time.Hour
	// shellStart covers the first fetch of the tools image.
	shellStart = 2 * time.Minute
	// crictl is where the tools image has it.
	crictl = "/usr/local/bin/crictl"
)

type shellOptions struct {
	*app
	nodes nodeFlags
	args  []string
	held  *fleet.Held
}

func (a *app) shellCommand() *cobra.Command {
	o := &shellOptions{app: a}
	cmd := &cobra.Command{
		Use: "shell NODE [-- CRICTL-ARGS…]", GroupID: groupOperate, Short: "Run crictl on a node, one command or many",
		Long: `Run crictl on a node: with arguments one command, whose exit code is passed on; without, a prompt that takes one command after
another. The pod behind it holds the runtime's socket and nothing else; it ends with this program, or after --timeout.
Whoever holds that socket is root on the node.`,
		Example: a.examples(`
			{} shell node-1
			{} shell node-1 -- images
			{} shell node-1 -- inspecti nginx:1.29
			{} shell node-1 -- exec -it b07c55e19a44 sh`),
		Args: func(cmd *cobra.Command, args []string) error {
			dash := cmd.ArgsLenAtDash()
			if len(args) == 0 || dash == 0 || dash < 0 && len(args) > 1 || dash > 1 {
				return usageError{errors.New("name one node, and crictl's arguments behind --"), a.program + " shell --help"}
			}
			return nil
		},
		ValidArgsFunction: a.completeNodes,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.nodes.choice.Names, o.args = args[:1], args[1:]
			return o.run(cmd.Context())
		},
	}
	flags := cmd.Flags()
	o.nodes.addPod(flags)
	flags.DurationVar(&o.nodes.timeout, "timeout", shellLife, "how long the pod lives at most")
	flags.StringVar(&o.nodes.config.Image, "tools-image", cmp.Or(os.Getenv(envToolsImage), toolsImage+":"+imageTag(a.version)), "the tools image, with crictl; also by "+envToolsImage)
	o.nodes.config.MaxParallel = 1
	return cmd
}

func (o *shellOptions) run(ctx context.Context) error {
	f, nodes, err := o.open(ctx, &o.nodes)
	if err != nil {
		return err
	}
	fmt.Fprintf(o.Err, "► starting a pod on %s; should this be killed, clean up with: %s\n", nodes[0].Name, o.cleanupLine(f))
	o.held, err = f.Hold(ctx, nodes[0], shellStart, o.nodes.timeout)
	if err != nil {
		return err
	}
	defer o.held.Close(ctx)
	code := 0
	if len(o.args) > 0 {
		code, err = o.one(ctx, o.args)
	} else {
		err = o.many(ctx, nodes[0])
	}
	switch {
	case ctx.Err() != nil:
		return exitError{term.ExitInterrupted}
	case err != nil:
		return err
	}
	return exitWith(code)
}

// command is one call of crictl in the pod. A leading "crictl" is forgiven.
func (o *shellOptions) command(args []string) fleet.Command {
	if len(args) > 0 && args[0] == "crictl" {
		args = args[1:]
	}
	// The image has no configuration, of which crictl would complain at each call.
	base := []string{crictl, "--config=/dev/null", "--runtime-endpoint=" + o.held.Endpoint()}
	return fleet.Command{Args: append(base, args...), Out: o.Out, Err: o.Err}
}

// wantsInput reports whether crictl will read what is typed, and whether it wants a terminal.
func wantsInput(args []string) (in, tty bool) {
	if i := slices.IndexFunc(args, func(a string) bool { return a == "exec" || a == "attach" }); i >= 0 {
		for _, arg := range args[i+1:] {
			short := strings.HasPrefix(arg, "-") && !strings.HasPrefix(arg, "--")
			in = in || arg == "--interactive" || short && strings.Contains(arg, "i")
			tty = tty || arg == "--tty" || short && strings.Contains(arg, "t")
			if !strings.HasPrefix(arg, "-") {
				break
			}
		}
	}
	return in, tty
}

// sizes passes a terminal's sizes on, from one library's type to the other's.
type sizes struct{ kubeterm.TerminalSizeQueue }

func (s sizes) Next() *remotecommand.TerminalSize {
	size := s.TerminalSizeQueue.Next()
	if size == nil {
		return nil
	}
	return &remotecommand.TerminalSize{Width: size.Width, Height: size.Height}
}

// one runs one command as kubectl exec would.
func (o *shellOptions) one(ctx context.Context, args []string) (int, error) {
	c := o.command(args)
	in, tty := wantsInput(args)
	if in {
		c.In = o.In
	}
	if !tty || !term.IsTerminal(o.In) {
		return o.held.Exec(ctx, c)
	}
	c.TTY = true
	t := kubeterm.TTY{In: o.In, Out: o.Out, Raw: true}
	code := 0
	err := t.Safe(func() error {
		if size := t.MonitorSize(t.GetSize()); size != nil {
			c.Size = sizes{size}
		}
		var err error
		code, err = o.held.Exec(ctx, c)
		return err
	})
	return code, err
}

// many takes commands from standard input, with a prompt on a terminal.
func (o *shellOptions) many(ctx context.Context, node fleet.Node) error {
	if !term.IsTerminal(o.In) {
		lines := bufio.NewScanner(o.In)
		for lines.Scan() && ctx.Err() == nil {
			if o.line(ctx, lines.Text(), o.one) {
				break
			}
		}
		return lines.Err()
	}
	fmt.Fprintf(o.Err, "%s %s on %s (unix://%s). Type crictl's commands, and exit to leave. This is root on the node.\n", node.Runtime, node.RuntimeVersion, node.Name, o.held.Socket())
	p, err := newPrompt(o.Streams, node.Name+" crictl> ")
	if err != nil {
		return err
	}
	defer p.close()
	for {
		select {
		case <-o.held.Over():
			return errors.New("the pod has ended: its time was over, or somebody deleted it")
		case <-ctx.Done():
			return ctx.Err()
		case line, more := <-p.lines:
			if !more {
				return nil
			}
			over := o.line(ctx, line, func(ctx context.Context, args []string) (int, error) { return o.prompted(ctx, p, args) })
			if over {
				return nil
			}
			p.next()
		}
	}
}

// line runs what was typed, and reports whether it was the last.
func (o *shellOptions) line(ctx context.Context, text string, run func(context.Context, []string) (int, error)) (over bool) {
	parser := shellwords.NewParser()
	words, err := parser.Parse(text)
	switch {
	case err != nil:
		fmt.Fprintln(o.Err, "not understood:", err)
	case parser.Position >= 0:
		fmt.Fprintf(o.Err, "there is no shell here for %q; in your own: %s shell %s -- %s | …\n", strings.TrimSpace(text[parser.Position:]), o.program, o.nodes.choice.Names[0], strings.Join(words, " "))
	case len(words) == 0:
	case words[0] == "exit" || words[0] == "quit":
		return true
	default:
		code, err := run(ctx, words)
		if err != nil && !errors.Is(err, context.Canceled) {
			fmt.Fprintln(o.Err, err)
		} else if code != 0 {
			fmt.Fprintf(o.Err, "(exit code %d)\n", code)
		}
	}
	return false
}

// prompted runs a command under the prompt: Ctrl-C ends the command, and not the shell.
func (o *shellOptions) prompted(ctx context.Context, p *prompt, args []string) (int, error) {
	c := o.command(args)
	in, tty := wantsInput(args)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c.Out, c.Err = p, p
	input := p.lend(cancel, in)
	defer p.takeBack()
	if in {
		c.In = input
	}
	if tty {
		c.TTY, c.Out = true, o.Out // A terminal's own bytes are not to be changed.
		t := kubeterm.TTY{In: o.In, Out: o.Out}
		if size := t.MonitorSize(t.GetSize()); size != nil {
			c.Size = sizes{size}
		}
	}
	return o.held.Exec(ctx, c)
}
