// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package containerd

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	leasesapi "github.com/containerd/containerd/api/services/leases/v1"
	"golang.org/x/sync/errgroup"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/engine/socket"
)

// batch holds content by a lease, under which names can go and come back; without the lease, any synchronous removal
// by anybody would collect what has lost its names.
type batch struct {
	runtime  *Runtime
	before   names // every record when the batch began
	lease    lease
	compared bool        // see deletion
	tried    atomic.Bool // to remove something

	mu        sync.Mutex
	held      map[string]bool      // digests
	gone      map[string][]*record // by image id
	unsettled map[string]bool      // image ids
}

// Batch begins a row of removals whose content goes when it is closed. It is Unsupported on a disk that is so full that
// nothing can be held: there, single removals may yet make room.
func (r *Runtime) Batch(ctx context.Context) (engine.Batch, error) {
	b := &batch{runtime: r, held: map[string]bool{}, gone: map[string][]*record{}, unsettled: map[string]bool{}}
	if err := b.begin(ctx); err != nil {
		return nil, b.giveUp(ctx, err)
	}
	return b, nil
}

// begin takes a lease, which waits for the disk, and looks at the records meanwhile.
func (b *batch) begin(ctx context.Context) error {
	var group errgroup.Group // One failure cancels no other, since a lease has to be known to be ended.
	group.Go(func() (err error) { b.lease, err = b.runtime.newLease(ctx); return err })
	group.Go(func() (err error) { b.compared, err = b.runtime.compares(ctx); return err })
	group.Go(func() error { b.runtime.endOrphans(ctx); return nil })
	group.Go(func() error {
		records, err := b.runtime.records(ctx)
		b.before = index(records)
		return err
	})
	return group.Wait()
}

// MeasureLater takes what it tells from the records that the batch has read, and leaves all others to the rest: content, and the size of each
// snapshot under the images that are to be sized.
func (b *batch) MeasureLater(ctx context.Context, images []engine.Image) (func(ctx context.Context, ids ...string) error, error) {
	targets, err := b.runtime.describe(ctx, b.before, images)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, ids ...string) error {
		asked := make(map[string]bool, len(ids))
		for _, id := range ids {
			asked[id] = true
		}
		var sized []string
		for n, image := range images {
			if asked[image.ID] {
				sized = append(sized, targets[n]...)
			}
		}
		seen, err := b.runtime.newStore(ctx)
		if err == nil {
			err = b.runtime.unpacked(ctx, seen, sized)
		}
		if err != nil {
			return fmt.Errorf("measuring images: %w", err)
		}
		seen.size(images, targets)
		for n := range images {
			if !asked[images[n].ID] {
				images[n].DiskBytes = 0 // It would be that of the layers which it shares with those.
			}
		}
		return nil
	}, nil
}

// Hold holds the content of all records that the images had when the batch began.
func (b *batch) Hold(ctx context.Context, images ...engine.Image) error {
	var records []*record
	for _, image := range images {
		records = append(records, b.before.of(image)...)
	}
	targets := targetsOf(records)
	err := b.holdAll(ctx, targets)
	if errors.Is(err, engine.InsufficientDisk) {
		err = b.holdEach(ctx, targets)
	}
	return unsupported(err)
}

// Remove deletes names while the lease holds their content.
func (b *batch) Remove(ctx context.Context, req engine.RemoveRequest) error {
	going, err := b.going(ctx, req)
	if err != nil {
		return err
	}
	for _, record := range going {
		if err := b.hold(ctx, record.Target.Digest); err != nil {
			return err
		}
	}
	b.tried.Store(true)
	for _, record := range going {
		if err := b.lease.current(); err != nil {
			return err
		}
		if err := b.delete(ctx, req.Image.ID, record); err != nil {
			return err
		}
	}
	return nil
}

// delete deletes a record, and notes that it may have to be put back.
func (b *batch) delete(ctx context.Context, id string, record *record) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	// The answer is waited for also when nobody wants it any more: containerd goes on with what it was asked for, and a name that was put back
	// could go after that.
	deleted, err := b.runtime.delete(context.WithoutCancel(ctx), record, deletion{compared: b.compared})
	b.mu.Lock()
	defer b.mu.Unlock()
	if deleted || err != nil { // Of an error nobody knows what came before it. What is there still takes no harm from being put back.
		b.gone[id] = append(b.gone[id], record)
	}
	if deleted {
		b.unsettled[id] = true
	}
	return err
}

