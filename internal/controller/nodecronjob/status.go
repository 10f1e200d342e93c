// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package nodecronjob

import (
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/action"
	"orlop.dev/orlop/internal/condition"
	"orlop.dev/orlop/internal/table"
)

// maxActive is what the schema takes.
const maxActive = 50

// word is what the conditions say.
type word struct {
	stalled         bool
	reason, message string
}

// sum is the status as the children make it; its conditions are still the old ones. What children that are gone had to say stays.
func sum(cron *v1alpha1.NodeCronJob, all children) v1alpha1.NodeCronJobStatus {
	s := *cron.Status.DeepCopy()
	s.ObservedGeneration = cron.Generation
	s.Action = action.Of(&cron.Spec.JobTemplate.Spec)
	s.NextScheduleTime = nil
	s.Active, s.ActiveCount = nil, 0
	for _, job := range all.active() {
		activate(&s, job)
	}
	newest := later(s.LastSuccessfulTime, s.LastFailedTime)
	for _, job := range all {
		at := metav1.NewTime(ended(job))
		switch {
		case failed(job):
			s.LastFailedTime = later(s.LastFailedTime, &at)
		case succeeded(job):
			s.LastSuccessfulTime = later(s.LastSuccessfulTime, &at)
		default:
			continue
		}
		if newest == nil || !at.Before(newest) {
			newest = &at
			s.LastFreedBytes, s.LastFreed = freed(job)
		}
	}
	return s
}

func activate(s *status, job *v1alpha1.NodeJob) {
	s.ActiveCount++
	if len(s.Active) < maxActive {
		s.Active = append(s.Active, v1alpha1.ActiveJob{Name: job.Name, UID: string(job.UID)})
	}
}

// freed is what a run freed. A dry run freed nothing, and a pull has nothing to say.
func freed(job *v1alpha1.NodeJob) (*int64, string) {
	if job.Status.FreedBytes == nil || job.Spec.DryRun {
		return nil, ""
	}
	return new(*job.Status.FreedBytes), table.Size(*job.Status.FreedBytes)
}

func later(a, b *metav1.Time) *metav1.Time {
	if a == nil || b != nil && a.Before(b) {
		return b
	}
	return a
}

// unusable is what the conditions say of a spec that nobody could follow.
func unusable(err error) word {
	reason := v1alpha1.ReasonInvalid
	switch {
	case errors.Is(err, errZone):
		reason = v1alpha1.ReasonUnknownTimeZone
	case errors.Is(err, errSchedule):
		reason = v1alpha1.ReasonInvalidSchedule
	}
	return word{stalled: true, reason: reason, message: err.Error()}
}

func following(cron *v1alpha1.NodeCronJob) word {
	text := "Runs follow the schedule " + cron.Spec.Schedule
	if cron.Spec.TimeZone != nil {
		text += " in " + *cron.Spec.TimeZone
	}
	return word{reason: v1alpha1.ReasonScheduled, message: text}
}

// lasting is what was said of the last run, or of the schedule's beginning anew: it stands until the next run or edit.
func lasting(cron *v1alpha1.NodeCronJob) (word, bool) {
	ready := meta.FindStatusCondition(cron.Status.Conditions, v1alpha1.ConditionReady)
	if ready == nil || ready.ObservedGeneration != cron.Generation {
		return word{}, false
	}
	switch ready.Reason {
	case v1alpha1.ReasonJobRefused, v1alpha1.ReasonClockChanged:
		return word{stalled: ready.Status == metav1.ConditionFalse, reason: ready.Reason, message: ready.Message}, true
	}
	return word{}, false
}

func (w word) conditions(cron *v1alpha1.NodeCronJob, now time.Time) []metav1.Condition {
	stalled, message := v1alpha1.ReasonAsExpected, ""
	if w.stalled {
		stalled, message = w.reason, w.message
	}
	return condition.Keep(cron.Status.Conditions, []metav1.Condition{
		condition.New(v1alpha1.ConditionReady, !w.stalled, cron.Generation, w.reason, w.message),
		condition.New(v1alpha1.ConditionStalled, w.stalled, cron.Generation, stalled, message),
	}, now)
}

func same(a, b *v1alpha1.NodeCronJobStatus) bool { return equality.Semantic.DeepEqual(a, b) }

func stillRunning(slot time.Time, active children) word {
	return word{reason: v1alpha1.ReasonStillRunning, message: fmt.Sprintf(
		"The run due at %s waits for NodeJob %s, as concurrencyPolicy Forbid asks", slot.Format(time.RFC3339), active[0].Name)}
}

func missed(slot time.Time, deadline int64) word {
	return word{reason: v1alpha1.ReasonMissedDeadline, message: fmt.Sprintf(
		"The run due at %s was left out: it could not start within startingDeadlineSeconds, %d", slot.Format(time.RFC3339), deadline)}
}

func begunAnew(last metav1.Time) word {
	return word{reason: v1alpha1.ReasonClockChanged, message: fmt.Sprintf(
		"The last run was at %s, which is yet to come: the schedule begins anew, as a clock was wrong", last.UTC().Format(time.RFC3339))}
}
