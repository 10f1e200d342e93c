// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/action"
	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/plan"
	"orlop.dev/orlop/internal/session"
)

var errTooLong = fmt.Errorf("after %d rounds there are images left of which it is not known whether pods need them by now: they stay", maxRounds)

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
	case err == nil && stale && failed < 0:
		t.over, t.err = true, engine.Because(engine.Reason(plan.ReasonStaleNeeds), errTooLong)
	case err == nil && failed < 0:
		t.over = true
	case reason == v1alpha1.ReasonInvalid:
		t.over = true
	default:
		why := err
		if why == nil {
			why = engine.Because(engine.Reason(result.Steps[failed].Reason), errors.New(result.Steps[failed].Message))
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
