// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package jobrun

import (
	"context"
	"strings"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/fleet"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/operator"
	"orlop.dev/orlop/internal/plan"
	"orlop.dev/orlop/internal/session"
)

// hundredths: an answer has how full the disk is in hundredths of a percent.
const hundredths = 10000

// enrich adds to plans and results what answers leave out, and the nodes' inventories have: the disk, and since when images are there.
// Without them, that is left out.
func (r *run) enrich(ctx context.Context) {
	if !r.job.Removes {
		return
	}
	if r.inventories == nil && ctx.Err() == nil {
		var names []string
		for _, o := range r.outcomes {
			names = append(names, o.Node.Name)
		}
		r.inventories, _ = r.cfg.Client.Inventories(ctx, names)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.outcomes {
		o := &r.outcomes[i]
		var found session.Inventory
		if inventory := r.inventories[o.Node.Name]; inventory != nil {
			found = operator.FromInventory(inventory.Status)
			o.Socket = strings.TrimPrefix(found.Runtime.Endpoint, "unix://")
		}
		if o.Plan != nil && o.Plan.Disk == (plan.Disk{}) {
			describe(o.Plan, found)
		}
		if answer := r.disks[o.Node.Name]; o.Result != nil && answer != [2]int32{} {
			o.Result.DiskBefore, o.Result.DiskAfter = diskAt(found.Disk, answer[0]), diskAt(found.Disk, answer[1])
		}
	}
}

// diskAt is a disk that is so full. Of one whose size is not known, only that is right.
func diskAt(of plan.Disk, full int32) plan.Disk {
	capacity := of.Capacity
	if capacity == 0 {
		capacity = hundredths
	}
	available := int64(float64(capacity) * float64(hundredths-full) / hundredths)
	return plan.Disk{Capacity: capacity, Used: capacity - available, Available: available}
}

func describe(p *plan.Plan, found session.Inventory) {
	p.Disk = found.Disk
	byID := map[string]*engine.Image{}
	for i := range found.Images {
		byID[found.Images[i].ID] = &found.Images[i].Image
	}
	for i := range p.Remove {
		describeImage(&p.Remove[i].Image, byID)
	}
	for i := range p.Keep {
		describeImage(&p.Keep[i].Image, byID)
	}
	var images []engine.Image
	for i := range found.Images {
		images = append(images, found.Images[i].Image)
	}
	for _, absent := range p.Absent {
		target, err := oci.ParseTarget(absent)
		if err != nil {
			continue
		}
		if tags := plan.Near(images, target); len(tags) > 0 {
			if p.Near == nil {
				p.Near = map[string][]string{}
			}
			p.Near[absent] = tags
		}
	}
}

func describeImage(image *engine.Image, byID map[string]*engine.Image) {
	if known := byID[image.ID]; known != nil {
		image.Digests, image.Pinned, image.PullBytes, image.DiskBytes = known.Digests, known.Pinned, known.PullBytes, known.DiskBytes
		image.FirstSeen, image.LastUsed = known.FirstSeen, known.LastUsed
	}
}

// fullness keeps how full a node's disk was before and after.
func (r *run) fullness(o *fleet.Outcome, answer *v1alpha1.StoreJobStatus) {
	if r.disks == nil {
		r.disks = map[string][2]int32{}
	}
	r.disks[o.Node.Name] = [2]int32{answer.DiskBefore, answer.DiskAfter}
}
