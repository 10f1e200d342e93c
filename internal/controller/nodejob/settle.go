// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package nodejob

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/condition"
)

// defaultPullRetries is restartLimit for pulls where it is not set.
const defaultPullRetries = 3

// settle says what each node is asked, and what becomes of its pod.
func (d *decision) settle() {
	for i := range d.members {
		m, r := &d.members[i], &d.readings[i]
		if m.node == nil {
			if m.pod != nil {
				d.orphaned = append(d.orphaned, m.pod.Pod)
			}
			continue
		}
		ends := r.stage == stageActive && d.ends(i)
		if d.job.Spec.Template != nil {
			d.settlePod(m, ends)
			continue
		}
		switch {
		case m.asked == nil:
		case d.course == stays && m.stood == nil:
			// The store has no room for it, or is another: a job that has ended tells it nothing anew, or it would be done again.
		case r.stage == stageUnplanned && !m.final():
			d.entries[m.name] = d.entry(r, true)
		case r.stage != stageActive:
			d.entries[m.name] = d.kept(m)
		case !ends:
			d.entries[m.name] = d.entry(r, false)
		case m.stood != nil: // Else it was never told.
			d.entries[m.name] = d.entry(r, true)
		}
	}
}

// kept is the entry of a node that is not at it. A plan that was made just before it would have been cancelled counts, and can be carried out,
// if the status tells of it.
func (d *decision) kept(m *member) v1alpha1.StoreJob {
	e := *m.asked
	if e.DryRun && d.job.Spec.DryRun && d.course != stays && m.answers() && m.answer.State == v1alpha1.JobSucceeded {
		e.Cancel = false
	}
	return e
}

// ends reports whether what the node does is to be ended.
func (d *decision) ends(i int) bool {
	switch d.course {
	case suspended, stays:
		return true
	case completes, fails:
		return !d.serves() || !d.counted[i]
	default:
		return !d.counted[i]
	}
}

func (d *decision) settlePod(m *member, ends bool) {
	written := m.written()
	if m.asked != nil && m.asked.Outcome != nil {
		d.entries[m.name] = *m.asked
	}
	if m.pod == nil {
		return
	}
	told := m.asked != nil && m.asked.Outcome != nil && m.asked.Run >= m.pod.Run
	switch {
	case written != nil && written.Run >= m.pod.Run:
		d.settled = append(d.settled, m.pod.Pod)
	case told: // It is on its way into the store.
	case m.pod.Outcome != nil:
		d.entries[m.name] = d.outcome(m.pod.Run, m.pod.Outcome)
	case ends:
		why := word{v1alpha1.ReasonCancelled, d.cause()}
		d.entries[m.name] = d.outcome(m.pod.Run, &v1alpha1.PodOutcome{
			State: v1alpha1.JobCancelled, Reason: why.reason, Message: why.message, Pod: m.pod.Pod.Name, StartTime: m.pod.Pod.Status.StartTime,
		})
	}
}

// cause is why what is under way is ended.
func (d *decision) cause() string {
	switch {
	case d.course == suspended:
		return "The NodeJob was suspended"
	case d.why.reason == v1alpha1.ReasonDeadlineExceeded:
		return "The NodeJob took longer than spec.activeDeadlineSeconds"
	case d.why.reason == v1alpha1.ReasonNodeFailed:
		return "Another node failed, and spec.failurePolicy.type is FailFast"
	case d.course == goesOn || d.course == pauses || d.course == late:
		return "The NodeJob does not choose this node any more"
	}
	return "The NodeJob has ended"
}

func (d *decision) name() string { return d.job.Namespace + "/" + d.job.Name }

func (d *decision) outcome(run int32, outcome *v1alpha1.PodOutcome) v1alpha1.StoreJob {
	return v1alpha1.StoreJob{Job: d.name(), UID: string(d.job.UID), Run: run, Outcome: outcome}
}

// entry is what a node is asked. Which credentials serve it, the reconciler of ImageStores adds.
func (d *decision) entry(r *reading, cancel bool) v1alpha1.StoreJob {
	spec := &d.job.Spec
	e := v1alpha1.StoreJob{
		Job: d.name(), UID: string(d.job.UID), Run: r.run, DryRun: r.dryRun, Planned: d.status.Planned && !r.dryRun,
		Cancel: cancel, Remove: spec.Remove, Prune: spec.Prune,
		RequestedBy: condition.Cut(d.job.Annotations[v1alpha1.AnnotationRequestedBy], maxWords),
	}
	if spec.Pull != nil {
		e.Pull = &v1alpha1.StorePull{Images: spec.Pull.Images, ImagePullPolicy: spec.Pull.ImagePullPolicy}
		e.RestartLimit = defaultPullRetries
	}
	if spec.FailurePolicy.RestartLimit != nil {
		e.RestartLimit = *spec.FailurePolicy.RestartLimit
	}
	return e
}

// expire removes a job that has outlived its end by long enough, once its end has been told and its pods are let go.
func (d *decision) expire() {
	ttl := d.job.Spec.TTLSecondsAfterFinished
	if ttl == nil || d.status.CompletionTime == nil || !ended(d.status.Conditions) || d.course == goesOn || d.course == pauses || d.course == suspended {
		return
	}
	at := d.status.CompletionTime.Add(time.Duration(*ttl) * time.Second)
	if d.now.Before(at) || !ended(d.before.Conditions) {
		d.at(at) // Nothing else may happen to the job any more.
		return
	}
	d.remove = !d.unsettled()
}

func ended(conditions []metav1.Condition) bool {
	return condition.Holds(conditions, v1alpha1.ConditionComplete) || condition.Holds(conditions, v1alpha1.ConditionFailed)
}

// unsettled: a pod's outcome is yet to be written down.
func (d *decision) unsettled() bool {
	for i := range d.members {
		m := &d.members[i]
		if m.pod == nil || m.node == nil {
			continue
		}
		if written := m.written(); written == nil || written.Run < m.pod.Run {
			return true
		}
	}
	return false
}
