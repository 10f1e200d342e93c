// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/mattn/go-shellwords"
	"github.com/spf13/cobra"

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
		Long: `Run crictl on a node: with arguments a single command, whose exit code is passed on; without, a prompt that takes one command after
another. The pod behind it holds the runtime's socket and nothing else; it ends with this program, or after --timeout.
Whoever holds that socket is root on the node. What reads the host's files or ports does not work: logs, attach and
port-forward; exec works without a terminal.`,
		Example: a.examples(`
			{} shell node-1
			{} shell node-1 -- images
			{} shell node-1 -- inspecti nginx:1.29
			{} shell node-1 -- exec b07c55e19a44 ls /`),
		Args: func(cmd *cobra.Command, args []string) error {
			dash := cmd.ArgsLenAtDash()
			if len(args) == 0 || dash == 0 || dash < 0 && len(args) > 1 || dash > 1 {
				return usageError{errors.New("name one node, and crictl's arguments after --"), a.program + " shell --help"}
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
	flags.DurationVar(&o.nodes.timeout, "timeout", shellLife, "how long the pod may live")
	flags.StringVar(&o.nodes.config.Image, "tools-image", cmp.Or(os.Getenv(envToolsImage), toolsImage+":"+imageTag(a.version)), "the tools `image`, with crictl; or set "+envToolsImage)
	o.nodes.config.MaxParallel = 1
	return cmd
}

func (o *shellOptions) run(ctx context.Context) error {
	if _, err := possible(o.args); err != nil {
		return err
	}
	f, nodes, err := o.open(ctx, &o.nodes)
	if err != nil {
		return err
	}
	fmt.Fprintf(o.Err, "► starting a pod on %s (if this is killed: %s)\n", nodes[0].Name, o.cleanupLine(f))
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

// forHost are the commands that read files of the host or reach ports on its loopback address: the pod has neither.
var forHost = map[string]string{"logs": "kubectl logs", "attach": "kubectl attach", "port-forward": "kubectl port-forward"}

// possible refuses what cannot work over the socket alone, and makes exec go through it.
func possible(args []string) ([]string, error) {
	if len(args) > 0 && args[0] == "crictl" { // People type it, and it is forgiven.
		args = args[1:]
	}
	at := verbAt(args)
	if at == len(args) {
		return args, nil
	}
	if other, ok := forHost[args[at]]; ok {
		return nil, fmt.Errorf("crictl %s needs more of the host than the runtime's socket, and our pod has nothing more; use %s", args[at], other)
	}
	if args[at] != "exec" {
		return args, nil
	}
	for _, flag := range args[at+1:] {
		if !strings.HasPrefix(flag, "-") {
			break
		}
		if flag == "--interactive" || flag == "--tty" || !strings.HasPrefix(flag, "--") && strings.ContainsAny(flag, "it") {
			return nil, errors.New("crictl exec works here without input and terminal only, over the runtime's socket; use kubectl exec -it")
		}
	}
	return slices.Insert(slices.Clone(args), at+1, "--sync"), nil
}

// withValue are crictl's own flags, before its command, that take the next argument.
var withValue = []string{"--config", "-c", "--image-endpoint", "-i", "--runtime-endpoint", "-r", "--timeout", "-t", "--tracing-endpoint",
	"--tracing-sampling-rate-per-million", "--profile-cpu", "--profile-mem"}

// verbAt is where crictl's command stands among the arguments; their number if it stands nowhere.
func verbAt(args []string) int {
	for i := 0; i < len(args); i++ {
		switch {
		case slices.Contains(withValue, args[i]):
			i++
		case !strings.HasPrefix(args[i], "-"):
			return i
		}
	}
	return len(args)
}

// one runs one command.
func (o *shellOptions) one(ctx context.Context, args []string) (int, error) {
	return o.crictl(ctx, args, o.Out, o.Err)
}

func (o *shellOptions) crictl(ctx context.Context, args []string, out, errOut io.Writer) (int, error) {
	args, err := possible(args)
	if err != nil {
		return 0, err
	}
	// The image has no configuration, of which crictl would complain at each call.
	base := []string{crictl, "--config=/dev/null", "--runtime-endpoint=" + o.held.Endpoint()}
	return o.held.Exec(ctx, fleet.Command{Args: append(base, args...), Out: out, Err: errOut})
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
			return errors.New("the pod has ended: its time was up, or somebody deleted it")
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
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p.busy(cancel)
	defer p.idle()
	return o.crictl(ctx, args, p, p)
}
