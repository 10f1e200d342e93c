// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package nodecli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"orlop.dev/orlop/internal/ask"
	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/plan"
	"orlop.dev/orlop/internal/session"
	"orlop.dev/orlop/internal/table"
)

// lookTimeout is for commands that only read: a runtime that takes longer is ill.
const lookTimeout = 30 * time.Second

func listCommand() command {
	return command{
		name: "list", aliases: []string{"ls", "images"}, args: "[IMAGE…]", short: "List the images of this machine", timeout: lookTimeout,
		long: `Examples:
  orlop-node list
  orlop-node list 'docker.io/library/*'
  orlop-node list --filter in-use=false --filter 'size>=100MB'
  orlop-node list -q --filter dangling=true

FLAGS: U in use, P pinned.`,
		setup: func(flags *pflag.FlagSet) func(context.Context, *env, []string) error {
			filters := ask.Filter(flags)
			quiet := flags.BoolP("quiet", "q", false, "print ids only")
			full := flags.Bool("no-trunc", false, "print ids and digests in full")
			noHeaders := flags.Bool("no-headers", false, "print no header line")
			return func(ctx context.Context, e *env, args []string) error {
				inventory, err := e.inventory(ctx, args, *filters, e.output != "" || len(*filters) > 0)
				switch {
				case err != nil:
					return err
				case *quiet:
					return e.printIDs(inventory.Images)
				case e.structured():
					return e.print("ImageList", inventory)
				}
				if len(inventory.Images) == 0 && len(args)+len(*filters) > 0 {
					fmt.Fprintln(e.Err, "No image here matches.")
					return nil
				}
				t := imageTable(inventory.Images, *full)
				if err := e.printTable(t, *noHeaders); err != nil {
					return err
				}
				fmt.Fprintf(e.Err, "%s, %s %s.\n", plural(len(inventory.Images), "image"), inventory.Runtime.Name, inventory.Runtime.Version)
				return nil
			}
		},
	}
}

// inventory is everything here that the arguments and filters choose. Measuring the disk takes several times as long
// as a list on containerd.
func (e *env) inventory(ctx context.Context, args, filters []string, measured bool) (session.Inventory, error) {
	filter, err := plan.ParseFilter(filters)
	if err != nil {
		return session.Inventory{}, err
	}
	targets, err := ask.Named(args)
	if err != nil {
		return session.Inventory{}, err
	}
	n, err := e.open(ctx)
	if err != nil {
		return session.Inventory{}, err
	}
	look := n.Glance
	if measured {
		look = n.Look
	}
	inventory, err := look(ctx)
	if err != nil {
		return session.Inventory{}, err
	}
	now := time.Now()
	inventory.Images = slices.DeleteFunc(inventory.Images, func(img session.ImageInfo) bool {
		meant := len(targets) == 0 || slices.ContainsFunc(targets, func(t oci.Target) bool { return plan.Means(t, img.Image) })
		return !meant || filter.Match(plan.Facts{Image: img.Image, InUse: len(img.Uses) > 0, Now: now}) != plan.Yes
	})
	slices.SortStableFunc(inventory.Images, func(a, b session.ImageInfo) int {
		return cmp.Or(cmp.Compare(plan.Title(a.Image), plan.Title(b.Image)), cmp.Compare(a.ID, b.ID))
	})
	return inventory, nil
}

func (e *env) printIDs(images []session.ImageInfo) error {
	for _, img := range images {
		if _, err := fmt.Fprintln(e.Out, img.ID); err != nil {
			return err
		}
	}
	return nil
}

// imageTable has a row for each name, as crictl's has.
func imageTable(images []session.ImageInfo, full bool) *table.Table {
	id := table.ID
	if full {
		id = func(s string) string { return s }
	}
	unmeasured := !slices.ContainsFunc(images, func(img session.ImageInfo) bool { return img.DiskBytes > 0 })
	t := &table.Table{Columns: []table.Column{{Name: "IMAGE"}, {Name: "TAG"}, {Name: "ID", Yields: 2}, {Name: "DISK", Right: true, Wide: unmeasured},
		{Name: "PULL", Right: true, Yields: 1}, {Name: "USED BY"}, {Name: "FLAGS"}, {Name: "PULLED", Wide: true}, {Name: "DIGEST", Wide: true}}}
	now := time.Now()
	for _, img := range images {
		for _, row := range nameRows(img.Image) {
			t.Add(row.repository, row.tag, id(img.ID), table.Bytes(img.DiskBytes), table.Bytes(img.PullBytes), usedBy(img.Uses),
				flagLetters(img), table.Age(img.FirstSeen, now), id(row.digest))
		}
	}
	return t
}

type nameRow struct{ repository, tag, digest string }

func nameRows(img engine.Image) []nameRow {
	digestOf := func(repository string) string {
		for _, d := range img.Digests {
			if d.Repository() == repository {
				return d.Digest().String()
			}
		}
		return ""
	}
	var rows []nameRow
	for _, name := range plan.Names(img) {
		rows = append(rows, nameRow{name.Repository(), cmp.Or(name.Tag(), "<none>"), digestOf(name.Repository())})
	}
	if len(rows) == 0 {
		rows = []nameRow{{"<none>", "<none>", ""}}
	}
	return rows
}

// usedBy counts the pods, and the containers without one.
func usedBy(uses []engine.Use) string {
	pods, others := map[string]bool{}, 0
	for _, u := range uses {
		if u.Pod == "" {
			others++
		} else {
			pods[u.Pod] = true
		}
	}
	var parts []string
	if len(pods) > 0 {
		parts = append(parts, plural(len(pods), "pod"))
	}
	if others > 0 {
		parts = append(parts, plural(others, "container"))
	}
	return strings.Join(parts, ", ")
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func flagLetters(img session.ImageInfo) string {
	letters := ""
	if len(img.Uses) > 0 || img.Sandbox {
		letters += "U"
	}
	if img.Pinned {
		letters += "P"
	}
	return letters
}
