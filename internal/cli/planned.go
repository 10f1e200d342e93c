// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"slices"
	"strings"

	"orlop.dev/orlop/internal/fleet"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/plan"
	"orlop.dev/orlop/internal/table"
	"orlop.dev/orlop/internal/term"
)

// showPlan is the answer of a dry run.
func (r *removal) showPlan(outcomes []fleet.Outcome) error {
	tables := r.tables(outcomes)
	if r.output.format != "table" && r.output.format != "wide" {
		tables = []*table.Table{r.planRows(outcomes)} // One answer has it all.
	}
	ans := answer{kind: "RemovalPlanList", items: removalItems(outcomes), names: namesThatGo(outcomes)}
	for i, t := range tables {
		if i > 0 {
			fmt.Fprintln(r.Out)
		}
		ans.table = t
		if err := r.print(&r.output, ans); err != nil {
			return err
		}
	}
	if !r.output.structured() {
		r.notes(outcomes)
		r.foresee(outcomes)
	}
	return exitWith(r.troubles(outcomes))
}

// near says which other tags there are of a name that is not there.
func (r *removal) near(absent string, outcomes []fleet.Outcome) {
	var tags []string
	for _, o := range outcomes {
		if o.Plan != nil {
			tags = append(tags, o.Plan.Near[absent]...)
		}
	}
	slices.Sort(tags)
	if tags = slices.Compact(tags); len(tags) == 0 {
		return
	}
	all := ""
	if pattern := oci.AllTags(absent); pattern != absent && strings.HasPrefix(tags[0], absent+":") { // Typed without a tag, which means latest.
		all = ", or " + term.CommandLine(pattern) + " for every tag"
	}
	fmt.Fprintf(r.Err, "  there is %s\n  try: %s%s\n", some(tags), r.commandLine("rm", tags[0]), all)
}

// foresee sums a dry run up, and says how to do it.
func (r *removal) foresee(outcomes []fleet.Outcome) {
	images, bytes, nodes := planned(outcomes)
	if images == 0 {
		fmt.Fprintln(r.Err, "Nothing to remove.")
		return
	}
	sentence(r.Err, 0, "%s to remove on %s, which frees about %s. Nothing was removed (dry run).", count(images, "image"), count(nodes, "node"), r.output.told(bytes))
	fmt.Fprintf(r.Err, "Do it: %s\n", r.without("--dry-run"))
	if r.schedule != nil {
		fmt.Fprintf(r.Err, "Keep it: %s\n", r.schedule())
	}
}

func namesThatGo(outcomes []fleet.Outcome) []string {
	var names []string
	for _, g := range goingOf(outcomes) {
		for name := range strings.SplitSeq(g.names, ", ") {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// planRows are a row for each image on each node, for a spreadsheet.
func (r *removal) planRows(outcomes []fleet.Outcome) *table.Table {
	t := &table.Table{Columns: []table.Column{{Name: "NODE"}, {Name: "ID"}, {Name: "NAMES"}, {Name: "PLAN"}, {Name: "FREES", Right: true}, {Name: "REASON"}, {Name: "MESSAGE"}}}
	for _, o := range outcomes {
		if o.Plan == nil {
			t.Add(o.Node.Name, "", "", nodeWord(o), "", "", troubleText(o))
			continue
		}
		for _, removal := range o.Plan.Remove {
			t.Add(o.Node.Name, r.output.id(removal.Image.ID), strings.Join(removal.Names(), " "), "remove", r.output.size0(removal.FreesBytes), "", "")
		}
		for _, kept := range o.Plan.Keep {
			t.Add(o.Node.Name, r.output.id(kept.Image.ID), plan.Title(kept.Image), "keep", "", string(kept.Reason), kept.Message)
		}
	}
	return t
}

// hints say what would let more go, or where to read why it stays.
func (r *removal) hints(outcomes []fleet.Outcome) {
	reasons := map[plan.Reason]bool{}
	spared := false
	for _, o := range outcomes {
		if o.Plan == nil {
			continue
		}
		for _, kept := range o.Plan.Keep {
			reasons[kept.Reason] = true
			spared = spared || kept.Reason.Protects() || r.dryRun && kept.Reason != plan.ReasonNotSelected // As many as its answer has.
		}
	}
	if reasons[plan.ReasonRecent] && !r.force {
		fmt.Fprintln(r.Err, "- --force also removes what arrived in the last 10 minutes")
	}
	if reasons[plan.ReasonUnknown] {
		fmt.Fprintln(r.Err, "- of unknown age: runtimes do not record when an image was last used; --pulled-before goes by when it arrived")
	}
	if spared && r.request.Prune != nil && r.output.format == "table" {
		fmt.Fprintln(r.Err, "- -o wide names every image that is spared, and the nodes")
	}
}
