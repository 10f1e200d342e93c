// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package nodejob

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orlop.dev/orlop/api/v1alpha1"
)

// ended reports whether the job has ended before and nothing opens it again: a plan that is to be carried out; of one that
// failed, a retry or an edit.
func (d *decision) ended() bool {
	kind, why := endOf(d.before)
	switch kind {
	case v1alpha1.ConditionComplete:
		d.reopened = why.reason == v1alpha1.ReasonPlanned && !d.job.Spec.DryRun
	case v1alpha1.ConditionFailed:
		d.reopened = d.retried || d.before.ObservedGeneration != d.job.Generation
	default:
		return false
	}
	if d.retried || d.reopened && kind == v1alpha1.ConditionComplete {
		d.status.StartTime = nil
	}
	return !d.reopened
}

// endOf is the condition by which a job has ended, and why; empty if it has not.
func endOf(status *v1alpha1.NodeJobStatus) (kind string, why word) {
	for _, c := range status.Conditions {
		if (c.Type == v1alpha1.ConditionComplete || c.Type == v1alpha1.ConditionFailed) && c.Status == metav1.ConditionTrue {
			return c.Type, word{c.Reason, c.Message}
		}
	}
	return "", word{}
}

func (d *decision) done() string {
	if d.job.Spec.DryRun {
		return v1alpha1.ReasonPlanned
	}
	return v1alpha1.ReasonNodesDone
}

// end ends the job. One that was opened again by an edit, and ends as it had, has its time of completion still.
func (d *decision) end(how course, why word) {
	d.course, d.why = how, why
	d.open = d.serves()
	_, was := endOf(d.before)
	if was.reason != why.reason || d.retried || d.status.CompletionTime == nil {
		d.status.CompletionTime = d.time()
	}
}

// serves reports whether nodes that were away when the job ended by itself are still served: until the deadline, if there is one.
func (d *decision) serves() bool {
	byItself := d.why.reason == v1alpha1.ReasonNodesDone || d.why.reason == v1alpha1.ReasonNodesFailed && d.job.Spec.FailurePolicy.Type != v1alpha1.FailPause
	return byItself && d.now.Before(d.deadline())
}

// afterwards looks after a job that has ended: what it had begun is ended, and as long as its deadline is to come, nodes that were away
// are served.
func (d *decision) afterwards() {
	kind, why := endOf(d.before)
	d.course, d.why = stays, why
	switch {
	case d.serves():
		d.course, d.open = late, true
		d.status.Skipped = 0
		d.count(d.wasThere)
		if d.failed > 0 && kind == v1alpha1.ConditionComplete {
			d.end(fails, word{reason: v1alpha1.ReasonNodesFailed})
			d.course = late
		}
		if d.active+len(d.pending) > 0 {
			d.at(d.deadline())
		}
	case d.before.Active > 0:
		d.cutOff(kind)
	}
}

// cutOff tells what became of nodes that were at it when the job ended, or when the time for latecomers was over.
func (d *decision) cutOff(kind string) {
	d.status.Skipped = 0
	d.count(d.wasThere)
	switch {
	case kind == v1alpha1.ConditionFailed:
		d.course = fails
	case d.failed > 0:
		d.end(fails, word{reason: v1alpha1.ReasonNodesFailed})
	default:
		d.course = completes
		for _, i := range d.pending {
			if d.readings[i].stage == stageEnded {
				d.skip(d.members[i].name, word{v1alpha1.ReasonDeadlineExceeded, "This node was back, and the time was over before it had done it"})
			}
		}
	}
	d.open = d.active > 0 // It may go away before it has answered.
}

// wasThere: a job that has ended is not for nodes that came later, unless they are named.
func (d *decision) wasThere(m *member) bool {
	return m.named || m.node != nil && d.status.CompletionTime != nil && !m.node.CreationTimestamp.After(d.status.CompletionTime.Time)
}
