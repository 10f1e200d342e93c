// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"orlop.dev/orlop/internal/ask"
	"orlop.dev/orlop/internal/fleet"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/plan"
	"orlop.dev/orlop/internal/session"
	"orlop.dev/orlop/internal/survey"
	"orlop.dev/orlop/internal/table"
)

// lookTimeout is for commands that only read: it covers the first fetch of the node image.
const lookTimeout = time.Minute

type listOptions struct {
	*app
	nodes   nodeFlags
	output  output
	filters *[]string
	sort    sorting
	perNode bool
	choice  survey.Choice
}

func (a *app) listCommand() *cobra.Command {
	o := &listOptions{app: a}
	cmd := &cobra.Command{
		Use: "list [IMAGE…]", Aliases: []string{"ls", "images"}, GroupID: groupSee,
		Short: "List the images on every node",
		Long: `List the images on every node, under all their names, with what uses them.

FLAGS: U in use, P pinned, C kept by an ImageCache, D drift (the tag means different images on different nodes).

Where Orlop is installed, its inventory is read and no pod is started. New and removed images show up in it within 10 seconds,
or 30 on a node that is pulling, and changes in what uses them within 10 minutes. A node whose agent is not ready is named, and its
old inventory is not shown.
--ephemeral asks the nodes themselves, by short-lived pods, for the state right now.`,
		Example: a.examples(`
			{} list
			{} list nginx 'ghcr.io/acme/*' -l pool=web
			{} list --per-node -o wide --node node-1
			{} list --filter in-use=false --filter 'size>=1GB'
			{} list -o json | jq '.items[].image'`),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.complete(args); err != nil {
				return usageError{err, a.program + " list --help"}
			}
			return o.run(cmd.Context())
		},
	}
	o.nodes.add(cmd.Flags(), a.version, lookTimeout)
	o.nodes.addEphemeral(cmd.Flags())
	o.output.add(cmd.Flags())
	o.output.addSizes(cmd.Flags())
	o.output.addIDs(cmd.Flags())
	o.filters = ask.Filter(cmd.Flags())
	o.sort.add(cmd, map[string]string{"disk": ".diskBytes", "pull": ".pullBytes", "image": ".image"})
	cmd.Flags().BoolVar(&o.perNode, "per-node", false, "print a line for each name on each node")
	cmd.Flags().BoolVarP(&o.output.quiet, "quiet", "q", false, "print ids only")
	return cmd
}

func (o *listOptions) complete(args []string) error {
	var err error
	if o.choice.Filter, err = plan.ParseFilter(*o.filters); err != nil {
		return err
	}
	if o.choice.Targets, err = ask.Named(args); err != nil {
		return err
	}
	o.choice.Now = time.Now()
	_, err = o.sort.path()
	return errors.Join(err, o.output.check())
}

func (o *listOptions) run(ctx context.Context) error {
	outcomes, answers, err := o.look(ctx, &o.nodes)
	if err != nil {
		return err
	}
	rows, unknown := survey.List(answers, o.choice)
	if rows, err = sorted(&o.sort, rows); err != nil {
		return err
	}
	ans := answer{kind: "ImageList", items: rows, extra: map[string]any{"nodes": nodeStates(outcomes)}}
	for _, row := range rows {
		ans.names = append(ans.names, cmp.Or(row.Image, row.ID))
	}
	if o.perNode {
		ans.table = o.perNodeTable(rows, outcomes)
	} else {
		ans.table = o.table(rows, len(outcomes))
	}
	switch {
	case len(answers) == 0 && !o.output.structured(): // An empty table would say that there are no images.
	case len(rows) == 0 && (o.output.format == "table" || o.output.format == "wide"): // The summary says more than a header.
	case o.output.quiet:
		err = o.printIDs(rows)
	default:
		err = o.print(&o.output, ans)
	}
	if err != nil {
		return err
	}
	if len(answers) > 0 && !o.output.structured() && !o.output.quiet {
		o.summary(rows, answers, unknown)
		switch {
		case len(rows) > 0:
			o.tellAge(outcomes, "USED BY is", usesWritten, o.choice.Now)
		case slices.ContainsFunc(outcomes, func(o fleet.Outcome) bool { return !o.Observed.IsZero() }):
			fmt.Fprintln(o.Err, "What arrived in the last 10 s may be missing; --ephemeral asks the nodes now.")
		}
	}
	return exitWith(o.troubles(outcomes))
}

