// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/plan"
	"orlop.dev/orlop/internal/session"
)

const (
	// maxBatch is how many images at most are looked at together and then go at once, between two garbage collections. On
	// containerd that takes a fifth of a second on an idle machine.
	maxBatch = 50

	// maxUnderWay is how many batches are under way: one is opened, one loses its names, one is collected. What a slow disk
	// does not collect in time holds up the others, so that no more than two may ever have to be put back.
	maxUnderWay = 3

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

// row is the removals of one batch.
type row struct {
	batch    engine.Batch
	attempts []attempt
	options  plan.Options
	// begin is called once its images were looked at: their names go from now on. begun is closed then.
	begin func()
	begun chan struct{}
}

// removeAll works through the removals in batches, which move as on a belt: while the names of one go, the next is
// opened, and the one before is looked after and lets its content go. The runtime waits for the disk in each of these; while
// images are looked at, nothing else is asked of it. An error stops the belt; whatever is on it comes to its end.
func (n *Node) removeAll(ctx context.Context, p plan.Plan, e errand, report func(session.Step)) error {
	moving, stop := context.WithCancel(ctx)
	defer stop()
	stages, moving := errgroup.WithContext(moving)
	b := &belt{
		node: n, first: e.first, room: semaphore.NewWeighted(maxUnderWay),
		opened: make(chan *row), gone: make(chan *row), seen: make(chan *row, maxUnderWay),
	}
	stages.Go(func() error { return b.open(ctx, moving, p, e) })
	stages.Go(func() error { return b.remove(ctx, moving) })
	stages.Go(func() error { return b.lookAfter(ctx, stop) })
	stages.Go(func() error { return b.tellAndClose(ctx, stop, report) })
	err := stages.Wait()
	err = cmp.Or(err, closeBatch(ctx, b.first))
	return cmp.Or(b.unseen, err, ctx.Err()) // What else failed follows from what could not be seen.
}

// belt is where batches are.
type belt struct {
	node   *Node
	first  engine.Batch // opened before there was a belt; nil: none, or it is on it
	room   *semaphore.Weighted
	opened chan *row
	gone   chan *row // their names are
	seen   chan *row // looked after
	unseen error     // why one could not be looked after
}

// open opens batches while the belt moves.
func (b *belt) open(ctx, moving context.Context, p plan.Plan, e errand) error {
	defer close(b.opened)
	for removals := range slices.Chunk(p.Remove, evenly(len(p.Remove), maxBatch)) {
		if b.room.Acquire(moving, 1) != nil || moving.Err() != nil || b.node.ending() {
			return ctx.Err()
		}
		r, err := b.openRow(ctx, removals)
		if err != nil {
			return err
		}
		r.options = p.Options
		r.begin = sync.OnceFunc(func() { close(r.begun); e.tellGoing() })
		select {
		case b.opened <- r:
		case <-moving.Done():
			return cmp.Or(closeBatch(ctx, r.batch), ctx.Err())
		}
		<-r.begun
	}
	return nil
}

func (b *belt) remove(ctx, moving context.Context) error {
	defer close(b.gone)
	for r := range b.opened {
		err := b.node.removeRow(ctx, moving, r)
		b.gone <- r // Also what went before an error is looked after.
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *belt) lookAfter(ctx context.Context, stop func()) error {
	defer close(b.seen)
	for r := range b.gone {
		if err := b.node.lookAfter(ctx, r); err != nil {
			b.unseen = cmp.Or(b.unseen, err)
			stop()
		}
		b.seen <- r // It has room for all: whoever hears of them may be slow, and the next is looked after all the same.
	}
	return b.unseen
}

func (b *belt) tellAndClose(ctx context.Context, stop func(), report func(session.Step)) error {
	var closing errgroup.Group
	for r := range b.seen {
		r.tell(report)
		closing.Go(func() error {
			defer b.room.Release(1)
			err := closeBatch(ctx, r.batch)
			if err != nil {
				stop()
			}
			return err
		})
	}
	return closing.Wait()
}

// evenly is the size of the fewest parts of all that are no larger than most: of a hundred, two of fifty.
func evenly(all, most int) int {
	parts := max(1, (all+most-1)/most)
	return (all + parts - 1) / parts
}

// openRow opens a batch. No look at its images may come before: a name that came between the two would go with the others.
// Where the disk has no room to hold anything, what is under way makes some first.
func (b *belt) openRow(ctx context.Context, removals []plan.Removal) (*row, error) {
	opened := b.first
	b.first = nil // Whether it is of use or not.
	batch, err := b.node.hold(ctx, opened, removals)
	if errors.Is(err, engine.Unsupported) {
		if err := b.room.Acquire(ctx, maxUnderWay-1); err != nil { // the others' places: until they are closed
			return nil, err
		}
		batch, err = b.node.hold(ctx, nil, removals)
		b.room.Release(maxUnderWay - 1)
	}
	if errors.Is(err, engine.Unsupported) {
		batch, err = oneByOne{b.node.Runtime}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("preparing the removals: %w", err)
	}
	r := &row{batch: batch, attempts: make([]attempt, len(removals)), begun: make(chan struct{})}
	for i, removal := range removals {
		r.attempts[i].Removal = removal
	}
	return r, nil
}

// final reports whether there is no way back.
func (r *row) final() bool {
	_, final := r.batch.(oneByOne)
	return final
}

// removeRow looks at all images of a batch and removes them at once; without a way back, it looks at each alone. What has
// begun is not broken off when the belt stops.
func (n *Node) removeRow(ctx, moving context.Context, r *row) error {
	defer r.begin() // also if nothing does
	together := len(r.attempts)
	if r.final() {
		together = 1
	}
	for attempts := range slices.Chunk(r.attempts, together) {
		if moving.Err() != nil || n.ending() {
			return ctx.Err()
		}
		if err := n.removeTogether(ctx, r, attempts); err != nil {
			return err
		}
	}
	return nil
}

// removeTogether looks, and removes. An error means that nothing can be known any more, and ends the work.
func (n *Node) removeTogether(ctx context.Context, r *row, attempts []attempt) error {
	var ids []string
	for _, a := range attempts {
		ids = append(ids, a.Image.ID)
	}
	state, err := n.look(ctx, ids...)
	if err != nil {
		return err
	}
	r.begin()
	var all errgroup.Group
	for i := range attempts {
		all.Go(func() error {
			attempts[i].remove(ctx, r.batch, state, r.options)
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

// lookAfter looks whether the removals of a batch are as the runtime says, and at what is in use now, and puts back what
// somebody has begun to need in the meantime. What did not work is put back too: its names may be gone all the same.
func (n *Node) lookAfter(ctx context.Context, r *row) error {
	if !slices.ContainsFunc(r.attempts, func(a attempt) bool { return a.tried }) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	// Until the list shows what was removed, somebody may still begin to use it: who uses it is asked after that.
	untrue, unseen := r.batch.Settle(ctx)
	var uses []engine.Use
	look := func() (err error) { uses, err = n.Runtime.Uses(ctx); return err }
	var err error
	if r.final() { // Without a way back there is nothing to wait for.
		err = look()
	} else {
		err = patiently(ctx, look)
	}
	state := plan.State{Uses: uses, Needs: n.needs(), Now: n.now()}
	for i := range r.attempts {
		a := &r.attempts[i]
		if failed := cmp.Or(unseen, untrue[a.Image.ID]); failed != nil && a.step.State == session.StateRemoved {
			a.fail(failed)
		}
		switch {
		case !a.tried:
		case a.step.State != session.StateRemoved:
			a.putBack(ctx, r.batch, a.step)
		default: // A single name too: a pod may need the very name.
			state.Images = []engine.Image{a.Image}
			kept, hold, _ := plan.Recheck(state, a.Removal, r.options)
			if err != nil {
				kept, hold = plan.Kept{Image: a.Image, Reason: plan.ReasonChanged, Message: "what is in use could not be seen: " + err.Error()}, true
			}
			if hold {
				a.putBack(ctx, r.batch, keptStep(kept))
			}
		}
	}
	return err
}

// tell says what became of each.
func (r *row) tell(report func(session.Step)) {
	for _, a := range r.attempts {
		if a.step.State != "" {
			report(a.step)
		}
	}
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

// hold is a batch that holds what is to be removed. It is Unsupported on a disk without any room, where not even a hold can be
// written down.
func (n *Node) hold(ctx context.Context, opened engine.Batch, removals []plan.Removal) (engine.Batch, error) {
	batch := opened
	if batch == nil {
		var err error
		if batch, err = n.openBatch(ctx); err != nil {
			return nil, err
		}
	}
	var images []engine.Image
	for _, r := range removals {
		images = append(images, r.Image)
	}
	if err := batch.Hold(ctx, images...); err != nil {
		return nil, errors.Join(err, closeBatch(ctx, batch))
	}
	return batch, nil
}

// openBatch is the runtime's own batch, or removals one by one.
func (n *Node) openBatch(ctx context.Context) (engine.Batch, error) {
	if batcher, ok := engine.As[engine.Batcher](n.Runtime); ok {
		return batcher.Batch(ctx)
	}
	return oneByOne{n.Runtime}, nil
}

// closeBatch lets the content go, also for somebody who has gone.
func closeBatch(ctx context.Context, batch engine.Batch) error {
	if batch == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	if err := batch.Close(ctx); err != nil {
		return fmt.Errorf("freeing the space of what was removed: %w", err)
	}
	return nil
}

// oneByOne is a batch on a runtime without batches: each removal is final.
type oneByOne struct{ engine.Interface }

// Hold can hold nothing.
func (oneByOne) Hold(context.Context, ...engine.Image) error { return nil }

// Settle has nothing to look for: Interface.Remove has done so already.
func (oneByOne) Settle(context.Context) (map[string]error, error) { return nil, nil }

// Restore is what is lacking.
func (oneByOne) Restore(context.Context, string) error { return engine.Unsupported }

// Close has nothing to let go.
func (oneByOne) Close(context.Context) error { return nil }
