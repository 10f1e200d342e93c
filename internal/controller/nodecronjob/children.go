// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package nodecronjob

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/condition"
)

// As in a CronJob, where the spec was not given its defaults by the API server.
const successfulStay, failedStay = 3, 1

// children are the NodeJobs of a NodeCronJob, the oldest first.
type children []*v1alpha1.NodeJob

func sorted(jobs children) children {
	slices.SortFunc(jobs, func(a, b *v1alpha1.NodeJob) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	return jobs
}

func failed(job *v1alpha1.NodeJob) bool {
	return condition.Holds(job.Status.Conditions, v1alpha1.ConditionFailed)
}

// succeeded: a job of which a latecomer failed after its end is none.
func succeeded(job *v1alpha1.NodeJob) bool {
	return condition.Holds(job.Status.Conditions, v1alpha1.ConditionComplete) && !failed(job)
}

func finished(job *v1alpha1.NodeJob) bool { return failed(job) || succeeded(job) }

// scheduled: made for a slot. As in a CronJob, one that a person made beside the schedule neither holds up the next nor is replaced.
func scheduled(job *v1alpha1.NodeJob) bool {
	_, manual := job.Annotations[v1alpha1.AnnotationManual]
	return job.Annotations[v1alpha1.AnnotationScheduledAt] != "" && !manual
}

// active are those made for a slot and still under way.
func (all children) active() (some children) {
	for _, job := range all {
		if !finished(job) && scheduled(job) {
			some = append(some, job)
		}
	}
	return some
}

// surplus are those that have ended, beyond what is to stay; the oldest go.
func (all children) surplus(spec *v1alpha1.NodeCronJobSpec) (some children) {
	for _, kind := range []struct {
		is    func(*v1alpha1.NodeJob) bool
		limit *int32
		usual int32
	}{{succeeded, spec.SuccessfulJobsHistoryLimit, successfulStay}, {failed, spec.FailedJobsHistoryLimit, failedStay}} {
		var ended children
		for _, job := range all {
			if kind.is(job) && job.DeletionTimestamp.IsZero() {
				ended = append(ended, job)
			}
		}
		stay := kind.usual
		if kind.limit != nil {
			stay = *kind.limit
		}
		some = append(some, ended[:max(0, len(ended)-int(stay))]...)
	}
	return some
}

// ended is when a job did; zero if it has not.
func ended(job *v1alpha1.NodeJob) time.Time {
	if job.Status.CompletionTime != nil {
		return job.Status.CompletionTime.Time
	}
	for _, c := range job.Status.Conditions {
		if (c.Type == v1alpha1.ConditionComplete || c.Type == v1alpha1.ConditionFailed) && c.Status == metav1.ConditionTrue {
			return c.LastTransitionTime.Time
		}
	}
	return time.Time{}
}

// nameFor follows from the slot, so that no slot can have two NodeJobs, whoever makes them.
func nameFor(cron string, slot time.Time) string { return fmt.Sprintf("%s-%d", cron, slot.Unix()/60) }

// child is the NodeJob for a slot.
func child(cron *v1alpha1.NodeCronJob, slot time.Time) *v1alpha1.NodeJob {
	template := cron.Spec.JobTemplate.DeepCopy()
	job := &v1alpha1.NodeJob{Spec: template.Spec}
	job.Namespace, job.Name = cron.Namespace, nameFor(cron.Name, slot)
	job.Labels, job.Annotations = map[string]string{}, map[string]string{}
	maps.Copy(job.Labels, template.Labels)
	maps.Copy(job.Annotations, template.Annotations)
	job.Labels[v1alpha1.LabelNodeCronJob] = cron.Name
	job.Annotations[v1alpha1.AnnotationScheduledAt] = slot.Format(time.RFC3339)
	delete(job.Annotations, v1alpha1.AnnotationManual)
	// Without blockOwnerDeletion, for which some clusters ask for a right to the owner's finalizers.
	job.OwnerReferences = []metav1.OwnerReference{{
		APIVersion: v1alpha1.GroupVersion.String(), Kind: kind, Name: cron.Name, UID: cron.UID, Controller: new(true),
	}}
	return job
}

// isFor reports whether a NodeJob is the one of this cron and slot.
func isFor(job *v1alpha1.NodeJob, cron *v1alpha1.NodeCronJob, slot time.Time) bool {
	at, err := time.Parse(time.RFC3339, job.Annotations[v1alpha1.AnnotationScheduledAt])
	return metav1.IsControlledBy(job, cron) && err == nil && at.Equal(slot)
}
