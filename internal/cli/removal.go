// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"orlop.dev/orlop/internal/fleet"
	"orlop.dev/orlop/internal/plan"
	"orlop.dev/orlop/internal/session"
	"orlop.dev/orlop/internal/table"
	"orlop.dev/orlop/internal/term"
)

// removeTimeout is for one node and each half: to plan, and to act, the collection of the space included.
const removeTimeout = 10 * time.Minute

// removal is what rm and prune share: the plan, the question, the act, the answer.
type removal struct {
	*app
	nodes    nodeFlags
	job      jobFlags
	output   output
	progress string
	dryRun   bool
	yes      bool
	force    bool
	request  session.Request
	// tables show the plan, each command in its own way.
	tables func([]fleet.Outcome) []*table.Table

	// scheduled is the command that does the same at each time of a schedule; schedule is that where Orlop is installed.
	scheduled, schedule func() string

	board *board
	asked bool                   // the plan was shown
	kept  map[string][]plan.Need // what ImageCaches want, by node
}

func (r *removal) add(flags *pflag.FlagSet) {
	r.nodes.add(flags, r.version, removeTimeout)
	r.nodes.addEphemeral(flags)
	r.job.add(flags)
	r.output.add(flags)
	r.output.addSizes(flags)
	r.output.addIDs(flags)
	flags.StringVar(&r.progress, "progress", "auto", "a `mode`: "+strings.Join(progressModes, ", ")+"; auto is tty on a terminal, else plain")
	flags.BoolVar(&r.dryRun, "dry-run", false, "show the plan, and remove nothing")
	flags.BoolVarP(&r.yes, "yes", "y", false, "do not ask")
	flags.BoolVar(&r.force, "force", false, "also remove what arrived in the last 10 minutes, what an ImageCache keeps (it comes back), and images of containers that have exited; never what is in use, pinned by others, or named by a pod")
}

// check refuses what cannot be carried out, before anything happens.
func (r *removal) check() error {
	if err := errors.Join(oneOf("--progress", r.progress, progressModes), r.output.check(), r.job.check()); err != nil {
		return err
	}
	if !r.dryRun && !r.yes && !term.IsTerminal(r.In) {
		return advised{errNoYes, r.with("--yes")}
	}
	return nil
}

func (r *removal) run(ctx context.Context) error {
	f, nodes, err := r.open(ctx, &r.nodes)
	if err != nil {
		return err
	}
	r.request.DryRun = r.dryRun
	job := fleet.Job{
		Verb: string(r.request.Verb), Timeout: r.nodes.timeout, Removes: true,
		Ask: func(fleet.Node) session.Request { return r.request },
	}
	hand, err := r.hands(ctx, f, &r.nodes, &r.job)
	if err != nil {
		return err
	}
	if _, ok := hand.(*jobHands); ok {
		r.schedule = r.scheduled
	}
	if job.Stores, err = r.caches(ctx, nodes); err != nil {
		return err
	}
	if !r.dryRun && !r.yes {
		job.Confirm = r.confirm
	}
	r.board = r.newBoard(r.boardMode(), nodes)
	outcomes, err := r.askWithBoard(ctx, hand, r.board, nodes, job)
	if err != nil {
		return r.left(&r.output, err)
	}
	if r.dryRun {
		return r.showPlan(outcomes)
	}
	return r.report(outcomes)
}

// boardMode is quiet for a dry run: its answer is the plan, and it comes in a moment.
func (r *removal) boardMode() string {
	if r.dryRun {
		return "none"
	}
	return r.progress
}

// confirm shows the plan and asks. It is called while the nodes wait.
func (r *removal) confirm(ctx context.Context, outcomes []fleet.Outcome) (yes bool) {
	r.board.pause()
	defer func() { r.board.resume(yes) }()
	images, bytes, nodes := planned(outcomes)
	if images == 0 {
		return false
	}
	for _, t := range r.tables(outcomes) {
		if err := t.Write(r.Err, table.Options{Wide: r.output.format == "wide", Fit: term.Width(r.Err, 0)}); err != nil {
			return false
		}
		fmt.Fprintln(r.Err)
	}
	r.notes(outcomes)
	for _, g := range lateNodes(outcomes) {
		fmt.Fprintf(r.Err, "%s not asked about: %s: %s\n", r.paint.warn(), some(g.names), g.said)
	}
	r.asked = true
	question := fmt.Sprintf("Remove %s on %s and free about %s?", count(images, "image"), count(nodes, "node"), r.output.told(bytes))
	answer := make(chan error, 1)
	// Not waited for after Ctrl-C: a read of standard input cannot be interrupted, and ends with the process.
	go func() { answer <- r.Confirm(question, term.CommandLine(r.words...)) }()
	select {
	case err := <-answer:
		return err == nil
	case <-ctx.Done():
		fmt.Fprintln(r.Err)
		return false
	}
}

// lateNodes are those that the question does not wait for.
func lateNodes(outcomes []fleet.Outcome) []group[string] {
	return grouped(outcomes, func(o fleet.Outcome, add func(string)) {
		if o.Trouble != nil && o.Trouble.Reason == fleet.ReasonLate {
			add(o.Trouble.Message)
		}
	})
}

