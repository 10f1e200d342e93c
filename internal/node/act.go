// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

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

const (
	// batchSize is how many images go between one look after removals and the next. While one batch's content is
	// collected, the next one's names go already; fewer images in each would make for more collections.
	batchSize = 32

	// maxClosing bounds the collections that have not ended, so that a slow disk holds up the removals.
	maxClosing = 2

	// waveSize is how many images are looked at together, and then removed at once: few enough that each is looked at
	// just before its removal, and enough to keep a runtime busy that writes every removal to disk.
	waveSize = 8
)

// removeAll works through the removals in batches. What the look after a batch finds in use again gets its names back
// before the content goes.
func (n *Node) removeAll(ctx context.Context, p plan.Plan, report func(session.Step)) error {
	var closing errgroup.Group
	closing.SetLimit(maxClosing)
	var err error
	for removals := range slices.Chunk(p.Remove, batchSize) {
		var batch engine.Batch
		var size int
		if batch, size, err = openBatch(ctx, n.Runtime); err != nil {
			err = fmt.Errorf("preparing the removals: %w", err)
			break
		}
		err = n.removeBatch(ctx, batch, size, removals, p.Options, report)
		closing.Go(func() error { return closeBatch(ctx, batch) })
		if err != nil {
			break
		}
	}
	return cmp.Or(err, closing.Wait())
}

func closeBatch(ctx context.Context, batch engine.Batch) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	if err := batch.Close(ctx); err != nil {
		return fmt.Errorf("freeing the space of what was removed: %w", err)
	}
	return nil
}

// removeBatch removes, and looks after it, also at what went before an error.
func (n *Node) removeBatch(ctx context.Context, batch engine.Batch, size int, removals []plan.Removal, o plan.Options, report func(session.Step)) error {
	var removed []plan.Removal
	var err error
	for wave := range slices.Chunk(removals, size) {
		var steps []session.Step
		if steps, err = n.removeWave(ctx, batch, wave, o); err != nil {
			break
		}
		for i, step := range steps {
			if step.State == session.StateRemoved && len(wave[i].Tags) == 0 {
				removed = append(removed, wave[i])
				continue // Reported below: until the batch is closed it may come back.
			}
			report(step)
		}
	}
	return cmp.Or(err, n.settle(ctx, batch, removed, o, report), ctx.Err())
}

// removeWave looks, and removes. An error means that nothing can be known any more, and ends the work.
func (n *Node) removeWave(ctx context.Context, batch engine.Batch, wave []plan.Removal, o plan.Options) ([]session.Step, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var ids []string
	for _, r := range wave {
		ids = append(ids, r.Image.ID)
	}
	state, err := n.look(ctx, ids...)
	if err != nil {
		return nil, err
	}
	steps := make([]session.Step, len(wave))
	var group sync.WaitGroup
	for i, r := range wave {
		group.Go(func() { steps[i] = removeOne(ctx, batch, state, r, o) })
	}
	group.Wait()
	return steps, nil
}

func removeOne(ctx context.Context, batch engine.Batch, state plan.State, r plan.Removal, o plan.Options) session.Step {
	kept, hold, gone := plan.Recheck(state, r, o)
	switch {
	case gone:
		return session.Step{Asked: plan.Title(r.Image), State: session.StateAbsent, ID: r.Image.ID, Message: "somebody else removed it"}
	case hold:
		return keptStep(kept)
	}
	at := slices.IndexFunc(state.Images, func(img engine.Image) bool { return img.ID == r.Image.ID })
	err := batch.Remove(ctx, engine.RemoveRequest{Image: state.Images[at], Tags: r.Tags, Force: o.Force})
	switch engine.ReasonOf(err) {
	case "":
		return removedStep(r)
	case engine.InUse:
		return keptStep(plan.Kept{Image: r.Image, Reason: plan.ReasonInUse, Message: err.Error()})
	default:
		return session.Step{Asked: plan.Title(r.Image), State: session.StateFailed, ID: r.Image.ID, Names: r.Names(),
			Reason: string(engine.ReasonOf(err)), Message: err.Error()}
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

// openBatch is the runtime's own batch, or removals one by one, and how many images may be removed at once. Without a
// way back, each is looked at alone.
func openBatch(ctx context.Context, rt engine.Interface) (batch engine.Batch, atOnce int, err error) {
	if b, ok := engine.As[engine.Batcher](rt); ok {
		batch, err = b.Batch(ctx)
		return batch, waveSize, err
	}
	return oneByOne{rt}, 1, nil
}

// oneByOne is a batch on a runtime without batches: each removal is final.
type oneByOne struct{ engine.Interface }

func (oneByOne) Restore(context.Context, string) error { return engine.Unsupported }
func (oneByOne) Close(context.Context) error           { return nil }
