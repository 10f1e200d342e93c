// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"maps"
	"slices"
	"time"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
)

// decide makes the decision of this moment.
func (a *Agent) decide(now time.Time) decision {
	if !a.view.fresh {
		return a.undecided()
	}
	_, canPin := engine.As[engine.Pinner](a.rt.current)
	_, canMark := engine.As[engine.Marker](a.rt.current)
	_, restores := engine.As[engine.Batcher](a.rt.current)
	return decide(sight{
		now: now, spec: a.store.Spec, records: a.records, view: &a.view, canPin: canPin, canMark: canMark, restores: restores, needs: a.wanted,
		pulls: a.pulls, tries: a.tries, intended: a.intended, going: a.going, sealed: a.sealed,
		fetches: a.work.fetches,
		disk:    a.cfg.Disk(a.rt.described.ImageFS),
		limits:  limits{disk: a.cfg.DiskLimit, pin: a.cfg.PinLimit, pulls: a.cfg.MaxParallelPulls},
		size:    a.stock.size,
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
	for _, what := range made.forget {
		delete(a.tries, what)
	}
	for _, what := range made.hasten {
		t := a.tries[what]
		t.next = time.Time{}
		a.tries[what] = t
	}
	for _, record := range made.missed {
		a.mayComeBack(now, record)
	}
	next.or(made.wake.at)
	a.cancelPulls(func(name string) bool { return slices.Contains(made.cancel, name) })
	// What somebody else brought before it was asked for must not be taken for ours.
	current := !a.view.looking && !a.view.at.Before(a.specSince)
	for _, o := range made.pull {
		if current && a.recordedAs(made, o.entry.Image) && !a.isGoing(o.want) && !a.isFetched(now, o.want) {
			a.startPull(ctx, now, o)
		}
	}
	a.startPins(ctx, now, made)
	if a.removal {
		a.keepNeedsKnown(now, next)
	}
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
	for _, o := range slices.Concat(made.queued, made.pull) {
		if a.pulls[o.entry.Image] == nil && a.records[o.entry.Image].State != v1alpha1.ImagePresent {
			a.intended[o.entry.Image] = true
		}
	}
	for what := range a.tries {
		if _, ok := a.records[what.image]; !ok {
			delete(a.tries, what)
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

// isFetched reports whether a job is pulling the name: then it will be found here. A pull that takes long holds up no cache.
func (a *Agent) isFetched(now time.Time, want oci.Ref) bool {
	names := namesOf(want)
	for f := range a.work.fetches {
		if now.Sub(f.began) < slowAfter && slices.ContainsFunc(namesOf(f.ref), func(name oci.Ref) bool { return slices.Contains(names, name) }) {
			return true
		}
	}
	return false
}
