// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/spf13/cobra"

	"orlop.dev/orlop/internal/fleet"
	"orlop.dev/orlop/internal/table"
	"orlop.dev/orlop/internal/term"
)

type cleanupOptions struct {
	*app
	output    output
	namespace string
	run       string
	all       bool
	dryRun    bool
	yes       bool
}

func (a *app) cleanupCommand() *cobra.Command {
	o := &cleanupOptions{app: a}
	cmd := &cobra.Command{
		Use: "cleanup", GroupID: groupOperate, Short: "Remove pods left over from earlier commands",
		Long: `Remove pods that earlier commands left over, because they were killed. A pod whose command was killed ends by itself within
a moment, or as soon as it has finished the removals that it had begun. So a pod that still runs is at work: it is left alone,
unless its run is named, or --all is given, which asks first.`,
		Example: a.examples(`
			{} cleanup
			{} cleanup --run k3x9ab
			{} cleanup --dry-run
			{} cleanup --all --yes`),
		Args: a.noArgs("; choose a run with --run"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.complete(); err != nil {
				return usageError{err, a.program + " cleanup --help"}
			}
			return o.clean(cmd.Context())
		},
	}
	flags := cmd.Flags()
	o.output.add(flags)
	flags.StringVar(&o.namespace, "agent-namespace", fleet.DefaultNamespace, "the `namespace` of the pods")
	flags.StringVar(&o.run, "run", "", "only the pods of this run, including those that still run; its `id` was printed by the command")
	flags.BoolVar(&o.all, "all", false, "include pods that still run")
	flags.BoolVar(&o.dryRun, "dry-run", false, "show the pods, but remove none")
	flags.BoolVarP(&o.yes, "yes", "y", false, "do not ask")
	return cmd
}

var runID = regexp.MustCompile(`^[a-z0-9]{1,63}$`)

func (o *cleanupOptions) complete() error {
	if o.run != "" && !runID.MatchString(o.run) {
		return fmt.Errorf("--run %q is not the id of a run, such as k3x9ab", o.run)
	}
	if o.all && !o.yes && !o.dryRun && !term.IsTerminal(o.In) {
		return errors.New("--all ends commands that are still at work: without a terminal to confirm at, add --yes")
	}
	return o.output.check()
}

func (o *cleanupOptions) clean(ctx context.Context) error {
	config, err := o.connect()
	if err != nil {
		return err
	}
	f, err := fleet.New(fleet.Config{Rest: config, Namespace: o.namespace, Version: o.version})
	if err != nil {
		return err
	}
	pods, err := f.Leftovers(ctx, o.run)
	if err != nil {
		return err
	}
	if err := o.show(pods); err != nil {
		return err
	}
	var going []fleet.Leftover
	alive := 0
	for _, pod := range pods {
		if !pod.Alive || o.all || o.run != "" {
			going = append(going, pod)
		}
		if pod.Alive {
			alive++
		}
	}
	if o.dryRun || len(going) == 0 {
		fmt.Fprintf(o.Err, "%s could be removed, %s at work. Nothing was removed.\n", count(len(going), "pod"), count(alive, "pod"))
		return nil
	}
	if o.all && alive > 0 && !o.yes {
		if err := o.Confirm(fmt.Sprintf("End %s at work?", count(alive, "pod")), term.CommandLine(o.words...)); err != nil {
			return err
		}
	}
	f.Discard(ctx, going)
	return o.tell(f, going, alive)
}

func (o *cleanupOptions) show(pods []fleet.Leftover) error {
	t := &table.Table{Columns: []table.Column{{Name: "POD"}, {Name: "NODE"}, {Name: "VERB"}, {Name: "RUN"}, {Name: "BY"}, {Name: "AGE"}, {Name: "PHASE"}}}
	ans := answer{kind: "LeftoverList", items: pods, table: t}
	for _, pod := range pods {
		t.Add(pod.Pod, pod.Node, pod.Verb, pod.Run, pod.User, table.Age(pod.Created, time.Now()), pod.Phase)
		ans.names = append(ans.names, "pod/"+pod.Pod)
	}
	if len(pods) == 0 && !o.output.structured() {
		return nil
	}
	return o.print(&o.output, ans)
}

func (o *cleanupOptions) tell(f *fleet.Fleet, going []fleet.Leftover, alive int) error {
	left := f.Left()
	fmt.Fprintf(o.Err, "%s removed.\n", count(len(going)-len(left)-len(f.Finishing()), "pod"))
	o.tellFinishing(f)
	if !o.all && o.run == "" && alive > 0 {
		fmt.Fprintf(o.Err, "%s left alone: their commands are at work.\n", count(alive, "pod"))
	}
	for _, pod := range left {
		fmt.Fprintf(o.Err, "%s not removed: %s\n", o.paint.bad("✗"), pod)
	}
	if len(left) > 0 {
		return exitError{term.ExitPartial}
	}
	return nil
}
