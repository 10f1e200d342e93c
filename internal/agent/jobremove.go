// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/action"
	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/node"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/plan"
	"orlop.dev/orlop/internal/session"
)

// clearing is the part of a task that removes or prunes.
type clearing struct {
	shown  *shown      // what a dry run had named: nothing else goes
	ending atomic.Bool // as task.ended, for the removal that is under way
	acting bool        // the plan is being made, or carried out
	over   bool        // nothing is left to do
	rounds int
	cuts   int
	try    try
	err    error // of the last round

	images []v1alpha1.JobImage // what became of each so far
	undone int                 // those that were to go, and were not begun
	freed  *int64
	disks  bool // before and after are known
	before plan.Disk
	after  plan.Disk
}

// maxRounds bounds how often a long removal begins anew because what pods need had become too old to act upon.
const maxRounds = 50

// removals reports whether there are tasks that remove, and whether one of them is at it.
func (w *work) removals() (some, acting bool) {
	for _, t := range w.tasks {
		if t.items == nil && !t.over && (!t.ended || t.acting) {
			some, acting = true, acting || t.acting
		}
	}
	return some, acting
}

// startJobRemoval begins with the oldest job that removes something, if nothing else is being removed, and what pods need is known.
func (a *Agent) startJobRemoval(ctx context.Context, now time.Time, next *earliest) {
	waits, acting := a.work.removals()
	if !waits {
		return
	}
	if acting {
		a.keepNeedsKnown(now, next)
		return
	}
	a.noteNeeds()
	stale := now.Sub(a.currentNeeds().AsOf) >= plan.NeedsMaxAge-needsMargin
	omitted := a.needsOmitted(now)
	var first *task
	for _, t := range a.work.order {
		if t.items != nil || t.ended || t.over || t.dropped {
			continue
		}
		switch {
		case now.Before(t.try.next):
			next.or(t.try.next)
		case omitted:
			t.over, t.err = true, engine.Because(engine.Reason(plan.ReasonStaleNeeds), errors.New(tooManyNeeds))
		case first == nil:
			first = t
		}
		t.asks = stale
	}
	switch {
	case first == nil || a.removal || a.report.away || omitted:
	case stale:
		a.askNow(now, next)
	default:
		a.startClearing(ctx, now, first)
	}
}

// needsOmitted reports whether what the controller has told just now is not all.
func (a *Agent) needsOmitted(now time.Time) bool {
	pods := a.store.Spec.Needs
	if pods == nil || pods.Omitted == 0 {
		return false
	}
	return a.asking.nonce != "" && pods.Answers == a.asking.nonce || now.Sub(pods.AsOf.Time).Abs() < plan.NeedsMaxAge
}

// askNow asks what pods need for somebody who waits for it: again at once if the answer has grown old, and later and later while
// there is none.
func (a *Agent) askNow(now time.Time, next *earliest) {
	pods := a.store.Spec.Needs
	asked := a.asking.nonce != ""
	due := a.asking.at.Add(askPause)
	if answered := asked && pods != nil && pods.Answers == a.asking.nonce; asked && !answered {
		due = a.asking.at.Add(a.asking.pause)
	} else {
		a.asking.pause = 0
	}
	if asked && now.Before(due) {
		next.or(due)
		return
	}
	a.asking.at = time.Time{}
	a.ask(now, next)
}

// startClearing makes the plan.
func (a *Agent) startClearing(ctx context.Context, now time.Time, t *task) {
	a.removal, t.acting, t.asks, t.stirred = true, true, false, now
	t.rounds++
	n := &node.Node{Runtime: a.informed(t, now), Needs: a.currentNeeds, Disk: a.cfg.Disk, Ending: t.ending.Load}
	entry := t.entry
	a.jobs.Go(func() {
		planned, err := planFor(ctx, n, &entry, now)
		a.post(func() { a.planned(ctx, n, t, planned, err) })
	})
}

func planFor(ctx context.Context, n *node.Node, entry *v1alpha1.StoreJob, now time.Time) (plan.Plan, error) {
	ctx, cancel := context.WithTimeout(ctx, measureTimeout)
	defer cancel()
	if entry.Remove != nil {
		req, err := action.RemoveRequest(entry.Remove)
		if err != nil {
			return plan.Plan{}, engine.Because(v1alpha1.ReasonInvalid, err)
		}
		return n.PlanRemove(ctx, req)
	}
	req, err := action.PruneRequest(entry.Prune, now)
	if err != nil {
		return plan.Plan{}, engine.Because(v1alpha1.ReasonInvalid, err)
	}
	return n.PlanPrune(ctx, req)
}