func answersOf(outcomes []fleet.Outcome) []survey.Answer {
	var answers []survey.Answer
	for _, o := range outcomes {
		if o.State == fleet.StateDone && o.Result != nil && o.Result.Inventory != nil {
			answers = append(answers, survey.Answer{Node: o.Node.Name, Inventory: *o.Result.Inventory})
		}
	}
	return answers
}

func (o *listOptions) printIDs(rows []survey.Image) error {
	var ids []string
	for _, row := range rows {
		ids = append(ids, row.ID)
	}
	slices.Sort(ids)
	for _, id := range slices.Compact(ids) {
		if _, err := fmt.Fprintln(o.Out, id); err != nil {
			return err
		}
	}
	return nil
}

func (o *listOptions) table(rows []survey.Image, nodes int) *table.Table {
	t := &table.Table{Columns: []table.Column{{Name: "IMAGE"}, {Name: "TAG"}, {Name: "ID", Yields: 2}, {Name: "NODES", Right: true}, {Name: "DISK", Right: true},
		{Name: "PULL", Right: true, Yields: 1}, {Name: "USED BY"}, {Name: "FLAGS"}, {Name: "LAST USED", Wide: true}, {Name: "DIGEST", Wide: true}, {Name: "PLATFORM", Wide: true}}}
	for _, row := range rows {
		containers, more := 0, 0
		digests := []string{}
		for _, c := range row.Nodes {
			containers, more = containers+c.Containers, more+c.MoreUsers
			if c.Digest != "" && !slices.Contains(digests, o.output.id(c.Digest)) {
				digests = append(digests, o.output.id(c.Digest))
			}
		}
		t.Add(none(row.Repository), none(row.Tag), o.output.id(row.ID), fmt.Sprintf("%d/%d", len(row.Nodes), nodes), o.output.size(row.DiskBytes),
			o.output.size(row.PullBytes), users(len(row.Pods()), containers, more), row.Flags(), used(row.InUse, row.LastUsed(), o.choice.Now),
			strings.Join(digests, ","), strings.Join(row.Platforms, ","))
	}
	return t
}

// perNodeTable has a row for each name on each node, and one for a node that has not answered.
func (o *listOptions) perNodeTable(rows []survey.Image, outcomes []fleet.Outcome) *table.Table {
	t := &table.Table{Columns: []table.Column{{Name: "NODE"}, {Name: "IMAGE"}, {Name: "TAG"}, {Name: "ID", Yields: 2}, {Name: "DISK", Right: true}, {Name: "PULL", Right: true, Yields: 1},
		{Name: "PULLED", Yields: 3}, {Name: "USED BY"}, {Name: "FLAGS"}, {Name: "LAST USED", Wide: true}, {Name: "DIGEST", Wide: true}, {Name: "PLATFORM", Wide: true}, {Name: "MESSAGE"}}}
	type line struct {
		row survey.Image
		at  survey.Copy
	}
	var lines []line
	for _, row := range rows {
		for _, c := range row.Nodes {
			lines = append(lines, line{row, c})
		}
	}
	slices.SortStableFunc(lines, func(a, b line) int { return cmp.Compare(a.at.Node, b.at.Node) })
	for _, l := range lines {
		flags := l.at.Flags()
		if l.row.Drift {
			flags += "D"
		}
		by := users(len(l.at.Pods), l.at.Containers, l.at.MoreUsers)
		if l.at.MoreUsers == 0 && (o.output.format != "table" || len(l.at.Pods) == 1) {
			by = strings.Join(l.at.Pods, ",")
		}
		t.Add(l.at.Node, none(l.row.Repository), none(l.row.Tag), o.output.id(l.row.ID), o.output.size(l.at.DiskBytes), o.output.size(l.at.PullBytes),
			table.Age(l.at.FirstSeen, o.choice.Now), by, flags, used(l.at.InUse, l.at.LastUsed, o.choice.Now), o.output.id(l.at.Digest), l.at.Platform, "")
	}
	for _, outcome := range outcomes {
		if outcome.Fail() {
			t.Add(outcome.Node.Name, "", "", "", "", "", "", "", "", "", "", "", outcome.Trouble.Reason)
		}
	}
	return t
}

