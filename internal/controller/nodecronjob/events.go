// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package nodecronjob

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/condition"
)

// maxNote is somewhat under what the API server takes.
const maxNote = 1000

// tell speaks of what the schedule's condition says anew. What was said already stands in the status: a restart says nothing again.
func (c *Controller) tell(cron *v1alpha1.NodeCronJob, before, after *status) {
	was, is := meta.FindStatusCondition(before.Conditions, v1alpha1.ConditionReady), meta.FindStatusCondition(after.Conditions, v1alpha1.ConditionReady)
	if is == nil || was != nil && was.Reason == is.Reason && was.Message == is.Message {
		return
	}
	kind := corev1.EventTypeWarning
	switch is.Reason {
	case v1alpha1.ReasonScheduled, v1alpha1.ReasonSuspended:
		return
	case v1alpha1.ReasonStillRunning:
		kind = corev1.EventTypeNormal
	}
	c.cfg.Recorder.Eventf(cron, nil, kind, is.Reason, "Schedule", "%s", condition.Cut(is.Message, maxNote))
}

func (c *Controller) tellMade(cron *v1alpha1.NodeCronJob, job *v1alpha1.NodeJob) {
	c.cfg.Recorder.Eventf(cron, job, corev1.EventTypeNormal, "JobCreated", "Run", "Created NodeJob %s for %s", job.Name, job.Annotations[v1alpha1.AnnotationScheduledAt])
}

func (c *Controller) tellReplaced(cron *v1alpha1.NodeCronJob, job *v1alpha1.NodeJob) {
	c.cfg.Recorder.Eventf(cron, job, corev1.EventTypeNormal, "JobReplaced", "Run", "Ended NodeJob %s, as concurrencyPolicy Replace asks", job.Name)
}
