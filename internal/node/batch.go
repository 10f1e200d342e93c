// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/plan"
	"orlop.dev/orlop/internal/session"
)

const (
	// batchSize bounds how many images go between two garbage collections, and so how many may have to be put back.
	batchSize = 128

	// waveSize is how many images are looked at together and then removed at once: few, so that each is looked at
	// just before its removal, and no fewer, since each look costs the runtime as much as some removals. maxWaves is how
	// many waves are under way: one is looked at while the other goes, which keeps a runtime busy that writes every
	// removal to disk. On containerd both together take less than a tenth of a second on an idle machine.
	waveSize = 16
	maxWaves = 2

	// settleTimeout bounds the looks after a batch and the way back, also for someone who has gone.
	settleTimeout = 2 * time.Minute

	// closeTimeout bounds the collection that ends a batch: unlinking the layers of a hundred images takes long on a
	// slow disk, and must be waited for even when whoever asked has gone.
	closeTimeout = 5 * time.Minute
)

// attempt is one removal, and what became of it.
type attempt struct {
	plan.Removal
	step session.Step
	// tried: the runtime was told to, so that names may be gone whatever it answered.
	tried bool
}

// removeAll works through the removals in batches.
func (n *Node) removeAll(ctx context.Context, p plan.Plan, report func(session.Step)) error {
	for removals := range slices.Chunk(p.Remove, batchSize) {
		if n.ending() {
			return nil
		}
		if err := n.removeBatch(ctx, removals, p.Options, report); err != nil {
			return err
		}
	}
	return nil
}

// removeBatch removes, looks after it, also at what went before an error, and lets the content go.
func (n *Node) removeBatch(ctx context.Context, removals []plan.Removal, o plan.Options, report func(session.Step)) (err error) {
	// No look at images may come before this: a name that came between the two would go with the others.
	batch, err := openBatch(ctx, n.Runtime, removals)
	if err != nil {
		return fmt.Errorf("preparing the removals: %w", err)
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		if closeErr := batch.Close(closing); closeErr != nil {
			err = cmp.Or(err, fmt.Errorf("freeing the space of what was removed: %w", closeErr))
		}
	}()
	attempts := make([]attempt, len(removals))
	for i, r := range removals {
		attempts[i].Removal = r
	}
	err = n.removeWaves(ctx, batch, attempts, o)
	return cmp.Or(err, n.settle(ctx, batch, attempts, o, report), ctx.Err())
}

func (n *Node) removeWaves(ctx context.Context, batch engine.Batch, attempts []attempt, o plan.Options) error {
	size, limit := waveSize, maxWaves
	if _, final := batch.(oneByOne); final {
		size, limit = 1, 1 // Without a way back, each is looked at alone.
	}
	waves, going := errgroup.WithContext(ctx)
	waves.SetLimit(limit)
	for wave := range slices.Chunk(attempts, size) {
		waves.Go(func() error {
			if going.Err() != nil || n.ending() {
				return ctx.Err() // Another wave has failed. Those that have begun come to their end.
			}
			return n.removeWave(ctx, batch, wave, o)
		})
	}
	return waves.Wait()
}

// removeWave looks, and removes. An error means that nothing can be known any more, and ends the work.
func (n *Node) removeWave(ctx context.Context, batch engine.Batch, wave []attempt, o plan.Options) error {
	var ids []string
	for _, a := range wave {
		ids = append(ids, a.Image.ID)
	}
	state, err := n.look(ctx, ids...)
	if err != nil {
		return err
	}
	var all errgroup.Group
	for i := range wave {
		all.Go(func() error {
			wave[i].remove(ctx, batch, state, o)
			return nil
		})
	}
	return all.Wait()
}

// remove looks at the state of this moment, and removes.
func (a *attempt) remove(ctx context.Context, batch engine.Batch, state plan.State, o plan.Options) {
	kept, hold, gone := plan.Recheck(state, a.Removal, o)
	switch {
	case gone:
		a.step = session.Step{Asked: plan.Title(a.Image), State: session.StateAbsent, ID: a.Image.ID, Message: "somebody else removed it"}
		return
	case hold:
		a.step = keptStep(kept)
		return
	}
	at := slices.IndexFunc(state.Images, func(img engine.Image) bool { return img.ID == a.Image.ID })
	a.tried = true
	began := time.Now()
	defer func() { a.step.TookSeconds = time.Since(began).Seconds() }()
	err := batch.Remove(ctx, engine.RemoveRequest{Image: state.Images[at], Tags: a.Tags, Force: o.Force})
	switch engine.ReasonOf(err) {
	case "":
		a.step = removedStep(a.Removal)
	case engine.InUse:
		a.step = keptStep(plan.Kept{Image: a.Image, Reason: plan.ReasonInUse, Message: err.Error()})
	default:
		a.fail(err)
	}
}

