// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"slices"
	"time"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/plan"
	"orlop.dev/orlop/internal/session"
)

const (
	// lookTimeout bounds one look: a runtime that hangs must not hold up the status that says so.
	lookTimeout = 30 * time.Second
	// lookGap is between two looks that the runtime's events ask for: one pull makes a dozen of them.
	lookGap = time.Second
	// eventDelay gathers the events of one change.
	eventDelay = 100 * time.Millisecond
	// lookRetry is after a look that failed.
	lookRetry = 5 * time.Second
)

// view is what the last look saw, with what acts since have changed.
type view struct {
	// fresh: a look has succeeded since the runtime was last away. Without it nothing is decided: a failed answer is
	// never read as "nothing there".
	fresh    bool
	err      error // why the last look failed
	images   []engine.Image
	uses     []engine.Use
	marked   map[oci.Ref]bool // repository@digest of what Orlop has marked
	at       time.Time        // when the last look began
	shows    time.Time        // when the one began of which this is the answer
	byTag    map[oci.Ref]int
	byDigest map[oci.Ref]int

	wanted  time.Time // the next look; zero: none is wanted
	settles time.Time // a look that begins then shows what became of what was in doubt; see late.go
	looking bool
	epoch   int // counts acts: a look that began before an act tells nothing of what it did
}

// found is what one look saw.
type found struct {
	images []engine.Image
	uses   []engine.Use
	marked []oci.Ref
}

func (v *view) take(f found) {
	v.fresh, v.err = true, nil
	v.images, v.uses = f.images, f.uses
	v.marked = make(map[oci.Ref]bool, len(f.marked))
	for _, ref := range f.marked {
		v.marked[ref] = true
	}
	v.index()
}

func (v *view) index() {
	v.byTag, v.byDigest = make(map[oci.Ref]int, len(v.images)), make(map[oci.Ref]int, len(v.images))
	for i, img := range v.images {
		for _, tag := range img.Tags {
			v.byTag[tag] = i
		}
		for _, digest := range img.Digests {
			v.byDigest[digest] = i
		}
	}
}

// find gives the image that a name stands for: with a tag and a digest both, the tag must stand for the digest.
func (v *view) find(want oci.Ref) (engine.Image, bool) {
	if want.Tag() == "" {
		i, ok := v.byDigest[want]
		if !ok {
			return engine.Image{}, false
		}
		return v.images[i], true
	}
	i, ok := v.byTag[want.WithoutDigest()]
	if !ok || want.Digest() != "" && !slices.Contains(v.images[i].Digests, want.WithoutTag()) {
		return engine.Image{}, false
	}
	return v.images[i], true
}

// put takes in what a pull has brought, without another look.
func (v *view) put(img engine.Image) {
	v.epoch++
	for i := range v.images {
		v.images[i].Tags = slices.DeleteFunc(slices.Clone(v.images[i].Tags), func(tag oci.Ref) bool { return slices.Contains(img.Tags, tag) })
	}
	if i := slices.IndexFunc(v.images, func(old engine.Image) bool { return old.ID == img.ID }); i >= 0 {
		v.images[i] = img
	} else {
		v.images = append(v.images, img)
	}
	v.index()
}

// setPinned takes in what a pin has done.
func (v *view) setPinned(id string, pinned bool) {
	v.epoch++
	for i := range v.images {
		if v.images[i].ID == id {
			v.images[i].Pinned = pinned
		}
	}
}

// drop takes in that a removal has succeeded, without another look.
func (v *view) drop(c candidate, step session.Step) {
	v.images = slices.DeleteFunc(slices.Clone(v.images), func(img engine.Image) bool {
		return img.ID == c.img.ID && len(step.Names) >= len(plan.Names(img))
	})
	for i := range v.images {
		if v.images[i].ID == c.img.ID {
			v.images[i].Tags = slices.DeleteFunc(slices.Clone(v.images[i].Tags), func(tag oci.Ref) bool { return slices.Contains(step.Names, tag.String()) })
		}
	}
	v.index()
}

// isMarked reports whether the image is noted as brought by Orlop.
func (v *view) isMarked(img engine.Image) bool {
	return slices.ContainsFunc(img.Digests, func(d oci.Ref) bool { return v.marked[d] })
}

// want asks for a look at a time, or earlier.
func (v *view) want(at time.Time) {
	if v.wanted.IsZero() || at.Before(v.wanted) {
		v.wanted = at
	}
}

// settle asks for a look that begins no earlier, whatever looks come before.
func (v *view) settle(at time.Time) { v.settles = later(v.settles, at) }

// look starts a look when it is time for one.
func (a *Agent) look(ctx context.Context, now time.Time, next *earliest) {
	v := &a.view
	rt := a.rt.current
	if rt == nil || v.looking {
		return
	}
	v.want(v.at.Add(a.cfg.Resync))
	if v.at.Before(v.settles) {
		v.want(v.settles)
	}
	if now.Before(v.wanted) {
		next.or(v.wanted)
		return
	}
	v.looking, v.wanted, v.at = true, time.Time{}, now
	epoch := v.epoch
	a.jobs.Go(func() {
		seen, err := see(ctx, rt)
		a.post(func() { a.looked(ctx, rt, epoch, seen, err) })
	})
}

func see(ctx context.Context, rt engine.Interface) (f found, err error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	if f.images, err = rt.List(ctx); err != nil {
		return f, err
	}
	if f.uses, err = rt.Uses(ctx); err != nil {
		return f, err
	}
	if marker, ok := engine.As[engine.Marker](rt); ok {
		f.marked, err = marker.Marked(ctx)
	}
	return f, err
}

func (a *Agent) looked(ctx context.Context, rt engine.Interface, epoch int, seen found, err error) {
	v := &a.view
	v.looking = false
	now := time.Now()
	switch {
	case rt != a.rt.current, ctx.Err() != nil: // It is about a connection that has ended.
	case err != nil:
		v.fresh, v.err = false, err
		a.cfg.Log.Warn("looking at the images", "node", a.cfg.Node, "error", err)
		if errors.Is(err, engine.RuntimeUnavailable) {
			a.rt.lost()
			return
		}
		v.want(now.Add(lookRetry))
	case epoch != v.epoch:
		v.want(now)
	default:
		v.shows = v.at
		v.take(seen)
		a.stock.look(v, now)
	}
}

// changed is called by the runtime's own events.
func (a *Agent) changed() {
	a.view.want(later(time.Now().Add(eventDelay), a.view.at.Add(lookGap)))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
