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
// the runtime lets it, they are read while images go already. planned, if set, hears of the whole plan before on hears of any
// removal.
func (n *Node) PruneUnseen(ctx context.Context, req plan.PruneRequest, planned func(plan.Plan), on func(session.Step)) (session.Result, error) {
	if planned == nil {
		planned = func(plan.Plan) {}
	}
	measurer, ok := engine.As[engine.LateMeasurer](n.Runtime)
	if !ok || req.NeedsSizes() {
		p, err := n.PlanPrune(ctx, req)
		if err != nil {
			return session.Result{}, err
		}
		planned(p)
		return n.Act(ctx, p, on)
	}
	images, err := n.list(ctx)
	if err != nil {
		return session.Result{}, err
	}
	var (
		uses []engine.Use
		rest func(context.Context) error
		disk plan.Disk
	)
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() (err error) { uses, err = n.uses(groupCtx); return err })
	group.Go(func() (err error) { rest, err = measurer.MeasureLater(groupCtx, images); return err })
	group.Go(func() error { disk = n.disk(groupCtx); return nil })
	if err := group.Wait(); err != nil {
		return session.Result{}, err
	}
	state := n.state(slices.Clone(images), uses) // The rest is written into images.
	state.Disk = disk
	p := plan.Prune(state, req)
	p.Disk = disk
	sizes := n.readSizes(ctx, p, images, rest, planned)
	result, err := n.act(ctx, p, func(context.Context) plan.Disk { return disk }, sizes.of, on)
	_, sizesErr := sizes.wait()
	return result, errors.Join(err, sizesErr)
}

// sizes are what removals free, once that is known.
type sizes struct {
	wait func() (map[string]int64, error)
}

// of waits. That it is not known is told once, at the end.
func (s sizes) of(id string) int64 {
	frees, _ := s.wait()
	return frees[id]
}

// readSizes begins to read. Whoever calls has to wait for it.
func (n *Node) readSizes(ctx context.Context, p plan.Plan, images []engine.Image, rest func(context.Context) error, planned func(plan.Plan)) sizes {
	var reading errgroup.Group
	reading.Go(func() error { return rest(ctx) })
	return sizes{sync.OnceValues(func() (map[string]int64, error) {
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