func (a *attempt) fail(err error) {
	a.step = session.Step{Asked: plan.Title(a.Image), State: session.StateFailed, ID: a.Image.ID, Names: a.Names(),
		Reason: string(engine.ReasonOf(err)), Message: err.Error()}
}

// settle looks whether the removals are as the runtime says, and at what is in use now, and puts back what somebody has
// begun to need in the meantime. What did not work is put back too: its names may be gone all the same.
func (n *Node) settle(ctx context.Context, batch engine.Batch, attempts []attempt, o plan.Options, report func(session.Step)) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	// Until the list shows what was removed, somebody may still begin to use it: who uses it is asked after that.
	untrue, unseen := batch.Settle(ctx)
	var uses []engine.Use
	look := func() (err error) { uses, err = n.Runtime.Uses(ctx); return err }
	var err error
	if _, final := batch.(oneByOne); final { // Without a way back there is nothing to wait for.
		err = look()
	} else {
		err = patiently(ctx, look)
	}
	state := plan.State{Uses: uses, Needs: n.needs(), Now: n.now()}
	for i := range attempts {
		a := &attempts[i]
		if failed := cmp.Or(unseen, untrue[a.Image.ID]); failed != nil && a.step.State == session.StateRemoved {
			a.fail(failed)
		}
		switch {
		case !a.tried:
		case a.step.State != session.StateRemoved:
			a.putBack(ctx, batch, a.step)
		default: // A single name too: a pod may need the very name.
			state.Images = []engine.Image{a.Image}
			kept, hold, _ := plan.Recheck(state, a.Removal, o)
			if err != nil {
				kept, hold = plan.Kept{Image: a.Image, Reason: plan.ReasonChanged, Message: "what is in use could not be seen: " + err.Error()}, true
			}
			if hold {
				a.putBack(ctx, batch, keptStep(kept))
			}
		}
		if a.step.State != "" {
			report(a.step)
		}
	}
	return err
}

// putBack restores the image, and says so in the step that tells why.
func (a *attempt) putBack(ctx context.Context, batch engine.Batch, why session.Step) {
	err := patiently(ctx, func() error { return batch.Restore(ctx, a.Image.ID) })
	removed := a.step.State == session.StateRemoved
	switch {
	case err == nil:
		a.step = why
		if removed {
			a.step.Message += "; it was put back"
		}
	case errors.Is(err, engine.Unsupported) && removed:
		a.step.Message = why.Message + " since it was removed; this runtime has no way back"
	case errors.Is(err, engine.Unsupported): // It failed, and what it did not do needs no way back.
	default:
		a.fail(fmt.Errorf("%s, and putting it back failed: %w", why.Message, err))
	}
}

// awayPause is between two questions to a runtime that is away.
const awayPause = 250 * time.Millisecond

// patiently asks again while the runtime is away: its restart takes seconds, and what a batch holds is held for minutes.
func patiently(ctx context.Context, ask func() error) error {
	for {
		err := ask()
		if !errors.Is(err, engine.RuntimeUnavailable) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(awayPause):
		}
	}
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
	batch, err := batcher.Batch(ctx, images...)
	if errors.Is(err, engine.Unsupported) {
		return oneByOne{rt}, nil // On a disk without any room, not even a hold can be written down.
	}
	return batch, err
}

// oneByOne is a batch on a runtime without batches: each removal is final.
type oneByOne struct{ engine.Interface }

// Settle has nothing to look for: Interface.Remove has done so already.
func (oneByOne) Settle(context.Context) (map[string]error, error) { return nil, nil }

// Restore is what is lacking.
func (oneByOne) Restore(context.Context, string) error { return engine.Unsupported }

// Close has nothing to let go.
func (oneByOne) Close(context.Context) error { return nil }