// planned carries the plan out, but for what was not shown, and what is being pulled at this moment.
func (a *Agent) planned(ctx context.Context, n *node.Node, t *task, p plan.Plan, err error) {
	if a.store == nil {
		t.end()
	}
	if err == nil {
		p = t.shown.limit(p)
		p = spare(p, a.pulling())
	}
	if err != nil || t.ended || t.entry.DryRun || len(p.Remove) == 0 {
		var result session.Result
		if err == nil && !t.ended && !t.entry.DryRun {
			result, err = n.Act(ctx, p, nil) // It tells of what stays, and touches nothing.
		}
		a.cleared(t, p, result, err)
		return
	}
	a.removing, a.going = map[oci.Ref]bool{}, map[string]bool{}
	for i := range p.Remove {
		for _, name := range slices.Concat(p.Remove[i].Image.Tags, p.Remove[i].Image.Digests) {
			a.removing[name] = true
		}
	}
	for i := range a.store.Spec.Images {
		e := a.store.Spec.Images[i]
		if want, err := wantOf(e); err == nil && e.Released && a.isGoing(want) {
			a.going[e.Image] = true
		}
	}
	a.jobs.Go(func() {
		result, err := a.rt.carry(ctx, n, p)
		a.post(func() { a.cleared(t, p, result, err) })
	})
}

// pulling are the names that are being pulled, and for whom.
func (a *Agent) pulling() map[oci.Ref]string {
	names := map[oci.Ref]string{}
	for _, p := range a.pulls {
		by := "another"
		if len(p.entry.Caches) > 0 {
			by = p.entry.Caches[0]
		}
		for _, name := range namesOf(p.want) {
			names[name] = actorCache + by
		}
	}
	for f := range a.work.fetches {
		for _, name := range namesOf(f.ref) {
			names[name] = actorJob + f.task.entry.Job
		}
	}
	return names
}

// spare leaves what is being pulled.
func spare(p plan.Plan, pulling map[oci.Ref]string) plan.Plan {
	return leave(p, func(r *plan.Removal) (plan.Reason, string) {
		for _, name := range slices.Concat(r.Image.Tags, r.Image.Digests) {
			if by := pulling[name]; by != "" {
				return plan.ReasonNeeded, "it is being pulled for " + by
			}
		}
		return "", ""
	})
}

// leave turns removals into decisions to keep, where why gives a reason.
func leave(p plan.Plan, why func(*plan.Removal) (plan.Reason, string)) plan.Plan {
	remove := make([]plan.Removal, 0, len(p.Remove))
	keep := slices.Clone(p.Keep)
	p.FreesBytes = 0
	for i := range p.Remove {
		r := &p.Remove[i]
		if reason, message := why(r); reason != "" {
			keep = append(keep, plan.Kept{Image: r.Image, Reason: reason, Message: message})
			continue
		}
		remove = append(remove, *r)
		p.FreesBytes += r.FreesBytes
	}
	p.Remove, p.Keep = remove, keep
	return p
}

// cleared takes in what became of one round.
func (a *Agent) cleared(t *task, p plan.Plan, result session.Result, err error) {
	now := time.Now()
	a.removal, a.removing, a.going = false, nil, nil
	t.acting, t.err = false, err
	if len(p.Remove) > 0 && !t.entry.DryRun || err != nil {
		a.view.epoch++
		a.view.want(now)
		a.view.fresh = a.view.fresh && (err == nil || engine.ReasonOf(err) == v1alpha1.ReasonInvalid)
	}
	for i := range result.Steps {
		a.jobRemoved(t, &p, &result.Steps[i])
	}
	if err != nil {
		a.cfg.Log.Warn("removing", "node", a.cfg.Node, "actor", []string{t.entry.Job}, "error", err)
	}
	t.take(p, result, err)
	t.again(p, result, err, now)
}

// jobRemoved tells of one image.
func (a *Agent) jobRemoved(t *task, p *plan.Plan, step *session.Step) {
	done := t.deedOf()
	done.reference = step.Asked
	if t.entry.Prune != nil {
		done.reason = reasonPruned
	}
	if at := slices.IndexFunc(p.Remove, func(r plan.Removal) bool { return r.Image.ID == step.ID }); at >= 0 {
		done.digest = digestOf(&p.Remove[at].Image)
		if step.State == session.StateRemoved {
			a.view.drop(candidate{img: p.Remove[at].Image}, *step)
		}
	}
	a.removedFor(triggerJob, done, step) // What stays is in the answer, image by image.
}