func none(s string) string { return cmp.Or(s, "<none>") }

// users counts who uses an image, as list and df show it. more are those of which only the number is known: where
// pods are among the first, they are taken for pods too.
func users(pods, containers, more int) string {
	if pods > 0 {
		pods += more
	} else {
		containers += more
	}
	var parts []string
	if pods > 0 {
		parts = append(parts, count(pods, "pod"))
	}
	if containers > 0 {
		parts = append(parts, count(containers, "container"))
	}
	return strings.Join(parts, ", ")
}

func used(inUse bool, last, now time.Time) string {
	if inUse {
		return "now"
	}
	return table.Age(last, now)
}

// usersOf counts who uses an image on one node.
func usersOf(info session.ImageInfo) string {
	pods, containers := survey.Users(info.Uses)
	return users(len(pods), containers, info.MoreUsers)
}

func (o *listOptions) summary(rows []survey.Image, answers []survey.Answer, unknown int) {
	images, flags := map[string]bool{}, ""
	for _, row := range rows {
		images[row.ID] = true
		flags += row.Flags()
	}
	if len(rows) == 0 {
		o.nothing(answers)
	} else {
		letters := ""
		if o.output.format == "table" || o.output.format == "wide" {
			letters = legend(flags)
		}
		sentence(o.Err, 2, "%s (%s) on %s.%s", count(len(images), "image"), count(len(rows), "name"), count(len(answers), "node"), letters)
	}
	for _, answer := range answers {
		if n := answer.Inventory.Omitted; n > 0 {
			fmt.Fprintf(o.Err, "%s %s left out of the inventory of %s, which has no room for more; --ephemeral shows all\n", o.paint.warn(), were(n, "image"), answer.Node)
		}
	}
	if unknown > 0 {
		fmt.Fprintf(o.Err, "%s %s left out: a filter asks for an age that is not known there.\n", o.paint.warn(), count(unknown, "copy"))
	}
}

// legend explains the letters that are there.
func legend(flags string) string {
	var parts []string
	for _, part := range []string{"U in use", "P pinned", "C kept by a cache", "D drift"} {
		if strings.Contains(flags, part[:1]) {
			parts = append(parts, part)
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return " FLAGS: " + strings.Join(parts, ", ") + "."
}

// nothing says that no image fits, and which has a name that ends like one that was asked for.
func (o *listOptions) nothing(answers []survey.Answer) {
	fmt.Fprintf(o.Err, "No image on %s fits.\n", count(len(answers), "node"))
	var alike []string
	all, _ := survey.List(answers, survey.Choice{Now: o.choice.Now})
	for _, target := range o.choice.Targets {
		if wider, ok := target.AnyRegistry(); ok {
			if found, _ := survey.List(answers, survey.Choice{Now: o.choice.Now, Targets: []oci.Target{wider}}); len(found) > 0 {
				alike = append(alike, wider.String())
			}
			continue
		}
		asked := strings.TrimSuffix(target.String(), ":*")
		for _, row := range all {
			if !slices.Contains(alike, row.Repository) && path.Base(row.Repository) == path.Base(asked) {
				alike = append(alike, row.Repository)
			}
		}
	}
	if len(alike) > 0 {
		fmt.Fprintf(o.Err, "  try: %s\n", o.commandLine(append([]string{"list"}, alike...)...))
	}
}
