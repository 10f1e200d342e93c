// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"slices"
	"time"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/node"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/plan"
	"orlop.dev/orlop/internal/session"
)

const (
	// needsMargin is how much of plan.NeedsMaxAge must be left when a removal begins.
	needsMargin = 10 * time.Second
	// removeRetry is the least time until a removal that was held at the last moment is tried again; it doubles.
	removeRetry = 10 * time.Second
)

// wantedBy are the reasons that others than this node know.
var wantedBy = []plan.Reason{plan.ReasonNeeded, plan.ReasonCached}

// startRemoval removes what nothing needs. What the node cannot see itself it asks for first, if what it knows is old.
func (a *Agent) startRemoval(ctx context.Context, now time.Time, made *decision, next *earliest) {
	if len(made.release) == 0 {
		if waits, _ := a.work.removals(); !a.removal && !waits {
			a.asking = asking{}
		}
		return
	}
	a.noteNeeds()
	held, planned, fresh := a.hold(made.release, now)
	if a.asking.frees(made.release, held) {
		a.asking.freed, a.asking.pause = now, min(a.asking.pause, askPause) // The question of another image may be minutes off.
		held, planned, fresh = a.hold(made.release, now)
	}
	waiting := waitsForNeeds
	if pods := a.store.Spec.Needs; pods != nil && pods.Omitted > 0 {
		waiting = tooManyNeeds
	}
	for i := range made.images {
		st := &made.images[i]
		if kept, ok := held[st.Image]; ok {
			st.Reason, st.Message = string(kept.Reason), cut(kept.Message)
		} else if !fresh && st.Reason == "" && slices.ContainsFunc(made.release, func(c candidate) bool { return c.image == st.Image }) {
			st.Reason, st.Message = string(plan.ReasonStaleNeeds), waiting
			if before := a.records[st.Image]; before.State == st.State && slices.Contains(wantedBy, plan.Reason(before.Reason)) {
				st.Reason, st.Message = before.Reason, before.Message // Until the answer comes, that is what is known.
			}
		}
	}
	switch {
	case fresh && len(planned.Remove) < len(made.release):
		next.or(a.currentNeeds().AsOf.Add(plan.NeedsMaxAge)) // What pods hold now is asked for again.
	case len(planned.Remove) == 0:
		return
	}
	switch {
	case len(planned.Remove) == 0 || a.removal || a.report.away:
	case !fresh:
		a.ask(now, next)
	default:
		a.startRemoving(ctx, planned, made.release)
	}
}

// keepNeedsKnown asks what pods need again while something is being removed: a long removal looks at it again and again, and it must
// not grow too old in the middle of it.
func (a *Agent) keepNeedsKnown(now time.Time, next *earliest) {
	a.noteNeeds()
	asOf := a.currentNeeds().AsOf
	if now.Sub(asOf) > plan.NeedsMaxAge/2 {
		a.askNow(now, next)
	} else {
		next.or(asOf.Add(plan.NeedsMaxAge/2 + time.Second))
	}
}

// hold tells which candidates are held, and plans to remove the others. Where what is known of pods may not be acted upon, it is left
// out: fresh is false.
func (a *Agent) hold(candidates []candidate, now time.Time) (held map[string]plan.Kept, planned plan.Plan, fresh bool) {
	needs := a.currentNeeds()
	fresh = now.Sub(needs.AsOf) < plan.NeedsMaxAge-needsMargin && !needs.AsOf.Before(a.asking.freed)
	if !fresh {
		needs.Items = a.lasting()
	}
	held, planned = heldHere(candidates, plan.State{Images: a.view.images, Uses: a.view.uses, Needs: needs, Now: now})
	return held, planned, fresh
}

func (a *Agent) startRemoving(ctx context.Context, planned plan.Plan, candidates []candidate) {
	a.removal = true
	a.removing, a.going = map[oci.Ref]bool{}, map[string]bool{}
	for _, c := range candidates {
		if slices.ContainsFunc(planned.Remove, func(r plan.Removal) bool { return r.Image.ID == c.img.ID }) {
			a.going[c.image] = true
		}
		for _, name := range slices.Concat(namesOf(c.want), c.img.Tags, c.img.Digests) {
			a.removing[name] = true
		}
	}
	n := &node.Node{Runtime: a.rt.current, Needs: a.currentNeeds, Disk: a.cfg.Disk}
	a.jobs.Go(func() {
		result, err := a.rt.carry(ctx, n, planned)
		a.post(func() { a.removed(candidates, result, err) })
	})
}

