// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package cli is the command line of kubectl-orlop: the images of every node. Each command is flags, a check of them,
// one call of fleet, and a table; answers go to standard output, all else to standard error.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/klog/v2"

	"orlop.dev/orlop/internal/suggest"
	"orlop.dev/orlop/internal/term"
)

// Config is what a binary wires in.
type Config struct {
	term.Streams
	Version string
}

// Run executes one command line, the program's name first, and returns its exit code.
func Run(ctx context.Context, cfg Config, argv []string) int {
	a := newApp(cfg, argv)
	root := a.root() //nolint:contextcheck // Each command takes its context from cobra.
	root.SetArgs(argv[1:])
	err := root.ExecuteContext(ctx)
	return a.exit(ctx, err)
}

// app is one command line.
type app struct {
	term.Streams
	version string
	program string   // as a person calls it: kubectl orlop
	words   []string // the whole line, to be repeated
	conn    *genericclioptions.ConfigFlags
	color   string
	paint   paint
	// standing is the board on the screen, if there is one.
	standing *board
	// commands in the order of the help.
	commands []*cobra.Command
}

func newApp(cfg Config, argv []string) *app {
	a := &app{Streams: cfg.Streams, version: cfg.Version, program: "orlop", conn: genericclioptions.NewConfigFlags(true)}
	if rest, ok := strings.CutPrefix(strings.TrimSuffix(filepath.Base(argv[0]), ".exe"), "kubectl-"); ok {
		a.program = "kubectl " + rest
	}
	a.words = append(strings.Fields(a.program), argv[1:]...)
	// Nodes have no namespace. A flag without meaning would be taken for that of the pods.
	a.conn.Namespace = nil
	return a
}

const (
	groupSee     = "see"
	groupAct     = "act"
	groupDeclare = "declare"
	groupOperate = "operate"
)

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "kubectl-orlop",
		Short: "See, pull, remove and prune the container images on every node",
		Long: `See, pull, remove and prune the container images on every node of a cluster. Nothing needs to be installed there: each
command runs a short-lived pod on each node, which gets the runtime's socket and nothing else. Where Orlop is installed, its
agents answer instead, and ImageCaches keep images on chosen nodes.

Exit codes: 0 done; 1 wrong usage, or failed before anything was done; 2 drift --exit-code found a difference;
3 some nodes or images failed; 4 timed out; 130 interrupted.`,
		Example: a.examples(`
			{} list                                  # every image on every node
			{} pull nginx:1.29 -l pool=web           # on chosen nodes
			{} prune --all --dry-run                 # what could go, and why the rest stays
			{} rm 'docker.io/minchou/*'              # asks first
			{} df`),
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: a.program},
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          a.unknownCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(a.In)
	root.SetOut(a.Out)
	root.SetErr(a.Err)
	root.AddGroup(&cobra.Group{ID: groupSee, Title: "See:"}, &cobra.Group{ID: groupAct, Title: "Act:"},
		&cobra.Group{ID: groupDeclare, Title: "Declare (where Orlop is installed):"}, &cobra.Group{ID: groupOperate, Title: "Operate:"})
	root.SetHelpCommandGroupID(groupOperate)
	root.SetFlagErrorFunc(a.flagError)
	root.SetHelpFunc(a.help)
	root.SetUsageFunc(func(cmd *cobra.Command) error { a.usage(cmd, a.Out); return nil })
	root.CompletionOptions.DisableDefaultCmd = true
	a.conn.AddFlags(root.PersistentFlags())
	root.PersistentFlags().StringVar(&a.color, "color", "auto", "auto, always or never; auto obeys NO_COLOR")
	verbosity := root.PersistentFlags().Int("v", 0, "log requests to the API server: 6 names them, 8 shows them")
	root.PersistentPreRunE = func(*cobra.Command, []string) error { return a.prepare(*verbosity) }
	a.commands = []*cobra.Command{a.listCommand(), a.dfCommand(), a.driftCommand(), a.pullCommand(), a.rmCommand(), a.pruneCommand(),
		a.cacheCommand(), a.jobCommand(), a.cronCommand(), a.convertCommand(), a.historyCommand(), a.statusCommand(), a.checkCommand(), a.shellCommand(), a.cleanupCommand(), a.uninstallCommand(), a.versionCommand(), a.completionCommand(), a.optionsCommand()}
	root.AddCommand(a.commands...)
	root.InitDefaultHelpCmd()
	for _, cmd := range root.Commands() {
		a.completeFlags(cmd)
		if cmd.Name() == "help" {
			cmd.Args = a.helpTopic
		}
	}
	return root
}

