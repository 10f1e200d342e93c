// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"orlop.dev/orlop/internal/plan"
)

// shells are those for which completion can be printed.
var shells = []string{"bash", "zsh", "fish", "powershell"}

func (a *app) completionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "completion SHELL", GroupID: groupOperate, Short: "Print or install shell completion",
		Long: `Print completion for a shell, for this program called by its own name. kubectl completes its plugins by a second program
called kubectl_complete-orlop; "completion install" writes it beside this one.`,
		Example: a.examples(`
			{} completion install
			{} completion bash > /etc/bash_completion.d/kubectl-orlop
			{} completion zsh > "${fpath[1]}/_kubectl-orlop"`),
		ValidArgs: append(slices.Clone(shells), "install"),
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 && slices.Contains(cmd.ValidArgs, args[0]) {
				return nil
			}
			got := ""
			if len(args) > 0 {
				got = fmt.Sprintf(", not %q", strings.Join(args, " "))
			}
			return usageError{fmt.Errorf("name a shell (%s), or install%s", strings.Join(shells, ", "), got), a.program + " completion --help"}
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(a.Out, true)
			case "zsh":
				return root.GenZshCompletion(a.Out)
			case "fish":
				return root.GenFishCompletion(a.Out, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(a.Out)
			}
			return a.installCompletion()
		},
	}
	return cmd
}

// completer is what kubectl runs to complete a plugin's arguments.
const completer = "#!/bin/sh\nexec %q __complete \"$@\"\n"

func (a *app) installCompletion() error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	if runtime.GOOS == "windows" {
		return fmt.Errorf("kubectl on Windows completes plugins by a .exe or .cmd only: put a kubectl_complete-orlop.cmd with the line\n  @\"%s\" __complete %%*\non your PATH", self)
	}
	self = asFound(self)
	path := filepath.Join(filepath.Dir(self), "kubectl_complete-orlop")
	if err := os.WriteFile(path, fmt.Appendf(nil, completer, self), 0o755); err != nil {
		return advised{fmt.Errorf("writing %s: %w", path, err), "run it as a user who may write there, or put the file anywhere on your PATH"}
	}
	_, err = fmt.Fprintf(a.Err, "%s wrote %s: kubectl completes orlop now, if that folder is on your PATH.\n", a.paint.good(), path)
	return err
}

// asFound is the link by which kubectl finds this program, if there is one. krew keeps each version in a folder of its own, which is on
// nobody's PATH and goes with the next upgrade; its link stays.
func asFound(self string) string {
	link, err := exec.LookPath("kubectl-orlop")
	if err != nil {
		return self
	}
	target, err := filepath.EvalSymlinks(link)
	if err != nil {
		return self
	}
	if own, err := filepath.EvalSymlinks(self); err != nil || target != own {
		return self
	}
	return link
}

// completeTimeout bounds what a person waits for after Tab.
const completeTimeout = 2 * time.Second

// completeFlags teaches a command's flags their values.
func (a *app) completeFlags(cmd *cobra.Command) {
	fixed := map[string][]string{
		"policy":   pullPolicies,
		"progress": progressModes,
		"color":    colorModes,
	}
	var keys []string
	for _, key := range plan.FilterKeys() {
		keys = append(keys, key+"=")
	}
	fixed["filter"] = keys
	for name, values := range fixed {
		if cmd.Flags().Lookup(name) != nil {
			_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp|cobra.ShellCompDirectiveNoSpace))
		}
	}
	if cmd.ValidArgsFunction == nil && len(cmd.ValidArgs) == 0 { // No argument of ours is a file.
		cmd.ValidArgsFunction = cobra.NoFileCompletions
	}
	if cmd.Flags().Lookup("node") != nil {
		_ = cmd.RegisterFlagCompletionFunc("node", a.completeNodes)
	}
	if cmd.Flags().Lookup("output") != nil {
		var o output
		o.add(pflag.NewFlagSet("", pflag.ContinueOnError)) // For its list of formats.
		_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(o.formats(), cobra.ShellCompDirectiveNoFileComp))
	}
}

// completeNodes gives the nodes' names, after those that stand already before a comma.
func (a *app) completeNodes(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	config, err := a.connect()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	parent := cmd.Context()
	if parent == nil {
		parent = context.Background()
	}
	ctx, cancel := context.WithTimeout(parent, completeTimeout)
	defer cancel()
	list, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	before := typed[:strings.LastIndex(typed, ",")+1]
	var names []string
	for i := range list.Items {
		names = append(names, before+list.Items[i].Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
