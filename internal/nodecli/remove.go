// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package nodecli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"orlop.dev/orlop/internal/ask"
	"orlop.dev/orlop/internal/node"
	"orlop.dev/orlop/internal/plan"
	"orlop.dev/orlop/internal/session"
	"orlop.dev/orlop/internal/table"
	"orlop.dev/orlop/internal/tell"
	"orlop.dev/orlop/internal/term"
)

// removeTimeout is for the whole of a removal, the collection of its space included.
const removeTimeout = 10 * time.Minute

// cannotSeePods is said with every plan that a person makes on the machine itself.
const cannotSeePods = "! pods that wait to start, and image caches, cannot be seen from here: kubectl orlop sees them."

// removing are the flags that rm and prune share.
type removing struct{ dryRun, yes, force *bool }

func removingFlags(flags *pflag.FlagSet) removing {
	return removing{
		dryRun: flags.Bool("dry-run", false, "show the plan, and remove nothing"),
		yes:    flags.BoolP("yes", "y", false, "do not ask"),
		force:  flags.Bool("force", false, "also remove what arrived in the last 10 minutes, and images of containers that have exited; never what is in use or pinned"),
	}
}

func rmCommand() command {
	return command{
		name: "rm", aliases: []string{"rmi"}, args: "IMAGE…", short: "Remove images, or single tags, by name, pattern or id", timeout: removeTimeout,
		long: `Examples:
  orlop-node rm nginx:1.29
  orlop-node rm --dry-run 'docker.io/minchou/*'
  orlop-node rm --yes 0d11f6a2c3b7
  orlop-node rm ghcr.io/acme/web@sha256:…

Naming a tag removes only that tag; other tags of the same image stay. An image in
use, pinned, or needed to start pods is spared, with the reason.`,
		setup: func(flags *pflag.FlagSet) func(context.Context, *env, []string) error {
			how := removingFlags(flags)
			return func(ctx context.Context, e *env, args []string) error {
				targets, err := ask.Targets(args)
				switch {
				case err != nil:
					return err
				case len(targets) == 0:
					return errors.New("name at least one image, such as nginx:1.29, 'docker.io/minchou/*', or an id")
				}
				return e.remove(ctx, how, func(ctx context.Context, n *node.Node) (plan.Plan, error) {
					return n.PlanRemove(ctx, plan.RemoveRequest{Targets: targets, Options: plan.Options{Force: *how.force}})
				})
			}
		},
	}
}

// remove shows the plan, asks, and carries it out.
func (e *env) remove(ctx context.Context, how removing, makePlan func(context.Context, *node.Node) (plan.Plan, error)) error {
	n, err := e.open(ctx)
	if err != nil {
		return err
	}
	planned, err := makePlan(ctx, n)
	if err != nil {
		return err
	}
	if *how.dryRun && e.structured() {
		return e.print("RemovalPlan", planned)
	}
	if err := e.showPlan(planned, *how.dryRun); err != nil {
		return err
	}
	if *how.dryRun || len(planned.Remove) == 0 && !e.structured() {
		return nil
	}
	if !*how.yes && len(planned.Remove) > 0 {
		if err := e.Confirm("Remove "+plural(len(planned.Remove), "image")+"?", term.CommandLine(e.command...)); err != nil {
			return err
		}
	}
	result, err := n.Act(ctx, planned, e.tellStep)
	return e.answer(ctx, result, err)
}

func (e *env) tellStep(step session.Step) {
	if step.State == session.StateRemoved || step.State == session.StateFailed {
		fmt.Fprintln(e.Err, tell.Step(step))
	}
}

// answer says what was done.
func (e *env) answer(ctx context.Context, result session.Result, err error) error {
	if e.structured() {
		if printErr := e.print("RemovalResult", result); printErr != nil {
			return printErr
		}
	} else {
		fmt.Fprintln(e.Err, removalSummary(result))
	}
	if err != nil {
		return err
	}
	return exitFor(ctx, result.Steps)
}

func removalSummary(result session.Result) string {
	count := map[session.State]int{}
	for _, step := range result.Steps {
		count[step.State]++
	}
	text := plural(count[session.StateRemoved], "image") + " removed"
	if result.FreedBytes != nil {
		text += ", " + table.Size(*result.FreedBytes) + " freed (measured)"
	}
	if count[session.StateKept] > 0 {
		text += fmt.Sprintf(", %d spared", count[session.StateKept])
	}
	if count[session.StateFailed] > 0 {
		text += fmt.Sprintf(", %d failed", count[session.StateFailed])
	}
	return text + "."
}

// showPlan writes the plan: as the answer of a dry run, else as part of the question.
func (e *env) showPlan(p plan.Plan, isAnswer bool) error {
	out := e.Err
	if isAnswer {
		out = e.Out
	}
	wide := table.Options{Wide: e.output == "wide", Fit: term.Width(out, 0)}
	if len(p.Remove) > 0 {
		if err := removalTable(p).Write(out, wide); err != nil {
			return err
		}
	}
	if kept := keptTable(p, e.output == "wide"); len(kept.Rows) > 0 {
		if len(p.Remove) > 0 {
			fmt.Fprintln(out)
		}
		if err := kept.Write(out, wide); err != nil {
			return err
		}
	}
	for _, name := range p.Absent {
		fmt.Fprintf(e.Err, "- %s is not on this machine\n", name)
	}
	if !p.NeedsKnown && len(p.Remove) > 0 {
		fmt.Fprintln(e.Err, cannotSeePods)
	}
	fmt.Fprintln(e.Err, planSummary(p, isAnswer))
	return nil
}

func planSummary(p plan.Plan, dryRun bool) string {
	frees := table.Size(p.FreesBytes)
	if !p.Shared {
		frees = "at most " + frees
	}
	spared := 0
	for _, k := range p.Keep {
		if k.Reason != plan.ReasonNotSelected {
			spared++
		}
	}
	text := fmt.Sprintf("%s to remove, which frees %s; %d spared.", plural(len(p.Remove), "image"), frees, spared)
	if len(p.Remove) == 0 {
		text = fmt.Sprintf("Nothing to remove; %d spared.", spared)
	}
	if dryRun && len(p.Remove) > 0 {
		text += " Nothing was removed (dry run)."
	}
	return text
}

func removalTable(p plan.Plan) *table.Table {
	t := &table.Table{Columns: []table.Column{{Name: "ID"}, {Name: "FREES", Right: true}, {Name: "PULLED"}, {Name: "NAMES THAT GO"}}}
	for _, r := range p.Remove {
		t.Add(table.ID(r.Image.ID), table.Size(r.FreesBytes), table.Age(r.Image.FirstSeen, time.Now()), strings.Join(r.Names(), ", "))
	}
	return t
}

// keptTable names what is held because it is needed; what nobody asked for only when everything is wanted.
func keptTable(p plan.Plan, all bool) *table.Table {
	t := &table.Table{Columns: []table.Column{{Name: "ID"}, {Name: "SPARED"}, {Name: "REASON"}, {Name: "BECAUSE"}}}
	for _, k := range p.Keep {
		if all || k.Reason != plan.ReasonNotSelected {
			t.Add(table.ID(k.Image.ID), plan.Title(k.Image), string(k.Reason), k.Message)
		}
	}
	return t
}
