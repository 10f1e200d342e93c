// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"time"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/action"
	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/session"
)

// fetching is a job's pull that is under way.
type fetching struct {
	task      *task
	item      int
	ref       oci.Ref
	began     time.Time
	cancelled bool
	cancel    context.CancelFunc
	gauge     gauge
}

// maxCuts is how often the runtime may go away in the middle of one pull before the image has failed.
const maxCuts = 20

// decideJobs makes the decisions of this moment about jobs, and tells the caches how many pulls they may begin.
func (a *Agent) decideJobs(now time.Time, made *decision) jobDecision {
	if !a.view.fresh || len(a.work.order) == 0 {
		made.grant(made.room)
		return jobDecision{}
	}
	w := &a.work
	s := jobSight{
		now: now, view: &a.view, busy: map[oci.Ref]bool{}, sealed: a.sealedFor(), pulls: a.cfg.MaxParallelPulls,
		free: made.free, room: made.room, caches: len(made.pull), under: w.fetches, served: w.served,
	}
	// What is here must have been seen after it was asked for: an older look may show what has gone since.
	if !a.view.looking && !a.view.at.Before(a.specSince) {
		s.tasks = w.order
		d := decider{sight: sight{disk: a.cfg.Disk(a.rt.described.ImageFS), limits: limits{disk: a.cfg.DiskLimit}}}
		s.full = d.full(v1alpha1.StoreImage{}, v1alpha1.StoreImageStatus{})
	}
	for f := range w.fetches {
		for _, name := range namesOf(f.ref) {
			s.busy[name] = true
		}
	}
	for _, p := range a.pulls {
		for _, name := range namesOf(p.want) {
			s.busy[name] = true
		}
	}
	for name := range a.removing {
		s.busy[name] = true
	}
	todo := decideJobs(s)
	if todo.granted > 0 {
		w.turn("")
	}
	made.grant(todo.granted)
	return todo
}

func (w *work) turn(party string) {
	w.turns++
	w.served[party] = w.turns
}

// sealedFor tells of each registry why a job's credentials for it cannot be opened, and finds it out once.
func (a *Agent) sealedFor() func(t *task, registry string) string {
	type key struct{ uid, registry string }
	known := map[key]string{}
	return func(t *task, registry string) string {
		if len(t.entry.Pull.Credentials) == 0 {
			return ""
		}
		k := key{t.entry.UID, registry}
		why, ok := known[k]
		if !ok {
			why = a.sealed(v1alpha1.StoreImage{Credentials: a.namesFor(t, registry)})
			known[k] = why
		}
		return why
	}
}

// namesFor are the job's credentials that open the registry, and those that have not come yet: which they open is not known.
func (a *Agent) namesFor(t *task, registry string) []string {
	var names []string
	for _, name := range t.entry.Pull.Credentials {
		if c := a.sealedAs(name); c == nil || c.Registry == registry {
			names = append(names, name)
		}
	}
	return names
}

// carryOut begins what was decided.
func (a *Agent) carryOut(ctx context.Context, now time.Time, todo *jobDecision, next *earliest) {
	next.or(todo.wake.at)
	for i := range todo.settled {
		s := &todo.settled[i]
		it := &s.t.items[s.item]
		if s.full == "" {
			it.done = &s.image
			continue
		}
		s.t.failed(it, engine.Because(engine.InsufficientDisk, errors.New(s.full)), now)
		if it.done == nil {
			next.or(it.try.next)
		}
	}
	for _, s := range todo.starts {
		a.startFetch(ctx, now, s.t, s.item)
	}
	a.startJobRemoval(ctx, now, next)
}

// failed counts a failure of one image, and settles it once there were enough, or trying again is of no use.
func (t *task) failed(it *item, err error, now time.Time) {
	it.try = it.try.failed("", err, now)
	if it.try.attempts > t.entry.RestartLimit || t.entry.DryRun || isCertain(engine.ReasonOf(err)) {
		failed := failedImage(it.ref.String(), err)
		it.done = &failed
	}
}

// isCertain reports whether the answer would be the same a few seconds later.
func isCertain(reason engine.Reason) bool {
	switch reason {
	case engine.NotFound, engine.Unauthorized, engine.NoMatchingPlatform, engine.SignatureRejected, engine.InvalidReference, engine.Unsupported:
		return true
	default:
		return false
	}
}

func (a *Agent) startFetch(ctx context.Context, now time.Time, t *task, i int) {
	it := &t.items[i]
	login := v1alpha1.StoreImage{Image: it.ref.String(), Credentials: a.namesFor(t, it.ref.Registry())}
	logins, unread := a.credentials(login)
	if unread != nil {
		a.cfg.Log.Warn("opening credentials", "node", a.cfg.Node, "reference", it.ref.String(), "actor", []string{t.entry.Job}, "error", unread)
	}
	ctx, cancel := context.WithTimeout(ctx, a.cfg.PullTimeout)
	f := &fetching{task: t, item: i, ref: it.ref, began: now, cancel: cancel}
	it.under = f
	a.work.fetches[f] = true
	a.work.turn(t.entry.UID)
	rt := a.rt.current
	a.jobs.Go(func() {
		defer cancel()
		img, err := a.fetch(ctx, rt, a.requestFor(f.ref, &f.gauge), logins)
		took := time.Since(now)
		a.post(func() { a.fetched(f, img, err, took) })
	})
}

// fetched takes in how a job's pull ended. It is not marked as ours: what a job pulls, caches find.
func (a *Agent) fetched(f *fetching, img engine.Image, err error, took time.Duration) {
	now := time.Now()
	t, it := f.task, &f.task.items[f.item]
	told := t.deedOf()
	told.reference, told.digest, told.took = nameOf(f.ref), string(f.ref.Digest()), took
	delete(a.work.fetches, f)
	it.under = nil
	if err == nil {
		a.view.put(img)
		a.stock.look(&a.view, now)
		done := action.Step(&session.Step{Asked: f.ref.String(), State: session.StatePulled, ID: img.ID, Digest: digestIn(img, f.ref), Bytes: img.PullBytes})
		it.done, it.moved = &done, f.gauge.read()
		told.digest = done.Digest
		a.pulled(told, f.ref.Registry(), img)
		return
	}
	a.view.want(now) // It may be here all the same, or the runtime gone.
	reason := engine.ReasonOf(err)
	switch {
	case f.cancelled:
		a.gaveUp(told, "the job was ended", nil)
		return
	case (reason == engine.Interrupted || reason == engine.RuntimeUnavailable) && it.cuts < maxCuts:
		it.cuts++
		it.try = it.try.interrupted("", now)
		a.gaveUp(told, "the runtime went away", err)
		return
	}
	t.failed(it, err, now)
	a.notPulled(told, f.ref.Registry(), err)
}
