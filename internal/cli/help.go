// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"orlop.dev/orlop/internal/term"
)

const (
	// helpWidth is where help lines break, unless the terminal is narrower.
	helpWidth = 110
	// flagGroup is the annotation by which help puts flags together that several commands share.
	flagGroup = "orlop.dev/group"

	flagsOfNodes  = "Choosing nodes"
	flagsOfOutput = "Output"
	flagsOfPods   = "Short-lived pods"
	flagsOfJobs   = "NodeJob (where Orlop is installed)"
	// Of what is put on a schedule.
	flagsOfPull    = "For pull"
	flagsOfRemoval = "For rm and prune"
	flagsOfPrune   = "For prune"
)

// mark puts the flags that add declares into a group of the help.
func mark(flags *pflag.FlagSet, group string, add func(*pflag.FlagSet)) {
	own := pflag.NewFlagSet("", pflag.ContinueOnError)
	add(own)
	own.VisitAll(func(f *pflag.Flag) {
		if f.Annotations == nil {
			f.Annotations = map[string][]string{}
		}
		f.Annotations[flagGroup] = []string{group}
		flags.AddFlag(f)
	})
}

// help tells all of a command, in lines that fit the terminal.
func (a *app) help(cmd *cobra.Command, _ []string) {
	text := cmd.Long
	if text == "" {
		text = cmd.Short + "."
	}
	fmt.Fprintf(a.Out, "%s\n", wrap(text, a.helpWidth()))
	a.usage(cmd, a.Out)
}

func (a *app) helpWidth() int { return min(helpWidth, term.Width(a.Out, helpWidth)) }

func (a *app) usage(cmd *cobra.Command, w io.Writer) {
	line := cmd.UseLine()
	if cmd.HasAvailableSubCommands() {
		line = cmd.CommandPath() + " COMMAND [flags]"
	}
	fmt.Fprintf(w, "Usage:\n  %s\n", line)
	if len(cmd.Aliases) > 0 {
		fmt.Fprintf(w, "\nAliases: %s\n", cmd.NameAndAliases())
	}
	if cmd.Example != "" {
		fmt.Fprintf(w, "\nExamples:\n%s\n", cmd.Example)
	}
	if !cmd.HasParent() {
		a.usageOfCommands(cmd, w)
		return
	}
	for i, sub := range cmd.Commands() {
		if i == 0 {
			fmt.Fprint(w, "\nCommands:\n")
		}
		fmt.Fprintf(w, "  %-11s %s\n", sub.Name(), sub.Short)
	}
	a.usageOfFlags(cmd, w)
	fmt.Fprintf(w, "\n%s", wrap(fmt.Sprintf("%q lists the flags that every command has: --context, --kubeconfig, --as, --color and more.", a.program+" options"), a.helpWidth()))
}

// usageOfCommands lists the commands in the order in which a newcomer needs them.
func (a *app) usageOfCommands(root *cobra.Command, w io.Writer) {
	for _, group := range root.Groups() {
		fmt.Fprintf(w, "\n%s\n", group.Title)
		for _, cmd := range a.commands {
			if cmd.GroupID == group.ID && cmd.IsAvailableCommand() {
				fmt.Fprintf(w, "  %-11s %s\n", cmd.Name(), cmd.Short)
			}
		}
	}
	fmt.Fprintf(w, "\n%q tells more about a command.\n", a.program+" COMMAND --help")
}

// usageOfFlags lists a command's own flags first; those of the connection are the same everywhere, and many.
func (a *app) usageOfFlags(cmd *cobra.Command, w io.Writer) {
	groups := map[string]*pflag.FlagSet{}
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		name := ""
		if of := f.Annotations[flagGroup]; len(of) > 0 {
			name = of[0]
		}
		if groups[name] == nil {
			groups[name] = pflag.NewFlagSet(name, pflag.ContinueOnError)
		}
		groups[name].AddFlag(f)
	})
	for _, name := range []string{"", flagsOfPull, flagsOfRemoval, flagsOfPrune, flagsOfNodes, flagsOfOutput, flagsOfJobs, flagsOfPods} {
		flags := groups[name]
		if flags == nil {
			continue
		}
		title := name
		if name == "" {
			title = "Flags"
		}
		fmt.Fprintf(w, "\n%s:\n%s", title, flags.FlagUsagesWrapped(a.helpWidth()))
	}
}

// wrap breaks paragraphs anew, so that they fit.
func wrap(text string, width int) string {
	var out strings.Builder
	for paragraph := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
		column := 0
		for word := range strings.FieldsSeq(paragraph) {
			length := utf8.RuneCountInString(word)
			switch {
			case column == 0:
			case column+1+length > width:
				out.WriteString("\n")
				column = 0
			default:
				out.WriteString(" ")
				column++
			}
			out.WriteString(word)
			column += length
		}
		out.WriteString("\n\n")
	}
	return strings.TrimSuffix(out.String(), "\n")
}
