// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"time"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
)

// pinTimeout bounds the pin or the mark of one image.
const pinTimeout = time.Minute

// count takes a pinned image out of what may be pinned, and reports whether it fitted.
func (d *decider) count(img engine.Image) bool {
	if d.pinned[img.ID] || d.disk.Capacity == 0 {
		return true
	}
	size := d.size(img)
	if size > d.budget {
		return false
	}
	d.pinned[img.ID] = true
	d.budget -= size
	return true
}

// startPins sets and lifts pins, and lifts marks, one after the other.
func (a *Agent) startPins(ctx context.Context, now time.Time, made *decision) {
	if a.pinning || a.rt.current == nil {
		return
	}
	var orders []pinOrder
	for _, o := range made.pins {
		if !o.pinned || a.recordedAs(made, o.image) {
			orders = append(orders, o)
		}
	}
	unmark := made.unmark
	if now.Before(a.unmarkAfter) {
		unmark = nil
	}
	if len(orders) == 0 && len(unmark) == 0 {
		return
	}
	a.pinning = true
	rt := a.rt.current
	a.jobs.Go(func() {
		errs := make([]error, len(orders))
		for i, o := range orders {
			errs[i] = setPin(ctx, rt, o.ref, o.pinned)
		}
		var unmarked []oci.Ref
		var failed error
		for _, ref := range unmark {
			if err := setMark(ctx, rt, ref, false); err != nil {
				failed = err
			} else {
				unmarked = append(unmarked, ref)
			}
		}
		a.post(func() { a.pinned(orders, errs, unmarked, failed) })
	})
}

func (a *Agent) pinned(orders []pinOrder, errs []error, unmarked []oci.Ref, failed error) {
	now := time.Now()
	a.pinning = false
	for i, o := range orders {
		key := pinOf(o.image)
		if errs[i] != nil {
			a.tries[key] = a.tries[key].failed("", errs[i], now)
			a.cfg.Log.Warn("pinning", "node", a.cfg.Node, "reference", o.ref.String(), "pinned", o.pinned, "error", errs[i])
			continue
		}
		delete(a.tries, key)
		if o.pinned {
			a.view.setPinned(o.id, true)
		} else if rec, ok := a.records[o.image]; ok {
			// Somebody else's pin may still be there: it is not asked of the image whether ours is lifted.
			rec.Pinned = false
			a.records[o.image] = rec
			a.view.epoch++
			a.view.want(now)
		}
	}
	for _, ref := range unmarked {
		delete(a.view.marked, ref)
		a.view.epoch++
	}
	if failed != nil {
		a.unmarkAfter = now.Add(time.Minute)
	}
	if len(orders) > 0 {
		a.view.want(now)
	}
}

// setPin takes an image that is gone for unpinned.
func setPin(ctx context.Context, rt engine.Interface, ref oci.Ref, pinned bool) error {
	ctx, cancel := context.WithTimeout(ctx, pinTimeout)
	defer cancel()
	pinner, ok := engine.As[engine.Pinner](rt)
	if !ok {
		return nil
	}
	err := pinner.Pin(ctx, ref, pinned)
	if !pinned && errors.Is(err, engine.NotFound) {
		return nil
	}
	return err
}

func setMark(ctx context.Context, rt engine.Interface, ref oci.Ref, pulled bool) error {
	ctx, cancel := context.WithTimeout(ctx, pinTimeout)
	defer cancel()
	marker, ok := engine.As[engine.Marker](rt)
	if !ok {
		return nil
	}
	err := marker.Mark(ctx, ref, pulled)
	if !pulled && errors.Is(err, engine.NotFound) {
		return nil
	}
	return err
}