// Settle waits for the CRI plugin, which hears of removals by events.
func (b *batch) Settle(ctx context.Context) (map[string]error, error) {
	open := map[string]func(*engine.Image) bool{}
	b.mu.Lock()
	for id := range b.unsettled {
		open[id] = without(id, b.gone[id])
	}
	b.unsettled = map[string]bool{}
	b.mu.Unlock()
	return b.runtime.settleAll(ctx, open)
}

// going is which records a request takes. Those known from the beginning are not read again here: each is deleted only if it
// still means the same. What has come since then under another name is for the caller to see, who looks at the image
// before and after.
func (b *batch) going(ctx context.Context, req engine.RemoveRequest) ([]*record, error) {
	names := namesOf(req.Image)
	for _, target := range targetsOf(b.before.of(req.Image)) {
		for _, i := range b.before.byTarget[target] {
			names = append(names, i.Name)
		}
	}
	slices.Sort(names)
	var all []*record
	for _, name := range slices.Compact(names) {
		i, err := b.ours(ctx, name, req.Image)
		if err != nil {
			return nil, err
		}
		if i != nil {
			all = append(all, i)
		}
	}
	slices.SortFunc(all, inOrder)
	return taken(all, req), nil
}

// ours is the record with this name if it is one of the image; nil: it is none.
func (b *batch) ours(ctx context.Context, name string, image engine.Image) (*record, error) {
	if i := b.before.byName[name]; i != nil {
		if b.before.agree(image, i.Target.Digest) {
			return i, nil
		}
		if ours, err := b.runtime.leadsTo(ctx, i.Target.Digest, image.ID); ours || err != nil {
			return i, err
		}
	}
	i, err := b.runtime.get(ctx, name)
	if i == nil || err != nil {
		return nil, err
	}
	if ours, err := b.runtime.leadsTo(ctx, i.Target.Digest, image.ID); !ours || err != nil {
		return nil, err
	}
	return i, nil
}

// Restore puts an image's records back as they were. A name that somebody made anew meanwhile stays as it is, but
// for a pin that it had.
func (b *batch) Restore(ctx context.Context, imageID string) error {
	b.mu.Lock()
	gone := b.gone[imageID]
	b.mu.Unlock()
	var failed error
	for _, old := range slices.Backward(gone) { // One name that does not come back keeps no other away.
		failed = errors.Join(failed, b.runtime.restore(ctx, old))
	}
	if failed != nil {
		return fmt.Errorf("restoring image %s: %w", imageID, failed)
	}
	b.mu.Lock()
	delete(b.gone, imageID)
	delete(b.unsettled, imageID)
	b.mu.Unlock()
	return b.runtime.settleRestored(ctx, imageID, gone)
}

func (r *Runtime) restore(ctx context.Context, old *record) error {
	created, err := r.create(ctx, old.Name, old.Target, old.Labels, old)
	if err != nil || created {
		return err
	}
	now, err := r.get(ctx, old.Name)
	if err != nil || now == nil || now.Target.Digest != old.Target.Digest {
		return err
	}
	lost := maps.Clone(old.Labels)
	maps.DeleteFunc(lost, func(name, _ string) bool { return now.Labels[name] != "" })
	if len(lost) == 0 {
		return nil
	}
	return r.label(ctx, now, lost)
}

func (r *Runtime) settleRestored(ctx context.Context, id string, back []*record) error {
	return r.settle(ctx, id, func(image *engine.Image) bool {
		if image == nil {
			return len(back) == 0
		}
		names := slices.Concat(image.Tags, image.Digests)
		for _, record := range back {
			if ref := parsed(record.Name); !ref.IsZero() && !slices.Contains(names, ref) {
				return false
			}
			if record.Labels[labelPinned] == valuePinned && !image.Pinned {
				return false
			}
		}
		return true
	})
}

// giveUp closes a batch that nobody gets, and says why.
func (b *batch) giveUp(ctx context.Context, why error) error {
	if b.lease.id != "" {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
		defer cancel()
		why = errors.Join(why, b.Close(ctx))
	}
	return unsupported(why)
}

// unsupported is for whoever asks for a batch on a disk that is so full that nothing can be held.
func unsupported(err error) error {
	if errors.Is(err, engine.InsufficientDisk) {
		return engine.Because(engine.Unsupported, err)
	}
	return err
}

// Close ends the lease, and returns when containerd has collected what nothing holds any more. Where nothing went, there is
// nothing to wait for.
func (b *batch) Close(ctx context.Context) error {
	_, err := b.runtime.leases.Delete(ctx, &leasesapi.DeleteRequest{ID: b.lease.id, Sync: b.tried.Load()})
	if err != nil && !socket.Gone(err) {
		return fmt.Errorf("ending the lease of a batch of removals: %w", socket.Why(err))
	}
	return nil
}
