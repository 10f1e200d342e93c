// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package nodecli

import (
	"fmt"
	"time"

	"orlop.dev/orlop/internal/plan"
	"orlop.dev/orlop/internal/session"
	"orlop.dev/orlop/internal/table"
)

func dfTable(inventory session.Inventory) *table.Table {
	t := &table.Table{Columns: []table.Column{{Name: "RUNTIME"}, {Name: "IMAGEFS", Right: true}, {Name: "USED", Right: true}, {Name: "IMAGES", Right: true},
		{Name: "IN USE", Right: true}, {Name: "RECLAIMABLE", Right: true}, {Name: "INODES", Right: true, Yields: 1}}}
	used := 0
	for _, img := range inventory.Images {
		if len(img.Uses) > 0 || img.Sandbox {
			used++
		}
	}
	disk := inventory.Disk
	t.Add(inventory.Runtime.Name+" "+inventory.Runtime.Version, table.Bytes(disk.Capacity), withPercent(disk.Capacity-disk.Available, disk.Capacity),
		fmt.Sprint(len(inventory.Images)), fmt.Sprint(used), withPercent(inventory.ReclaimableBytes, disk.Capacity), percent(disk.InodesUsed, disk.Inodes))
	return t
}

func withPercent(part, whole int64) string {
	if whole == 0 {
		return table.Bytes(part)
	}
	return table.Size(part) + " (" + percent(part, whole) + ")"
}

func percent(part, whole int64) string {
	if whole == 0 {
		return ""
	}
	return fmt.Sprintf("%.0f %%", 100*float64(part)/float64(whole))
}

func dfImageTable(inventory session.Inventory) *table.Table {
	t := &table.Table{Columns: []table.Column{{Name: "IMAGE"}, {Name: "ID", Yields: 1}, {Name: "DISK", Right: true}, {Name: "SHARED", Right: true, Yields: 2},
		{Name: "UNIQUE", Right: true}, {Name: "USED BY"}, {Name: "LAST USED"}}}
	for _, img := range inventory.Images {
		last := table.Age(img.LastUsed, time.Now())
		if len(img.Uses) > 0 {
			last = "now"
		}
		t.Add(plan.Title(img.Image), table.ID(img.ID), table.Bytes(img.DiskBytes), table.Bytes(max(0, img.DiskBytes-img.UniqueBytes)),
			table.Bytes(img.UniqueBytes), usedBy(img.Uses), last)
	}
	return t
}
