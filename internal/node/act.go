// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"fmt"
	"time"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/plan"
	"orlop.dev/orlop/internal/session"
)

// closeTimeout bounds the collection that ends a batch: unlinking the layers of hundreds of images takes long on a
// slow disk, and must be waited for even when whoever asked has gone.
const closeTimeout = 5 * time.Minute

// Act carries a plan out. Each image is looked at once more before its removal, by the rules that made the plan, and
// where the runtime has a way back, after it too. on, if set, hears of each image as it is done. The steps come back
// even with an error, which says why the rest was not tried.
func (n *Node) Act(ctx context.Context, p plan.Plan, on func(session.Step)) (session.Result, error) {
	var result session.Result
	report := func(step session.Step) {
		result.Steps = append(result.Steps, step)
		if on != nil {
			on(step)
		}
	}
	for _, name := range p.Absent {
		report(session.Step{Asked: name, State: session.StateAbsent, Message: "not on this node"})
	}
	for _, kept := range p.Keep {
		if kept.Reason != plan.ReasonNotSelected {
			report(keptStep(kept))
		}
	}
	if len(p.Remove) == 0 {
		return result, nil
	}
	result.DiskBefore = n.disk(ctx)
	err := n.removeAll(ctx, p, report)
	result.DiskAfter = n.disk(context.WithoutCancel(ctx))
	if result.DiskBefore.Capacity > 0 && result.DiskAfter.Capacity > 0 {
		freed := max(0, result.DiskBefore.Used-result.DiskAfter.Used)
		result.FreedBytes = &freed
	}
	return result, err
}

// removeAll works through the removals within one batch, so that the runtime collects once. What the look after a
// batch finds in use again gets its names back before the content goes.
func (n *Node) removeAll(ctx context.Context, p plan.Plan, report func(session.Step)) (err error) {
	batch, err := openBatch(ctx, n.Runtime)
	if err != nil {
		return fmt.Errorf("preparing the removals: %w", err)
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		if closeErr := batch.Close(closing); closeErr != nil && err == nil {
			err = fmt.Errorf("freeing the space of what was removed: %w", closeErr)
		}
	}()
	var removed []plan.Removal
	for _, r := range p.Remove {
		step, err := n.removeOne(ctx, batch, r, p.Options)
		if err != nil {
			return err
		}
		if step.State == session.StateRemoved && len(r.Tags) == 0 {
			removed = append(removed, r)
			continue // Reported below: until the batch is closed it may come back.
		}
		report(step)
	}
	return n.settle(ctx, batch, removed, p.Options, report)
}

// removeOne looks, and removes. An error means that nothing can be known any more, and ends the work.
func (n *Node) removeOne(ctx context.Context, batch engine.Batch, r plan.Removal, o plan.Options) (session.Step, error) {
	if err := ctx.Err(); err != nil {
		return session.Step{}, err
	}
	state, err := n.look(ctx, r.Image.ID)
	if err != nil {
		return session.Step{}, err
	}
	kept, hold, gone := plan.Recheck(state, r, o)
	switch {
	case gone:
		return session.Step{Asked: plan.Title(r.Image), State: session.StateAbsent, ID: r.Image.ID, Message: "somebody else removed it"}, nil
	case hold:
		return keptStep(kept), nil
	}
	err = batch.Remove(ctx, engine.RemoveRequest{Image: state.Images[0], Tags: r.Tags, Force: o.Force})
	switch engine.ReasonOf(err) {
	case "":
		return removedStep(r), nil
	case engine.InUse:
		return keptStep(plan.Kept{Image: r.Image, Reason: plan.ReasonInUse, Message: err.Error()}), nil
	default:
		return session.Step{Asked: plan.Title(r.Image), State: session.StateFailed, ID: r.Image.ID, Names: r.Names(),
			Reason: string(engine.ReasonOf(err)), Message: err.Error()}, nil
	}
}

// settle looks after the removals: an image that something began to use in the meantime is put back.
func (n *Node) settle(ctx context.Context, batch engine.Batch, removed []plan.Removal, o plan.Options, report func(session.Step)) error {
	if len(removed) == 0 {
		return nil
	}
	ctx = context.WithoutCancel(ctx) // What was removed is settled also for someone who has gone.
	uses, err := n.Runtime.Uses(ctx)
	state := plan.State{Uses: uses, Needs: n.needs(), Now: n.now()}
	for _, r := range removed {
		state.Images = []engine.Image{r.Image}
		kept, hold, _ := plan.Recheck(state, r, o)
		if err != nil {
			kept, hold = plan.Kept{Image: r.Image, Reason: plan.ReasonChanged, Message: "what is in use could not be seen: " + err.Error()}, true
		}
		if !hold || kept.Reason == plan.ReasonStaleNeeds {
			report(removedStep(r))
			continue
		}
		switch restoreErr := batch.Restore(ctx, r.Image.ID); engine.ReasonOf(restoreErr) {
		case "":
			kept.Message += "; it was put back"
			report(keptStep(kept))
		case engine.Unsupported:
			step := removedStep(r)
			step.Message = kept.Message + " since it was removed; this runtime has no way back"
			report(step)
		default:
			report(session.Step{Asked: plan.Title(r.Image), State: session.StateFailed, ID: r.Image.ID, Names: texts(r.Image.Tags),
				Reason: string(engine.ReasonOf(restoreErr)), Message: kept.Message + ", and putting it back did not work: " + restoreErr.Error()})
		}
	}
	return err
}

func keptStep(k plan.Kept) session.Step {
	return session.Step{Asked: plan.Title(k.Image), State: session.StateKept, ID: k.Image.ID, Names: texts(k.Image.Tags),
		Reason: string(k.Reason), Message: k.Message}
}

func removedStep(r plan.Removal) session.Step {
	return session.Step{Asked: plan.Title(r.Image), State: session.StateRemoved, ID: r.Image.ID, Names: r.Names(), Bytes: r.FreesBytes}
}

func texts(names []oci.Ref) []string {
	var all []string
	for _, name := range names {
		all = append(all, name.String())
	}
	return all
}

// openBatch is the runtime's own batch, or removals one by one.
func openBatch(ctx context.Context, rt engine.Interface) (engine.Batch, error) {
	if b, ok := engine.As[engine.Batcher](rt); ok {
		return b.Batch(ctx)
	}
	return oneByOne{rt}, nil
}

// oneByOne is a batch on a runtime without batches: each removal is final.
type oneByOne struct{ engine.Interface }

func (oneByOne) Restore(context.Context, string) error { return engine.Unsupported }
func (oneByOne) Close(context.Context) error           { return nil }
