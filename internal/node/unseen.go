// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/plan"
	"orlop.dev/orlop/internal/session"
)

// PruneUnseen is PlanPrune and Act for a plan that nobody looks at in between. Where the plan does not depend on sizes, and
// the runtime lets it, they are read while images go already, and only of those. planned, if set, hears of the whole plan before on
// hears of any removal; what is kept may have no sizes there.
func (n *Node) PruneUnseen(ctx context.Context, req plan.PruneRequest, planned func(plan.Plan), on func(session.Step)) (session.Result, error) {
	if planned == nil {
		planned = func(plan.Plan) {}
	}
	if _, ok := engine.As[engine.Batcher](n.Runtime); !ok || req.NeedsSizes() {
		return n.pruneMeasured(ctx, req, nil, planned, on)
	}
	seen, err := n.groundwork(ctx)
	if err != nil {
		return session.Result{}, err
	}
	measurer, ok := engine.BatchAs[engine.LateMeasurer](seen.batch)
	if !ok {
		return n.pruneMeasured(ctx, req, seen.batch, planned, on)
	}
	rest, err := measurer.MeasureLater(ctx, seen.images)
	if err != nil {
		return session.Result{}, errors.Join(err, closeBatch(ctx, seen.batch))
	}
	state := n.state(slices.Clone(seen.images), seen.uses) // The rest is written into seen.images.
	state.Disk = seen.disk
	p := plan.Prune(state, req)
	p.Disk = seen.disk
	sizes := readSizes(ctx, p, seen.images, rest, planned)
	result, err := n.act(ctx, p, errand{
		disk:  func(context.Context) plan.Disk { return seen.disk },
		frees: sizes.of, first: seen.batch, going: sizes.begin,
	}, on)
	_, sizesErr := sizes.wait()
	return result, errors.Join(err, sizesErr)
}

// pruneMeasured measures everything before it plans, and acts. A batch may be open already.
func (n *Node) pruneMeasured(ctx context.Context, req plan.PruneRequest, opened engine.Batch, planned func(plan.Plan), on func(session.Step)) (session.Result, error) {
	p, err := n.PlanPrune(ctx, req)
	if err != nil {
		return session.Result{}, errors.Join(err, closeBatch(ctx, opened))
	}
	planned(p)
	return n.act(ctx, p, errand{disk: n.disk, first: opened}, on)
}

// groundwork is what has to be known to choose, and what comes with it at no cost.
type groundwork struct {
	images []engine.Image
	uses   []engine.Use
	disk   plan.Disk
	batch  engine.Batch // opened, since something is to go most often; nil: it could not be
}

// groundwork looks, while a batch is opened, which waits for the disk.
func (n *Node) groundwork(ctx context.Context) (seen groundwork, err error) {
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() (err error) { seen.images, err = n.list(groupCtx); return err })
	group.Go(func() (err error) { seen.uses, err = n.uses(groupCtx); return err })
	group.Go(func() error { seen.disk = n.disk(groupCtx); return nil })
	group.Go(func() error {
		// Another try is made, and its error told, where something is to go. No failure beside it breaks it off: what it holds
		// has to be known to be let go.
		seen.batch, _ = n.openBatch(ctx)
		return nil
	})
	if err := group.Wait(); err != nil {
		return groundwork{}, errors.Join(err, closeBatch(ctx, seen.batch))
	}
	return seen, nil
}

// sizes are what removals free, once that is known.
type sizes struct {
	begin func()
	wait  func() (map[string]int64, error)
}

// of waits. That it is not known is told once, at the end.
func (s sizes) of(id string) int64 {
	frees, _ := s.wait()
	return frees[id]
}

// readSizes does the rest of the measuring from when it is told to begin. Whoever calls has to wait for it.
func readSizes(ctx context.Context, p plan.Plan, images []engine.Image, rest func(context.Context, ...string) error, planned func(plan.Plan)) sizes {
	var going []string
	for _, r := range p.Remove {
		going = append(going, r.Image.ID)
	}
	var reading errgroup.Group
	begin := sync.OnceFunc(func() { reading.Go(func() error { return rest(ctx, going...) }) })
	return sizes{begin, sync.OnceValues(func() (map[string]int64, error) {
		begin()
		err := reading.Wait()
		if err == nil {
			p = plan.Sized(p, images)
		}
		planned(p)
		frees := map[string]int64{}
		for _, r := range p.Remove {
			frees[r.Image.ID] = r.FreesBytes
		}
		return frees, err
	})}
}
