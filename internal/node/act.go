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

	// waveSize is how many images are looked at together, and then removed at once: few, so that each is looked at
	// just before its removal.
	waveSize = 4

	// maxWaves is how many waves are under way: enough to keep a runtime busy that writes every removal to disk.
	maxWaves = 3
)

// removeAll works through the removals in batches. What the look after a batch finds in use again gets its names back
// before the content goes. The next batch is opened while one is under way.
func (n *Node) removeAll(ctx context.Context, p plan.Plan, report func(session.Step)) error {
	var closing errgroup.Group
	closing.SetLimit(maxClosing)
	next := openAhead(ctx, n.Runtime, p.Remove)
	var err error
	for next != nil {
		now := <-next
		if err = cmp.Or(err, now.err); now.err != nil {
			break
		}
		if next = nil; len(now.later) > 0 && err == nil {
			next = openAhead(ctx, n.Runtime, now.later)
		}
		if err == nil {
			err = n.removeBatch(ctx, now, p.Options, report)
		}
		closing.Go(func() error { return closeBatch(ctx, now) })
	}
	return cmp.Or(err, closing.Wait())
}

// opened is a batch, what it is for, and what comes after.
type opened struct {
	engine.Batch
	removals, later []plan.Removal
	waveSize, waves int
	err             error
}

// openAhead opens a batch for the first removals. Whoever calls it receives the answer, and closes the batch.
func openAhead(ctx context.Context, rt engine.Interface, removals []plan.Removal) <-chan opened {
	size := min(len(removals), batchSize)
	b := opened{removals: removals[:size], later: removals[size:], waveSize: waveSize, waves: maxWaves}
	answer := make(chan opened, 1)
	go func() {
		if b.Batch, b.err = openBatch(ctx, rt, b.removals); b.err != nil {
			b.err = fmt.Errorf("preparing the removals: %w", b.err)
		}
		if _, final := b.Batch.(oneByOne); final {
			b.waveSize, b.waves = 1, 1 // Without a way back, each is looked at alone.
		}
		answer <- b
	}()
	return answer
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
func (n *Node) removeBatch(ctx context.Context, batch opened, o plan.Options, report func(session.Step)) error {
	steps := make([]session.Step, len(batch.removals))
	waves, going := errgroup.WithContext(ctx)
	waves.SetLimit(batch.waves)
	for at := 0; at < len(steps); at += batch.waveSize {
		end := min(at+batch.waveSize, len(steps))
		waves.Go(func() error {
			if going.Err() != nil {
				return ctx.Err() // Another wave has failed. Those that have begun come to their end.
			}
			return n.removeWave(ctx, batch, batch.removals[at:end], o, steps[at:end])
		})
	}
	err := waves.Wait()
	var removed []plan.Removal
	for i, step := range steps {
		switch {
		case step.State == "":
		case step.State == session.StateRemoved && len(batch.removals[i].Tags) == 0:
			removed = append(removed, batch.removals[i]) // Reported below: until the batch is closed it may come back.
		default:
			report(step)
		}
	}
	return cmp.Or(err, n.settle(ctx, batch, removed, o, report), ctx.Err())
}

// removeWave looks, and removes. An error means that nothing can be known any more, and ends the work.
func (n *Node) removeWave(ctx context.Context, batch engine.Batch, wave []plan.Removal, o plan.Options, steps []session.Step) error {
	var ids []string
	for _, r := range wave {
		ids = append(ids, r.Image.ID)
	}
	state, err := n.look(ctx, ids...)
	if err != nil {
		return err
	}
	var group sync.WaitGroup
	for i, r := range wave {
		group.Go(func() { steps[i] = removeOne(ctx, batch, state, r, o) })
	}
	group.Wait()
	return nil
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

// openBatch is the runtime's own batch, or removals one by one.
func openBatch(ctx context.Context, rt engine.Interface, removals []plan.Removal) (engine.Batch, error) {
	batcher, ok := engine.As[engine.Batcher](rt)
	if !ok {
		return oneByOne{rt}, nil
	}
	var images []engine.Image
	for _, r := range removals {
		images = append(images, r.Image)
	}
	return batcher.Batch(ctx, images...)
}

// oneByOne is a batch on a runtime without batches: each removal is final.
type oneByOne struct{ engine.Interface }

func (oneByOne) Restore(context.Context, string) error { return engine.Unsupported }
func (oneByOne) Close(context.Context) error           { return nil }
