// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"orlop.dev/orlop/internal/fleet"
	"orlop.dev/orlop/internal/plan"
	"orlop.dev/orlop/internal/session"
	"orlop.dev/orlop/internal/table"
)

type dfOptions struct {
	*app
	nodes   nodeFlags
	output  output
	verbose bool
	sort    sorting
}

func (a *app) dfCommand() *cobra.Command {
	o := &dfOptions{app: a}
	cmd := &cobra.Command{
		Use: "df", GroupID: groupSee, Short: "Show how much disk images take per node, and what could be freed",
		Long: `Show how much disk images take on each node, and how much could be freed.

RECLAIMABLE is how much would be freed if every image went that nothing needs; layers that other images keep are not counted.
KUBELET GC is how much can still be written before the kubelet begins to remove images by itself; ~ marks a threshold that is
not known and assumed to be the usual 85 %. ! marks a disk above it.

Where Orlop is installed, its inventory is read: USED dates from the last change of the node's images, IN USE and RECLAIMABLE may
be 10 minutes old. The line below the table gives the age of the oldest. --ephemeral asks the nodes now.`,
		Example: a.examples(`
			{} df
			{} df -v --node node-1
			{} df -l pool=gpu -o json`),
		Args: a.noArgs("; df -v lists the images"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := o.sort.path()
			if err = errors.Join(err, o.output.check()); err != nil {
				return usageError{err, a.program + " df --help"}
			}
			return o.run(cmd.Context())
		},
	}
	o.nodes.add(cmd.Flags(), a.version, lookTimeout)
	o.nodes.addEphemeral(cmd.Flags())
	o.output.add(cmd.Flags())
	o.output.addSizes(cmd.Flags())
	o.output.addIDs(cmd.Flags())
	o.sort.add(cmd, map[string]string{"used": ".disk.usedBytes", "reclaimable": ".reclaimableBytes", "images": ".images"})
	cmd.Flags().BoolVarP(&o.verbose, "verbose", "v", false, "print a line for each image on each node, with the size of what it shares")
	return cmd
}

// diskUse is one node in an answer for programs.
type diskUse struct {
	nodeState
	Pressure         []string  `json:"pressure,omitempty"`
	Disk             plan.Disk `json:"disk,omitzero"`
	Images           int       `json:"images"`
	InUse            int       `json:"inUse"`
	ReclaimableBytes int64     `json:"reclaimableBytes"`
	GCHighPercent    int       `json:"gcHighPercent,omitempty"`
	GCLowPercent     int       `json:"gcLowPercent,omitempty"`
	GCKnown          bool      `json:"gcKnown"`
}

func (o *dfOptions) run(ctx context.Context) error {
	f, nodes, err := o.open(ctx, &o.nodes)
	if err != nil {
		return err
	}
	var thresholds map[string]fleet.Collection
	var asking sync.WaitGroup
	asking.Go(func() { thresholds = f.Collections(ctx, nodes) })
	outcomes, _, err := o.inventories(ctx, f, nodes, &o.nodes, "df")
	asking.Wait()
	if err != nil {
		return err
	}
	items, err := sorted(&o.sort, disksOf(outcomes, thresholds))
	if err != nil {
		return err
	}
	ans := answer{kind: "DiskUseList", items: items, table: o.table(items)}
	for _, item := range items {
		ans.names = append(ans.names, "node/"+item.Name)
	}
	if o.verbose {
		ans.table = o.imageTable(outcomes)
	}
	if err := o.print(&o.output, ans); err != nil {
		return err
	}
	if !o.output.structured() {
		what := "USED, IN USE and RECLAIMABLE are"
		if o.verbose {
			what = "This is"
		}
		o.tellAge(outcomes, what, anyAge, time.Now())
	}
	return exitWith(o.troubles(outcomes))
}

func disksOf(outcomes []fleet.Outcome, thresholds map[string]fleet.Collection) []diskUse {
	var items []diskUse
	for i, state := range nodeStates(outcomes) {
		item := diskUse{nodeState: state, Pressure: outcomes[i].Node.Pressure}
		if result := outcomes[i].Result; result != nil && result.Inventory != nil {
			inventory, gc := result.Inventory, thresholds[state.Name]
			item.Disk, item.Images, item.ReclaimableBytes = inventory.Disk, len(inventory.Images)+inventory.Omitted, inventory.ReclaimableBytes
			item.GCHighPercent, item.GCLowPercent, item.GCKnown = gc.High, gc.Low, gc.Known
			for _, img := range inventory.Images {
				if len(img.Uses) > 0 || img.MoreUsers > 0 || img.Sandbox {
					item.InUse++
				}
			}
		}
		items = append(items, item)
	}
	return items
}

