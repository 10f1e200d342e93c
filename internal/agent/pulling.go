// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
)

// pull is one that is under way.
type pull struct {
	entry v1alpha1.StoreImage
	want  oci.Ref
	pin   bool
	about string
	key   tried
	size  int64
	began time.Time
	// arrived: the image is here, and is being marked and pinned.
	arrived   bool
	cancelled bool
	why       string
	cancel    context.CancelFunc
	// recheck is as in the order; known are the names by digest that were here when it began.
	recheck string
	known   map[oci.Ref]int
	gauge   gauge
}

// serves reports whether what the pull brings is what is wanted, or may be: by name alone it brings some digest.
func (p *pull) serves(want oci.Ref) bool {
	return !p.cancelled && (p.want == want || p.want.Digest() == "" && p.want.Tag() != "" && p.want == want.WithoutDigest())
}

func (a *Agent) startPull(ctx context.Context, now time.Time, o order) {
	logins, unread := a.credentials(o.entry)
	if unread != nil {
		a.cfg.Log.Warn("opening credentials", "node", a.cfg.Node, "reference", o.want.String(), "error", unread)
	}
	ctx, cancel := context.WithTimeout(ctx, a.cfg.PullTimeout)
	p := &pull{
		entry: o.entry, want: o.want, pin: o.pin, size: o.entry.Size, began: now, cancel: cancel,
		about: aboutOf(o.entry, a.store.Spec.Credentials), key: o.key(), why: reasonMissing,
	}
	if _, other := a.view.find(o.want.WithoutDigest()); other && o.want.Tag() != "" {
		p.why = reasonMoved
	}
	if o.recheck != "" {
		p.why = reasonRecheck
		p.about, p.recheck, p.known = recheckAbout(o.entry, a.store.Spec.Credentials), o.recheck, a.view.byDigest
	}
	a.pulls[o.entry.Image] = p
	delete(a.intended, o.entry.Image)
	rt := a.rt.current
	a.jobs.Go(func() {
		defer cancel()
		img, err := a.fetch(ctx, rt, a.requestFor(p.want, &p.gauge), logins)
		took := time.Since(now)
		a.post(func() { a.arrived(p, img, err, took) })
		if err != nil {
			return
		}
		marked, pinned := settle(ctx, rt, img, p)
		a.post(func() { a.settled(p, img, marked, pinned) })
	})
}

// fetch pulls within the time that a pull has.
func (a *Agent) fetch(ctx context.Context, rt engine.Interface, req engine.PullRequest, logins []engine.Credentials) (engine.Image, error) {
	img, err := pullWith(ctx, rt, req, logins)
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = engine.Because(engine.Timeout, fmt.Errorf("not done within %s: %w", a.cfg.PullTimeout, err))
	}
	return img, err
}

// pullWith pulls with each of the logins in turn, and at last without. Where none opens the registry, it is the refusal of the
// first that tells most.
func pullWith(ctx context.Context, rt engine.Interface, req engine.PullRequest, logins []engine.Credentials) (engine.Image, error) {
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
	name := byDigest(img, p.want, p.digest(img))
	if marker, ok := engine.As[engine.Marker](rt); ok && p.brings(img) {
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
	done := p.deedOf(took)
	if err == nil {
		p.arrived = true
		delete(a.tries, p.key)
		if p.recheck != "" {
			a.rechecked(p, img)
		}
		a.view.put(img)
		a.stock.look(&a.view, now)
		done.digest = digestIn(img, p.want)
		a.pulled(done, p.want.Registry(), img)
		return
	}
	if a.pulls[p.entry.Image] == p {
		delete(a.pulls, p.entry.Image)
	}
	if p.cancelled || !broughtNothing(engine.ReasonOf(err)) {
		a.mayCome(now, p.entry.Image, p.entry.Digest)
	}
	a.view.want(now) // It may be here all the same, or the runtime gone.
	switch reason := engine.ReasonOf(err); {
	case p.cancelled:
		a.gaveUp(done, "it is not wanted any more", nil)
		return
	case reason == engine.Interrupted, reason == engine.RuntimeUnavailable:
		// The image is not to blame, and the runtime is the next look's affair.
		a.tries[p.key] = a.tries[p.key].interrupted(p.about, now)
		a.gaveUp(done, "the runtime went away", err)
		return
	}
	if p.recheck == "" && broughtNothing(engine.ReasonOf(err)) {
		a.intended[p.entry.Image] = true
	}
	a.tries[p.key] = a.tries[p.key].failed(p.about, err, now)
	a.notPulled(done, p.want.Registry(), err)
}

// broughtNothing reports whether a pull that failed so has brought no image for certain: one that is here later somebody else
// has brought, as the kubelet does with the credentials of a pod.
func broughtNothing(reason engine.Reason) bool {
	switch reason {
	case engine.NotFound, engine.Unauthorized, engine.RateLimited, engine.RegistryUnavailable, engine.NoMatchingPlatform,
		engine.SignatureRejected, engine.InvalidReference, engine.InsufficientDisk:
		return true
	default:
		return false
	}
}

// recall finds out which records of an agent before this one say pulled, though no pull had begun, or it had brought nothing.
func (a *Agent) recall() {
	for name, rec := range a.records {
		failed := rec.State == v1alpha1.ImageFailed && broughtNothing(engine.Reason(rec.Reason))
		if rec.Pulled && (failed || rec.State == v1alpha1.ImageWaiting) {
			a.intended[name] = true
		}
	}
}

// settled takes in that a pulled image is marked and pinned, or why not.
func (a *Agent) settled(p *pull, img engine.Image, marked, pinned error) {
	if a.pulls[p.entry.Image] == p {
		delete(a.pulls, p.entry.Image)
	}
	_, canPin := engine.As[engine.Pinner](a.rt.current)
	switch {
	case pinned != nil:
		for _, record := range recordsOf(p.entry.Image, p.entry.Digest) { // The tag may mean another image by now.
			a.tries[pinOf(record)] = a.tries[pinOf(record)].failed("", pinned, time.Now())
		}
	case canPin && p.pin:
		a.view.setPinned(img.ID, true)
	}
	if marked != nil {
		a.cfg.Log.Warn("marking", "node", a.cfg.Node, "reference", p.want.String(), "error", marked)
	} else if a.view.marked != nil && p.brings(img) {
		a.view.marked[byDigest(img, p.want, p.digest(img))] = true
	}
	a.stock.look(&a.view, time.Now())
}

func (a *Agent) cancelPulls(which func(name string) bool) {
	for name, p := range a.pulls {
		if which(name) && !p.cancelled {
			p.cancelled = true
			p.cancel()
		}
	}
}
