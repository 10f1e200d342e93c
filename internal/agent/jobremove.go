// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
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

	images  []v1alpha1.JobImage // what became of each so far
	undone  int                 // those that were to go, and were not begun
	freed   *int64
	disks   bool // before and after are known
	before  plan.Disk
	after   plan.Disk
	counted bool // freed is
}

// maxRounds bounds how often a long removal begins anew because what pods need had become too old to act upon.
const maxRounds = 50

// removals reports whether there are tasks that remove, and whether one of them is at it.
func (w *work) removals() (any, acting bool) {
	for _, t := range w.tasks {
		if t.items == nil && !t.over && (!t.ended || t.acting) {
			any, acting = true, acting || t.acting
		}
	}
	return any, acting
}

// startJobRemoval begins with the oldest job that removes something, if nothing else is being removed, and what pods need is known.
func (a *Agent) startJobRemoval(ctx context.Context, now time.Time, next *earliest) {
	waits, acting := a.work.removals()
	if !waits {
		return
	}
	a.noteNeeds()
	age := now.Sub(a.currentNeeds().AsOf)
	if acting {
		// A long removal looks at them again and again: they must not grow too old in the middle of it.
		if age > plan.NeedsMaxAge/2 {
			a.askNow(now, next)
		} else {
			next.or(a.currentNeeds().AsOf.Add(plan.NeedsMaxAge/2 + time.Second))
		}
		return
	}
	stale := age >= plan.NeedsMaxAge-needsMargin
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

const tooManyNeeds = "the pods of this node name more images than can be told: nothing is removed"

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
		result, err := n.Act(ctx, p, nil)
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
			names[name] = "ImageCache " + by
		}
	}
	for f := range a.work.fetches {
		for _, name := range namesOf(f.ref) {
			names[name] = "NodeJob " + f.task.entry.Job
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
	log := a.cfg.Log.With("node", a.cfg.Node, "reference", step.Asked, "actor", []string{t.entry.Job})
	switch step.State {
	case session.StateRemoved:
		at := slices.IndexFunc(p.Remove, func(r plan.Removal) bool { return r.Image.ID == step.ID })
		if at >= 0 {
			a.view.drop(candidate{img: p.Remove[at].Image}, *step)
		}
		a.cfg.Metrics.removed(triggerJob, "ok", step.Bytes)
		log.Info("removed", "id", step.ID, "bytes", step.Bytes, "names", step.Names, "reason", "asked for")
	case session.StateFailed:
		a.cfg.Metrics.removed(triggerJob, step.Reason, 0)
		log.Warn("could not remove", "reason", step.Reason, "error", step.Message)
	default: // What stays is in the answer, image by image.
	}
}

// again decides whether there is another round.
func (t *task) again(p plan.Plan, result session.Result, err error, now time.Time) {
	reason := engine.ReasonOf(err)
	failed := slices.IndexFunc(result.Steps, func(s session.Step) bool { return s.State == session.StateFailed })
	stale := slices.ContainsFunc(result.Steps, func(s session.Step) bool {
		return s.State == session.StateKept && s.Reason == string(plan.ReasonStaleNeeds)
	})
	switch {
	case t.ended:
		t.over = t.over || err == nil && t.undone == 0 && len(p.Remove)+len(p.Keep)+len(p.Absent) > 0
	case reason == engine.RuntimeUnavailable && t.cuts < maxCuts, reason == engine.Interrupted && t.cuts < maxCuts:
		t.cuts++
		t.try = t.try.interrupted("", now)
	case err == nil && stale && t.rounds < maxRounds:
	case err == nil && failed < 0:
		t.over = true
	case reason == v1alpha1.ReasonInvalid:
		t.over = true
	default:
		why := err
		if why == nil {
			why = engine.Because(engine.Reason(result.Steps[failed].Reason), errText(result.Steps[failed].Message))
		}
		t.try = t.try.failed("", why, now)
		t.over = t.try.attempts > t.entry.RestartLimit
	}
}

// take adds what one round did to what those before it did.
func (t *task) take(p plan.Plan, result session.Result, err error) {
	images := action.Planned(p)
	if !t.entry.DryRun {
		images = action.Done(p, result.Steps)
		t.undone = 0
		for i := range p.Remove {
			r := &p.Remove[i]
			if slices.ContainsFunc(result.Steps, func(s session.Step) bool { return s.ID == r.Image.ID }) {
				continue
			}
			t.undone++
			image := v1alpha1.JobImage{Image: plan.Title(r.Image), ID: r.Image.ID, State: v1alpha1.JobImageKept, Reason: v1alpha1.ReasonCancelled, Message: notBegun}
			if !t.ended {
				image.State, image.Reason, image.Message = v1alpha1.JobImageFailed, string(engine.ReasonOf(err)), cut(fmt.Sprintf("not tried: %v", err))
			}
			images = append(images, image)
		}
		t.shown.name(images)
		t.weigh(p, result)
	} else if p.Disk.Capacity > 0 {
		t.disks, t.before, t.after = true, p.Disk, p.Disk
	}
	if err != nil && len(images) == 0 && t.rounds > 1 {
		return // What was done before stands.
	}
	t.images = merge(t.images, images)
}

// weigh sums up what the disk gave back.
func (t *task) weigh(p plan.Plan, result session.Result) {
	before, after := result.DiskBefore, result.DiskAfter
	if before.Capacity == 0 {
		before, after = p.Disk, p.Disk
	}
	if before.Capacity > 0 {
		if !t.disks {
			t.disks, t.before = true, before
		}
		t.after = after
	}
	freed := result.FreedBytes
	if freed == nil && len(p.Remove) == 0 {
		freed = new(int64)
	}
	if freed != nil {
		sum := *freed
		if t.freed != nil {
			sum += *t.freed
		}
		t.freed = &sum
	}
}

const notBegun = "the job was ended before its turn came"

// merge puts what was decided later in the place of what was decided before, but for what is gone: that a later plan misses it is
// this job's doing.
func merge(before, later []v1alpha1.JobImage) []v1alpha1.JobImage {
	if len(before) == 0 {
		return later
	}
	var all []v1alpha1.JobImage
	was := map[string]bool{}
	for i := range before {
		if before[i].State == v1alpha1.JobImageRemoved {
			all = append(all, before[i])
		}
		was[before[i].Image] = before[i].State == v1alpha1.JobImageAbsent
	}
	for i := range later {
		if later[i].State != v1alpha1.JobImageAbsent || was[later[i].Image] {
			all = append(all, later[i])
		}
	}
	return all
}

// concludeRemoval is conclude for what removes.
func (t *task) concludeRemoval(now time.Time) (v1alpha1.StoreJobStatus, bool) {
	if t.acting || !t.over && !t.ended {
		return v1alpha1.StoreJobStatus{}, false
	}
	images := t.images
	if len(images) == 0 {
		images = t.shown.untouched()
	}
	st := t.answer(images, now)
	if !t.entry.DryRun {
		st.FreedBytes = t.freed
	}
	if t.disks {
		st.DiskBefore, st.DiskAfter = hundredths(t.before), hundredths(t.after)
	}
	switch {
	case t.err != nil && t.over:
		t.fail(&st, string(engine.ReasonOf(t.err)), t.err.Error())
	case !t.over && t.rounds == 0:
		t.cancelled(&st, "ended before it began")
	case !t.over:
		t.cancelled(&st, fmt.Sprintf("ended when %d images had been removed", st.Removed))
	}
	return st, true
}

// hundredths is how full a disk is, in hundredths of a percent.
func hundredths(d plan.Disk) int32 { return int32(100 * d.Percent()) }
