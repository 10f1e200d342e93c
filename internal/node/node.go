// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package node does what is asked of one machine: it looks, lets plan decide, acts, and says what it did. The verbs
// of orlop-node, the short-lived pods of kubectl-orlop and the agent are thin layers over it.
package node

import (
	"context"
	"fmt"
	goruntime "runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/plan"
	"orlop.dev/orlop/internal/session"
)

// Node is one machine with its container runtime. Only Runtime is required.
type Node struct {
	Runtime engine.Interface
	// Needs gives the newest that is known of what the cluster needs here; nil: nothing can be known.
	Needs func() plan.Needs
	// Now is the clock; nil is the real one.
	Now func() time.Time
	// Disk measures the file system that holds a folder of the host; nil is MeasureDisk.
	Disk func(imageFS string) plan.Disk
	// Ending, if set, tells that no removal is to be begun any more. Those under way come to their end.
	Ending func() bool
}

func (n *Node) ending() bool { return n.Ending != nil && n.Ending() }

func (n *Node) now() time.Time {
	if n.Now != nil {
		return n.Now()
	}
	return time.Now()
}

func (n *Node) needs() plan.Needs {
	if n.Needs != nil {
		return n.Needs()
	}
	return plan.Needs{}
}

// disk is how full the file system of the images is, zero where it cannot be seen.
func (n *Node) disk(ctx context.Context) plan.Disk {
	described, err := n.Runtime.Describe(ctx)
	if err != nil {
		return plan.Disk{}
	}
	return n.diskAt(described.ImageFS)
}

func (n *Node) diskAt(imageFS string) plan.Disk {
	if n.Disk != nil {
		return n.Disk(imageFS)
	}
	return MeasureDisk(imageFS)
}

// look is the state of the machine, or of the images with the given ids.
func (n *Node) look(ctx context.Context, ids ...string) (plan.State, error) {
	images, err := n.list(ctx, ids...)
	if err != nil {
		return plan.State{}, err
	}
	uses, err := n.uses(ctx)
	if err != nil {
		return plan.State{}, err
	}
	return n.state(images, uses), nil
}

func (n *Node) list(ctx context.Context, ids ...string) ([]engine.Image, error) {
	images, err := n.Runtime.List(ctx, ids...)
	if err != nil {
		return nil, fmt.Errorf("listing the images: %w", err)
	}
	return images, nil
}

// measured is look with what each image takes on disk.
func (n *Node) measured(ctx context.Context) (plan.State, error) {
	images, err := n.list(ctx)
	if err != nil {
		return plan.State{}, err
	}
	var uses []engine.Use
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() (err error) { uses, err = n.uses(groupCtx); return err })
	if measurer, ok := engine.As[engine.Measurer](n.Runtime); ok {
		group.Go(func() error { return measurer.Measure(groupCtx, images) })
	}
	if err := group.Wait(); err != nil {
		return plan.State{}, err
	}
	return n.state(images, uses), nil
}

// uses is never empty because of a failure.
func (n *Node) uses(ctx context.Context) ([]engine.Use, error) {
	uses, err := n.Runtime.Uses(ctx)
	if err != nil {
		return nil, fmt.Errorf("looking which images are in use: %w", err)
	}
	return uses, nil
}

func (n *Node) state(images []engine.Image, uses []engine.Use) plan.State {
	return plan.State{Images: images, Uses: uses, Needs: n.needs(), Now: n.now()}
}

// Glance gives what is known of this machine's images without measuring them, where that costs more than a list.
func (n *Node) Glance(ctx context.Context) (session.Inventory, error) {
	return n.inventory(ctx, func(ctx context.Context) (plan.State, error) { return n.look(ctx) })
}

// Look gives everything that is known of this machine's images.
func (n *Node) Look(ctx context.Context) (session.Inventory, error) {
	return n.inventory(ctx, n.measured)
}

func (n *Node) inventory(ctx context.Context, look func(context.Context) (plan.State, error)) (session.Inventory, error) {
	described, err := n.Runtime.Describe(ctx)
	if err != nil {
		return session.Inventory{}, err
	}
	state, err := look(ctx)
	if err != nil {
		return session.Inventory{}, err
	}
	inventory := session.Inventory{
		Runtime:          described,
		Platform:         goruntime.GOOS + "/" + goruntime.GOARCH,
		Disk:             n.diskAt(described.ImageFS),
		Images:           []session.ImageInfo{},
		ReclaimableBytes: plan.Reclaimable(state),
	}
	uses, unique := plan.UsesOf(state), plan.Unique(state.Images)
	for _, img := range state.Images {
		inventory.Images = append(inventory.Images, session.ImageInfo{Image: img, Uses: uses[img.ID], UniqueBytes: unique[img.ID]})
	}
	return inventory, nil
}

// PlanRemove plans a removal by name.
func (n *Node) PlanRemove(ctx context.Context, req plan.RemoveRequest) (plan.Plan, error) {
	state, err := n.measured(ctx)
	if err != nil {
		return plan.Plan{}, err
	}
	planned := plan.Remove(state, req)
	planned.Disk = n.disk(ctx)
	return planned, nil
}

// PlanPrune plans the removal of what nothing needs.
func (n *Node) PlanPrune(ctx context.Context, req plan.PruneRequest) (plan.Plan, error) {
	state, err := n.measured(ctx)
	if err != nil {
		return plan.Plan{}, err
	}
	state.Disk = n.disk(ctx)
	planned := plan.Prune(state, req)
	planned.Disk = state.Disk
	return planned, nil
}
