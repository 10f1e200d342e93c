// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/plan"
)

// pinTimeout bounds the pin or the mark of one image.
const pinTimeout = time.Minute

// pull is one that is under way.
type pull struct {
	entry v1alpha1.StoreImage
	want  oci.Ref
	pin   bool
	about string
	size  int64
	began time.Time
	// arrived: the image is here, and is being marked and pinned.
	arrived   bool
	cancelled bool
	cancel    context.CancelFunc
	gauge     gauge
}

// serves reports whether what the pull brings is what is wanted, or may be: by name alone it brings some digest.
func (p *pull) serves(want oci.Ref) bool {
	return !p.cancelled && (p.want == want || p.want.Digest() == "" && p.want.Tag() != "" && p.want == want.WithoutDigest())
}

// decide makes the decision of this moment.
func (a *Agent) decide(now time.Time) decision {
	if !a.view.fresh {
		return a.undecided()
	}
	_, canPin := engine.As[engine.Pinner](a.rt.current)
	_, canMark := engine.As[engine.Marker](a.rt.current)
	return decide(sight{
		now: now, spec: a.store.Spec, records: a.records, view: &a.view, canPin: canPin, canMark: canMark, needs: a.wanted,
		pulls: a.pulls, tries: a.tries, intended: a.intended, going: a.going, sealed: a.sealed,
		disk:   a.cfg.Disk(a.rt.described.ImageFS),
		limits: limits{disk: a.cfg.DiskLimit, pin: a.cfg.PinLimit, pulls: a.cfg.MaxParallelPulls},
		size:   a.stock.size,
	})
}

