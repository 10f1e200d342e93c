// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"orlop.dev/orlop/internal/ask"
	"orlop.dev/orlop/internal/fleet"
	"orlop.dev/orlop/internal/plan"
	"orlop.dev/orlop/internal/session"
	"orlop.dev/orlop/internal/table"
)

func (a *app) pruneCommand() *cobra.Command {
	r := &removal{app: a}
	r.tables = r.pruneTables
	cmd := &cobra.Command{
		Use: "prune", GroupID: groupAct, Short: "Remove images that nothing needs from every node",
		Long: `Remove images that nothing needs from every node. Without a flag that chooses, only images without a name go, as with
docker image prune; --all removes every image that nothing needs.

Always spared: what is in use, pinned, or named by a pod on the node, even one that has not started; and, without --force, what
an ImageCache keeps and what arrived in the last 10 minutes. The plan is shown first, and you are asked; without a terminal, --yes is needed.`,
		Example: a.examples(`
			{} prune --dry-run                                  # images without a name
			{} prune --all --dry-run                            # every image that nothing needs
			{} prune --pulled-before 30d --keep '**/*:stable'
			{} prune --match 'ghcr.io/acme/**' --keep-latest 3
			{} prune --all --when-disk-above 80 --until-disk-below 60 --yes`),
		Args: a.noArgs("; choose images with --match or --filter, and nodes with --node"),
	}
	r.add(cmd.Flags())
	choose := ask.Prune(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		request, err := choose(time.Now())
		if err != nil {
			return usageError{err, a.program + " prune --help"}
		}
		if err := r.check(); err != nil {
			return err
		}
		request.Options.Force = r.force
		r.scheduled = func() string { return r.scheduleLine(cmd.Flags()) }
		r.request = session.Request{Verb: session.VerbPrune, Prune: &request}
		return r.run(cmd.Context())
	}
	return cmd
}

// pruneTables are a line for each node, and every image that goes, the largest first; wide, also every one that is spared.
func (r *removal) pruneTables(outcomes []fleet.Outcome) []*table.Table {
	t := &table.Table{Columns: []table.Column{{Name: "NODE"}, {Name: "DISK USED", Right: true}, {Name: "IMAGES", Right: true}, {Name: "TO REMOVE", Right: true},
		{Name: "RECLAIM", Right: true}, {Name: "DISK AFTER", Right: true}, {Name: "SPARED"}}}
	images := 0
	for _, o := range outcomes {
		if o.Plan == nil {
			t.Add(o.Node.Name, "", "", "", "", "", nodeWord(o)+": "+troubleText(o))
			continue
		}
		p := o.Plan
		after := p.Disk
		after.Available = min(after.Capacity, after.Available+p.FreesBytes)
		images += len(p.Remove) + len(p.Keep)
		t.Add(o.Node.Name, percentOf(p.Disk), fmt.Sprint(len(p.Remove)+len(p.Keep)), fmt.Sprint(len(p.Remove)), r.output.size0(p.FreesBytes), percentOf(after), sparedBy(*p))
	}
	if len(outcomes) > 1 {
		going, bytes, _ := planned(outcomes)
		t.Add("TOTAL", "", fmt.Sprint(images), fmt.Sprint(going), r.output.size0(bytes), "", "")
	}
	tables := []*table.Table{t}
	if going := r.goingTable(outcomes); len(going.Rows) > 0 {
		tables = append(tables, going)
	}
	if r.output.format == "wide" {
		tables = append(tables, r.sparedTable(toSpare(outcomes))...)
	}
	return tables
}

func troubleText(o fleet.Outcome) string {
	if o.Trouble == nil {
		return ""
	}
	return o.Trouble.Message
}

func percentOf(d plan.Disk) string {
	if d.Capacity == 0 {
		return ""
	}
	return fmt.Sprintf("%.0f %%", d.Percent())
}

// sparing are the reasons that prune names, in words. What was simply not asked for is not among them.
var sparing = []struct {
	reason plan.Reason
	words  string
}{
	{plan.ReasonInUse, "in use"}, {plan.ReasonNeeded, "needed by pods"}, {plan.ReasonPinned, "pinned"}, {plan.ReasonSandbox, "sandbox"},
	{plan.ReasonCached, "cached"}, {plan.ReasonRecent, "recent"}, {plan.ReasonExcepted, "excepted"}, {plan.ReasonLatest, "latest"},
	{plan.ReasonUnknown, "of unknown age"}, {plan.ReasonDiskLevel, "beyond the disk's level"}, {plan.ReasonLimit, "beyond the limit"},
	{plan.ReasonStaleNeeds, "uncertain"},
}

func sparedBy(p plan.Plan) string {
	counts := map[plan.Reason]int{}
	for _, kept := range p.Keep {
		counts[kept.Reason]++
	}
	var parts []string
	for _, s := range sparing {
		if n := counts[s.reason]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, s.words))
		}
	}
	return strings.Join(parts, ", ")
}

// goingTable has every image that goes, over all nodes, those that free most first.
func (r *removal) goingTable(outcomes []fleet.Outcome) *table.Table {
	t := &table.Table{Columns: []table.Column{{Name: "ID"}, {Name: "NODES", Right: true}, {Name: "RECLAIM", Right: true}, {Name: "PULLED"},
		{Name: "LAST USED", Wide: true}, {Name: "WHERE", Wide: true}, {Name: "NAMES THAT GO"}}}
	list := goingOf(outcomes)
	slices.SortStableFunc(list, func(a, b *going) int { return cmp.Compare(b.frees, a.frees) })
	now := time.Now()
	for _, g := range list {
		t.Add(r.output.id(g.id), fmt.Sprint(len(g.nodes)), r.output.size0(g.frees), table.Age(g.came, now), table.Age(g.lastUsed, now), r.where(g.nodes), g.names)
	}
	return t
}