// prepare acts on the flags that every command has.
func (a *app) prepare(verbosity int) error {
	var err error
	if a.paint, err = newPaint(a.color, a.Streams); err != nil {
		return err
	}
	setVerbosity(verbosity, a.Err)
	return nil
}

// silence is done once in a process: connections of a command that has ended may still log something.
var silence = sync.OnceFunc(func() { klog.SetLogger(logr.Discard()) })

// setVerbosity keeps the client libraries' own complaints to who asked for them: what matters is told by us.
func setVerbosity(level int, to io.Writer) {
	if level == 0 {
		silence()
		return
	}
	klog.LogToStderr(false)
	klog.SetOutput(to)
	var v klog.Level
	_ = v.Set(fmt.Sprint(level))
}

// examples puts the program's name into example lines, and takes their common indent away.
func (a *app) examples(text string) string {
	var lines []string
	for line := range strings.Lines(strings.TrimLeft(text, "\n")) {
		lines = append(lines, "  "+strings.ReplaceAll(strings.TrimSpace(line), "{}", a.program))
	}
	return strings.Join(lines, "\n")
}

// unknownCommand refuses a word that is none of a command's own.
func (a *app) unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	known := []string{}
	for _, sub := range cmd.Commands() {
		known = append(append(known, sub.Name()), sub.Aliases...)
	}
	of, help := "", a.program+" --help"
	if cmd.HasParent() {
		of, help = " for "+cmd.Name(), a.program+" "+cmd.Name()+" --help"
	}
	return usageError{fmt.Errorf("unknown command %q%s%s", args[0], of, suggest.DidYouMean(args[0], known)), help}
}

// helpTopic refuses what there is no help for.
func (a *app) helpTopic(cmd *cobra.Command, args []string) error {
	if found, _, err := cmd.Root().Find(args); err != nil || found == cmd.Root() {
		return a.unknownCommand(cmd.Root(), args)
	}
	return nil
}

// noArgs refuses arguments: passed over, they would leave more chosen than was meant.
func (a *app) noArgs(instead string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		return usageError{fmt.Errorf("%s takes no argument, but got %q%s", cmd.Name(), args[0], instead), a.program + " " + cmd.Name() + " --help"}
	}
}

// flagError says what was meant by a flag that does not exist.
func (a *app) flagError(cmd *cobra.Command, err error) error {
	if args := cmd.Flags().Args(); cmd.HasSubCommands() && cmd.Args != nil && len(args) > 0 {
		return cmd.Args(cmd, args) // The word before the flag is the mistake: no subcommand was found by it.
	}
	help := a.program + " " + strings.TrimSpace(strings.TrimPrefix(cmd.CommandPath(), a.program)+" --help")
	if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok {
		name := unknown.GetSpecifiedName()
		if name == "n" || name == "namespace" {
			return usageError{fmt.Errorf("%w: nodes have no namespace; that of the pods is --agent-namespace", err), help}
		}
		known := []string{}
		cmd.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
		return usageError{fmt.Errorf("%w%s", err, suggest.DidYouMean(name, known)), help}
	}
	return usageError{err, help}
}

func (a *app) optionsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "options", Short: "List the flags that every command has", GroupID: groupOperate, Args: a.noArgs(""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprint(a.Out, cmd.InheritedFlags().FlagUsagesWrapped(a.helpWidth()))
			return err
		},
	}
}
