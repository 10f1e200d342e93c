// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"errors"
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

func (a *app) rmCommand() *cobra.Command {
	r := &removal{app: a}
	r.tables = r.rmTables
	cmd := &cobra.Command{
		Use: "rm IMAGE…", Aliases: []string{"rmi"}, GroupID: groupAct, Short: "Remove images, or single tags, from every node",
		Long: `Remove images, or single tags, from every node, by name, pattern or id. Naming a tag removes only that tag; other tags of
the same image stay. An image that is in use, pinned, kept by an ImageCache, or named by a pod on the node is spared, with the
reason. Every tag that goes is shown first, and you are asked; without a terminal, --yes is needed.

--force does little, on purpose: it also removes images that arrived in the last 10 minutes (an exact name needs no --force for
that), those that an ImageCache keeps (which pulls them again), and those that only exited containers use. Nothing removes an
image that is in use.`,
		Example: a.examples(`
			{} rm ghcr.io/acme/web:2026.10.9
			{} rm 'docker.io/minchou/*' --dry-run
			{} rm b07c55e19a44 --node node-7 --yes
			{} rm ghcr.io/acme/web@sha256:… -l pool=web`),
		RunE: func(cmd *cobra.Command, args []string) error {
			targets, err := ask.Targets(args)
			if err == nil && len(targets) == 0 {
				err = errors.New("name at least one image, such as nginx:1.29, 'docker.io/minchou/*', or an id")
			}
			if err != nil {
				return usageError{err, a.program + " rm --help"}
			}
			if err := r.check(); err != nil {
				return err
			}
			r.request = session.Request{Verb: session.VerbRemove, Remove: &plan.RemoveRequest{Targets: targets, Options: plan.Options{Force: r.force}}}
			return r.run(cmd.Context())
		},
	}
	r.add(cmd.Flags())
	return cmd
}

// going is one image, with the names that it loses, on all nodes where it does.
type going struct {
	id, names string
	nodes     []string
	frees     int64
	whole     bool
	came      time.Time // when the first node got it
	lastUsed  time.Time
}

// rmTables are the images that go, with all their names, and those that are spared.
func (r *removal) rmTables(outcomes []fleet.Outcome) []*table.Table {
	t := &table.Table{Columns: []table.Column{{Name: "ID"}, {Name: "NODES", Right: true}, {Name: "FREES", Right: true}, {Name: "IMAGE"}, {Name: "WHERE", Wide: true}, {Name: "NAMES THAT GO"}}}
	for _, g := range goingOf(outcomes) {
		what := "stays, under other names"
		if g.whole {
			what = "goes"
		}
		t.Add(r.output.id(g.id), fmt.Sprint(len(g.nodes)), r.output.size0(g.frees), what, r.where(g.nodes), g.names)
	}
	spared := r.sparedTable(toSpare(outcomes))
	if len(t.Rows) == 0 {
		return spared
	}
	return append([]*table.Table{t}, spared...)
}

// where names nodes: all of them in a wide table, else some.
func (r *removal) where(nodes []string) string {
	if r.output.format == "wide" {
		return strings.Join(nodes, ",")
	}
	return some(nodes)
}

func goingOf(outcomes []fleet.Outcome) []*going {
	var list []*going
	for _, o := range outcomes {
		if o.Plan == nil {
			continue
		}
		for _, removal := range o.Plan.Remove {
			names := strings.Join(removal.Names(), ", ")
			i := slices.IndexFunc(list, func(g *going) bool { return g.id == removal.Image.ID && g.names == names })
			if i < 0 {
				i = len(list)
				list = append(list, &going{id: removal.Image.ID, names: names, whole: len(removal.Tags) == 0})
			}
			list[i].nodes = append(list[i].nodes, o.Node.Name)
			list[i].frees += removal.FreesBytes
			if first := removal.Image.FirstSeen; list[i].came.IsZero() || !first.IsZero() && first.Before(list[i].came) {
				list[i].came = first
			}
			if removal.Image.LastUsed.After(list[i].lastUsed) {
				list[i].lastUsed = removal.Image.LastUsed
			}
		}
	}
	// Nodes answer in any order.
	for _, g := range list {
		slices.Sort(g.nodes)
	}
	slices.SortFunc(list, func(a, b *going) int {
		return cmp.Or(cmp.Compare(b.frees, a.frees), strings.Compare(a.names, b.names), strings.Compare(a.id, b.id))
	})
	return list
}

// sparedTable has what was asked for and stays, with the reason; none if all goes.
func (r *removal) sparedTable(spared []group[string]) []*table.Table {
	if len(spared) == 0 {
		return nil
	}
	t := &table.Table{Columns: []table.Column{{Name: "SPARED"}, {Name: "BECAUSE"}, {Name: "WHERE"}}}
	for _, g := range spared {
		title, message, _ := strings.Cut(g.said, "\x00")
		t.Add(title, message, r.where(g.names))
	}
	return []*table.Table{t}
}

// toSpare is what the plans keep of what was asked for.
func toSpare(outcomes []fleet.Outcome) []group[string] {
	return grouped(outcomes, func(o fleet.Outcome, add func(string)) {
		if o.Plan == nil {
			return
		}
		for _, kept := range o.Plan.Keep {
			if kept.Reason != plan.ReasonNotSelected {
				add(plan.Title(kept.Image) + "\x00" + kept.Message)
			}
		}
	})
}

// spared is what was kept in the end: of the plan, and by the last look before each removal.
func spared(outcomes []fleet.Outcome) []group[string] {
	return grouped(outcomes, func(o fleet.Outcome, add func(string)) {
		for _, step := range stepsOf(o) {
			if step.State == session.StateKept {
				add(step.Asked + "\x00" + step.Message)
			}
		}
	})
}