// planned counts what the plans of all nodes would remove.
func planned(outcomes []fleet.Outcome) (images int, bytes int64, nodes int) {
	for _, o := range outcomes {
		if o.Plan == nil || len(o.Plan.Remove) == 0 {
			continue
		}
		images += len(o.Plan.Remove)
		bytes += o.Plan.FreesBytes
		nodes++
	}
	return images, bytes, nodes
}

// notes tells what the tables leave out: who spares what, and what is not there.
func (r *removal) notes(outcomes []fleet.Outcome) {
	absent := grouped(outcomes, func(o fleet.Outcome, add func(string)) {
		if o.Plan != nil {
			for _, name := range o.Plan.Absent {
				add(name)
			}
		}
	})
	planning := 0
	for _, o := range outcomes {
		if o.Plan != nil {
			planning++
		}
	}
	for _, g := range absent {
		fmt.Fprintf(r.Err, "- %s is not on %s\n", g.said, some(g.names))
		if len(g.names) == planning && !strings.Contains(g.said, "@") { // Else it was no slip: it is somewhere, or is this very image.
			r.near(g.said, outcomes)
		}
	}
	atMost := grouped(outcomes, func(o fleet.Outcome, add func(string)) {
		if o.Plan != nil && !o.Plan.Shared && len(o.Plan.Remove) > 0 {
			add("")
		}
	})
	for _, g := range atMost {
		fmt.Fprintf(r.Err, "%s on %s the runtime does not report shared layers: less may be freed there\n", r.paint.warn(), some(g.names))
	}
	r.willReturn(outcomes)
	r.hints(outcomes)
}

// removalItem is one node in an answer for programs.
type removalItem struct {
	nodeState
	Plan  *plan.Plan     `json:"plan,omitempty"`
	Steps []session.Step `json:"steps,omitempty"`
	// Unsettled: more may be gone than the steps tell, since the node was not heard to the end.
	Unsettled  bool       `json:"unsettled,omitempty"`
	FreedBytes *int64     `json:"freedBytes,omitempty"`
	DiskBefore *plan.Disk `json:"diskBefore,omitempty"`
	DiskAfter  *plan.Disk `json:"diskAfter,omitempty"`
}

func removalItems(outcomes []fleet.Outcome) []removalItem {
	var items []removalItem
	for i, state := range nodeStates(outcomes) {
		o := outcomes[i]
		item := removalItem{nodeState: state, Plan: o.Plan, Steps: stepsOf(o), Unsettled: o.Unsettled()}
		if o.Result != nil && o.Result.FreedBytes != nil {
			item.FreedBytes, item.DiskBefore, item.DiskAfter = o.Result.FreedBytes, &o.Result.DiskBefore, &o.Result.DiskAfter
		}
		items = append(items, item)
	}
	return items
}

// report tells what was done on each node, and what it freed.
func (r *removal) report(outcomes []fleet.Outcome) error {
	t := &table.Table{Columns: []table.Column{{Name: "NODE"}, {Name: "STATE"}, {Name: "REMOVED", Right: true}, {Name: "FREED", Right: true}, {Name: "SPARED", Right: true},
		{Name: "FAILED", Right: true}, {Name: "DISK"}, {Name: "MESSAGE"}}}
	failures := new(failures)
	sum := tally{}
	declined, interrupted := false, false
	for _, o := range outcomes {
		c := tallyOf(o, failures)
		sum.add(c)
		declined, interrupted = declined || o.State == fleet.StateDeclined, interrupted || o.State == fleet.StateInterrupted
		t.Add(o.Node.Name, nodeWord(o), c.removedText(), c.freedText(r.output.size0), fmt.Sprint(c.spared), fmt.Sprint(c.failed), diskChange(o), r.inTable(o))
	}
	if images, _, _ := planned(outcomes); declined && images > 0 {
		code := r.troubles(outcomes)
		fmt.Fprintln(r.Err, "Nothing was removed.")
		return exitWith(max(code, term.ExitError))
	}
	if interrupted && sum == (tally{}) { // No node that was told to remove went unheard.
		fmt.Fprintln(r.Err, "Interrupted: nothing was removed.")
		return exitError{term.ExitInterrupted}
	}
	if err := r.print(&r.output, answer{kind: "RemovalList", items: removalItems(outcomes), table: t}); err != nil {
		return err
	}
	if !r.asked {
		r.notes(outcomes)
	}
	if r.request.Remove != nil && !r.asked && !r.output.structured() {
		for _, t := range r.sparedTable(spared(outcomes)) {
			fmt.Fprintln(r.Err)
			if err := t.Write(r.Err, table.Options{Fit: term.Width(r.Err, 0)}); err != nil {
				return err
			}
		}
	}
	if !r.output.structured() {
		for _, g := range grouped(outcomes, elsewhere) {
			fmt.Fprintf(r.Err, "- %s was removed by somebody else meanwhile on %s\n", g.said, some(g.names))
		}
		r.sum(sum, outcomes)
	}
	failures.tell(r.app, "")
	return exitWith(failures.exit(r.troubles(outcomes)))
}

// inTable is why a node has not done what was asked; a table has the reason only, since the words follow it once for all nodes.
func (r *removal) inTable(o fleet.Outcome) string {
	switch {
	case o.Trouble == nil:
		return ""
	case r.output.format == "table":
		return o.Trouble.Reason
	}
	return o.Trouble.Message
}