// undecided says again what was said as last, while nothing can be seen.
func (a *Agent) undecided() decision {
	var made decision
	records := maps.Clone(a.records)
	for _, e := range a.store.Spec.Images {
		rec, known := records[e.Image]
		switch {
		case known:
			made.images = append(made.images, rec)
			delete(records, e.Image)
		case !e.Released && !a.store.Spec.Retire:
			made.images = append(made.images, v1alpha1.StoreImageStatus{Image: e.Image, State: v1alpha1.ImageWaiting, Reason: string(engine.RuntimeUnavailable)})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(records)) {
		made.images = append(made.images, records[name])
	}
	return made
}

// act begins what was decided, as far as its records have been written.
func (a *Agent) act(ctx context.Context, now time.Time, made *decision, next *earliest) {
	for _, name := range made.forget {
		delete(a.tries, name)
	}
	for _, name := range made.hasten {
		t := a.tries[name]
		t.next = time.Time{}
		a.tries[name] = t
	}
	if !made.wake.IsZero() {
		next.or(made.wake)
	}
	a.cancelPulls(func(name string) bool { return slices.Contains(made.cancel, name) })
	// What somebody else brought before it was asked for must not be taken for ours.
	current := !a.view.looking && !a.view.at.Before(a.specSince)
	for _, o := range made.pull {
		if current && a.recordedAs(made, o.entry.Image) && !a.isGoing(o.want) {
			a.startPull(ctx, now, o)
		}
	}
	a.startPins(ctx, now, made)
	a.startRemoval(ctx, now, made, next)
	a.remember(made)
}

// remember makes what is said now the records of the next decision.
func (a *Agent) remember(made *decision) {
	a.records = byName(made.images)
	for name := range a.intended {
		if rec, ok := a.records[name]; !ok || rec.State == v1alpha1.ImagePresent {
			delete(a.intended, name)
		}
	}
	for _, o := range made.queued {
		a.intended[o.entry.Image] = true
	}
	for _, o := range made.pull {
		if a.pulls[o.entry.Image] == nil {
			a.intended[o.entry.Image] = true
		}
	}
	for name := range a.tries {
		image := name
		for _, prefix := range []string{pinKey(""), removeKey("")} {
			if len(name) > len(prefix) && name[:len(prefix)] == prefix {
				image = name[len(prefix):]
			}
		}
		if _, ok := a.records[image]; !ok {
			delete(a.tries, name)
		}
	}
}

// recordedAs reports whether the API has the record under which an act may begin. Where it cannot be reached, work goes
// on: the mark on the image is the record then.
func (a *Agent) recordedAs(made *decision, image string) bool {
	if a.report.away {
		return true
	}
	at := slices.IndexFunc(made.images, func(st v1alpha1.StoreImageStatus) bool { return st.Image == image })
	if at < 0 {
		return false
	}
	st, has := made.images[at], a.recorded[image]
	return (!st.Pulled || has.Pulled && has.Digest == st.Digest) && (!st.Pinned || has.Pinned)
}

// isGoing reports whether a name is being removed: to pull it meanwhile would be a race with ourselves.
func (a *Agent) isGoing(want oci.Ref) bool {
	return slices.ContainsFunc(namesOf(want), func(name oci.Ref) bool { return a.removing[name] })
}

func (a *Agent) cancelPulls(which func(name string) bool) {
	for name, p := range a.pulls {
		if which(name) && !p.cancelled {
			p.cancelled = true
			p.cancel()
		}
	}
}

func (a *Agent) startPull(ctx context.Context, now time.Time, o order) {
	logins, unread := a.credentials(o.entry)
	if unread != nil {
		a.cfg.Log.Warn("opening credentials", "node", a.cfg.Node, "reference", o.want.String(), "error", unread)
	}
	ctx, cancel := context.WithTimeout(ctx, a.cfg.PullTimeout)
	p := &pull{
		entry: o.entry, want: o.want, pin: o.pin, size: o.entry.Size, began: now, cancel: cancel,
		about: aboutOf(o.entry, a.store.Spec.Credentials),
	}
	a.pulls[o.entry.Image] = p
	delete(a.intended, o.entry.Image)
	rt := a.rt.current
	a.jobs.Go(func() {
		defer cancel()
		img, err := fetch(ctx, rt, a.requestFor(p), logins)
		if errors.Is(ctx.Err(), context.DeadlineExceeded) && err != nil {
			err = engine.Because(engine.Timeout, fmt.Errorf("not done within %s: %w", a.cfg.PullTimeout, err))
		}
		took := time.Since(now)
		a.post(func() { a.arrived(p, img, err, took) })
		if err != nil {
			return
		}
		marked, pinned := settle(ctx, rt, img, p)
		a.post(func() { a.settled(p, img, marked, pinned) })
	})
}

// fetch pulls, with each of the logins in turn, and at last without. Where none opens the registry, it is the refusal of the
// first that tells most.
func fetch(ctx context.Context, rt engine.Interface, req engine.PullRequest, logins []engine.Credentials) (engine.Image, error) {
	var first error
	for i := range len(logins) + 1 {
		req.Credentials = nil
		if i < len(logins) {
			req.Credentials = &logins[i]
		}
		img, err := rt.Pull(ctx, req)
		if err == nil {
			return img, nil
		}
		if first == nil {
			first = err
		}
		if ctx.Err() != nil || !errors.Is(err, engine.Unauthorized) && !errors.Is(err, engine.NotFound) {
			return img, err
		}
	}
	return engine.Image{}, first
}

// settle marks the image as ours, and pins it.
func settle(ctx context.Context, rt engine.Interface, img engine.Image, p *pull) (marked, pinned error) {
	ctx, cancel := context.WithTimeout(ctx, pinTimeout)
	defer cancel()
	name := byDigest(img, p.want, digestIn(img, p.want))
	if marker, ok := engine.As[engine.Marker](rt); ok {
		marked = marker.Mark(ctx, name, true)
	}
	if pinner, ok := engine.As[engine.Pinner](rt); ok && p.pin {
		pinned = pinner.Pin(ctx, name, true)
	}
	return marked, pinned
}

// arrived takes in how a pull ended.
func (a *Agent) arrived(p *pull, img engine.Image, err error, took time.Duration) {
	now := time.Now()
	log := a.cfg.Log.With("node", a.cfg.Node, "reference", p.want.String(), "actor", p.entry.Caches, "took", took.Round(time.Millisecond).String())
	if err == nil {
		p.arrived = true
		delete(a.tries, p.entry.Image)
		a.view.put(img)
		a.stock.look(&a.view, now)
		a.cfg.Metrics.pulled(p.want.Registry(), "", img.PullBytes, took)
		log.Info("pulled", "digest", digestIn(img, p.want), "bytes", img.PullBytes)
		return
	}
	if a.pulls[p.entry.Image] == p {
		delete(a.pulls, p.entry.Image)
	}
	a.view.want(now) // It may be here all the same, or the runtime gone.
	switch reason := engine.ReasonOf(err); {
	case p.cancelled:
		log.Info("gave a pull up", "reason", "it is not wanted any more")
		return
	case reason == engine.Interrupted, reason == engine.RuntimeUnavailable:
		// The image is not to blame, and the runtime is the next look's affair.
		a.tries[p.entry.Image] = a.tries[p.entry.Image].interrupted(p.about, now)
		log.Info("gave a pull up", "reason", "the runtime went away", "error", err.Error())
		return
	}
	a.tries[p.entry.Image] = a.tries[p.entry.Image].failed(p.about, err, now)
	a.cfg.Metrics.pulled(p.want.Registry(), string(engine.ReasonOf(err)), 0, took)
	log.Warn("could not pull", "reason", engine.ReasonOf(err), "error", err.Error())
}

// settled takes in that a pulled image is marked and pinned, or why not.
func (a *Agent) settled(p *pull, img engine.Image, marked, pinned error) {
	if a.pulls[p.entry.Image] == p {
		delete(a.pulls, p.entry.Image)
	}
	_, canPin := engine.As[engine.Pinner](a.rt.current)
	switch {
	case pinned != nil:
		a.tries[pinKey(p.entry.Image)] = a.tries[pinKey(p.entry.Image)].failed("", pinned, time.Now())
	case canPin && p.pin:
		a.view.setPinned(img.ID, true)
	}
	if marked != nil {
		a.cfg.Log.Warn("marking", "node", a.cfg.Node, "reference", p.want.String(), "error", marked)
	} else if a.view.marked != nil {
		a.view.marked[byDigest(img, p.want, digestIn(img, p.want))] = true
	}
	a.stock.look(&a.view, time.Now())
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
		key := pinKey(o.image)
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

// noteNeeds keeps what removals under way look at.
func (a *Agent) noteNeeds() {
	needs := needsOf(a.store.Spec, a.rt.described.Name, a.asking, time.Now())
	a.needs.Store(&needs)
}

func (a *Agent) currentNeeds() plan.Needs {
	if needs := a.needs.Load(); needs != nil {
		return *needs
	}
	return plan.Needs{Known: true}
}