func (o *dfOptions) table(items []diskUse) *table.Table {
	t := &table.Table{Columns: []table.Column{{Name: "NODE"}, {Name: "IMAGEFS", Right: true, Yields: 2}, {Name: "USED", Right: true}, {Name: "IMAGES", Right: true}, {Name: "IN USE", Right: true},
		{Name: "RECLAIMABLE", Right: true}, {Name: "KUBELET GC"}, {Name: "INODES", Right: true, Yields: 1}, {Name: "RUNTIME", Wide: true}, {Name: "MESSAGE"}}}
	total := diskUse{}
	over := 0
	for _, item := range items {
		if item.Trouble != nil {
			t.Add(item.Name, "", "", "", "", "", "", "", "", item.Trouble.Reason)
			continue
		}
		mark := ""
		if item.over() {
			over++
			if o.output.format != "csv" {
				mark = "!"
			}
		}
		t.Add(item.Name, o.output.size(item.Disk.Capacity), o.share(item.Disk.Capacity-item.Disk.Available, item.Disk.Capacity)+mark, fmt.Sprint(item.Images), fmt.Sprint(item.InUse),
			o.share(item.ReclaimableBytes, item.Disk.Capacity), o.untilCollection(item), share(item.Disk.InodesUsed, item.Disk.Inodes), item.Runtime, strings.Join(item.Pressure, ", "))
		total.Disk.Capacity += item.Disk.Capacity
		total.Disk.Available += item.Disk.Available
		total.Images, total.InUse, total.ReclaimableBytes = total.Images+item.Images, total.InUse+item.InUse, total.ReclaimableBytes+item.ReclaimableBytes
	}
	if len(items) > 1 && o.output.format != "csv" {
		t.Add("TOTAL", o.output.size(total.Disk.Capacity), o.share(total.Disk.Capacity-total.Disk.Available, total.Disk.Capacity), fmt.Sprint(total.Images), fmt.Sprint(total.InUse),
			o.share(total.ReclaimableBytes, total.Disk.Capacity), fmt.Sprintf("%d over", over), "", "", "")
	}
	return t
}

// over reports whether the kubelet collects by now.
func (d diskUse) over() bool {
	return d.Disk.Capacity > 0 && d.GCHighPercent > 0 && d.Disk.Percent() >= float64(d.GCHighPercent)
}

func (o *dfOptions) untilCollection(d diskUse) string {
	guess := "~"
	if d.GCKnown {
		guess = ""
	}
	switch {
	case d.Disk.Capacity == 0:
		return ""
	case d.GCHighPercent >= 100:
		return "off"
	case d.over():
		return guess + "running"
	}
	left := d.Disk.Capacity*int64(d.GCHighPercent)/100 - (d.Disk.Capacity - d.Disk.Available)
	if o.output.format == "csv" {
		return fmt.Sprint(left)
	}
	return guess + "in " + o.output.size0(left)
}

// share is a part of a whole as a size and in percent.
func (o *dfOptions) share(part, whole int64) string {
	switch {
	case o.output.format == "csv":
		return o.output.size0(part)
	case whole == 0:
		return o.output.size(part)
	}
	return o.output.size0(part) + " (" + share(part, whole) + ")"
}

func share(part, whole int64) string {
	if whole == 0 {
		return ""
	}
	return fmt.Sprintf("%.0f %%", 100*float64(part)/float64(whole))
}

func (o *dfOptions) imageTable(outcomes []fleet.Outcome) *table.Table {
	t := &table.Table{Columns: []table.Column{{Name: "NODE"}, {Name: "IMAGE"}, {Name: "ID", Yields: 1}, {Name: "DISK", Right: true}, {Name: "SHARED", Right: true, Yields: 2},
		{Name: "UNIQUE", Right: true}, {Name: "USED BY"}, {Name: "LAST USED"}}}
	for _, answer := range answersOf(outcomes) {
		images := slices.SortedStableFunc(slices.Values(answer.Inventory.Images), func(a, b session.ImageInfo) int { return cmp.Compare(b.DiskBytes, a.DiskBytes) })
		for _, img := range images {
			shared, unique := "", ""
			if img.UniqueBytes > 0 {
				shared, unique = o.output.size0(max(0, img.DiskBytes-img.UniqueBytes)), o.output.size0(img.UniqueBytes)
			}
			t.Add(answer.Node, plan.Title(img.Image), o.output.id(img.ID), o.output.size(img.DiskBytes), shared, unique, usersOf(img),
				used(len(img.Uses) > 0 || img.MoreUsers > 0 || img.Sandbox, img.LastUsed, time.Now()))
		}
	}
	return t
}