// removed takes in what became of a removal. What is gone the next look shows.
func (a *Agent) removed(candidates []candidate, result session.Result, err error) {
	now := time.Now()
	a.removal, a.removing, a.going = false, nil, nil
	a.view.epoch++
	a.view.fresh = a.view.fresh && err == nil
	a.view.want(now)
	for i := range result.Steps {
		step := &result.Steps[i]
		var under []candidate
		for _, c := range candidates {
			if c.img.ID == step.ID {
				a.removedOne(c, *step, now)
				under = append(under, c)
			}
		}
		if len(under) > 0 {
			a.removedFor(triggerCache, a.deedOf(under), step)
		}
	}
	if err != nil {
		a.cfg.Log.Warn("removing", "node", a.cfg.Node, "error", err)
		for _, c := range candidates {
			a.tries[comingOf(c.image)] = try{} // What went before the error, and was not put back, stays away.
			if _, told := a.tries[removalOf(c.image)]; !told {
				a.tries[removalOf(c.image)] = try{}.failed("", err, now)
			}
		}
	}
}

func (a *Agent) removedOne(c candidate, step session.Step, now time.Time) {
	key := removalOf(c.image)
	if step.State != session.StateAbsent { // Else somebody else removed it, and may put it back.
		a.tries[comingOf(c.image)] = try{}
	}
	switch step.State {
	case session.StateRemoved, session.StateAbsent:
		delete(a.tries, key)
		a.view.drop(c, step)
	case session.StateKept:
		t := a.tries[key]
		t.attempts++
		t.last, t.next, t.reason, t.message = now, now.Add(min(removeRetry<<min(t.attempts-1, 10), maxAskPause)), step.Reason, cut(step.Message)
		a.tries[key] = t
		a.cfg.Log.Info("kept", "node", a.cfg.Node, "reference", c.want.String(), "reason", step.Reason, "message", step.Message)
	default:
		a.tries[key] = a.tries[key].failed("", engine.Because(engine.Reason(step.Reason), errors.New(step.Message)), now)
	}
}

func (a *Agent) actor(image string) []string {
	if a.store == nil {
		return nil
	}
	at := slices.IndexFunc(a.store.Spec.Images, func(e v1alpha1.StoreImage) bool { return e.Image == image })
	if at < 0 {
		return nil
	}
	return a.store.Spec.Images[at].Caches
}

// letGo unpins everything of ours, and forgets it. Images stay. It reports false if there are pins that it could not lift: those
// it goes on to know of.
func (a *Agent) letGo(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
	defer cancel()
	a.cancelPulls(func(string) bool { return true })
	a.work.abandon()
	rt := a.rt.current
	if rt == nil {
		rt = a.rt.last
	}
	left := map[string]v1alpha1.StoreImageStatus{}
	for name, rec := range a.records {
		d := decider{sight: sight{view: &a.view}}
		img, want, here := d.recorded(name, rec)
		switch {
		case !rec.Pinned || !here && a.view.fresh:
		case !here || rt == nil:
			left[name] = rec
		default:
			if err := setPin(ctx, rt, byDigest(img, want, rec.Digest), false); err != nil {
				left[name] = rec
				a.cfg.Log.Warn("unpinning", "node", a.cfg.Node, "reference", name, "error", err)
			}
		}
	}
	a.records, a.recorded = left, nil
	if len(left) == 0 {
		a.view.want(time.Now())
	}
	return len(left) == 0
}

// owe goes on with pins that could not be lifted for a store before this one, as while the runtime was away: they become records
// of the store that is there now, which the controller has released.
func (a *Agent) owe(left map[string]v1alpha1.StoreImageStatus) {
	for name, rec := range left {
		if known, ok := a.records[name]; ok && known.Digest != rec.Digest {
			name = rec.Image // The name means another image by now.
			if ref, err := wantNamed(name, ""); err == nil && ref.Tag() != "" && rec.Digest != "" {
				name = byDigestName(ref, rec.Digest)
			}
		}
		now, ok := a.records[name]
		if !ok {
			now = v1alpha1.StoreImageStatus{Image: name, Digest: rec.Digest, State: v1alpha1.ImageReleasing}
		}
		now.Pinned = true
		a.records[name] = now
	}
}

// leave ends the agent. If the store is gone, or the right to read it, Orlop is being taken out of the cluster, and nothing
// will lift its pins later; else all stays as it is, for the next agent. Who deletes everything at once deletes the agents a
// moment before their rights, as often as not.
func (a *Agent) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
	defer cancel()
	until := time.Now().Add(leavePatience)
	for stocked := false; a.report.known; stocked = true {
		if errors.Is(a.cfg.API.MayRead(ctx, a.cfg.Node), ErrGone) {
			a.letGo(ctx)
			return
		}
		if !stocked {
			a.lastStock(ctx)
		}
		if !time.Now().Before(until) {
			return
		}
		select {
		case <-time.After(leaveAgain):
		case <-ctx.Done():
			return
		}
	}
}
