// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// NodeCronJob makes a NodeJob at each time of a schedule. Its fields mean what they mean in a CronJob.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=ncj,categories=orlop
// +kubebuilder:printcolumn:name="SCHEDULE",type=string,JSONPath=`.spec.schedule`
// +kubebuilder:printcolumn:name="ACTION",type=string,JSONPath=`.status.action`
// +kubebuilder:printcolumn:name="LAST",type=date,JSONPath=`.status.lastScheduleTime`
// +kubebuilder:printcolumn:name="NEXT",type=string,JSONPath=`.status.nextScheduleTime`
// +kubebuilder:printcolumn:name="FREED",type=string,JSONPath=`.status.lastFreed`,description="What the last run freed, as measured"
// +kubebuilder:printcolumn:name="SUSPEND",type=boolean,JSONPath=`.spec.suspend`
// +kubebuilder:printcolumn:name="STATUS",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="AGE",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="TIMEZONE",type=string,JSONPath=`.spec.timeZone`,priority=1
// +kubebuilder:printcolumn:name="MESSAGE",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 52",message="the name of a NodeCronJob has at most 52 characters, as its NodeJobs add 11"
type NodeCronJob struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// +required
	Spec NodeCronJobSpec `json:"spec"`
	// +optional
	Status NodeCronJobStatus `json:"status,omitzero"`
}

// NodeCronJobList is a list of NodeCronJobs.
//
// +kubebuilder:object:root=true
type NodeCronJobList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`
	Items           []NodeCronJob `json:"items"`
}

// NodeCronJobSpec says when, and what.
//
// +kubebuilder:validation:XValidation:rule="self.jobTemplate.spec.?completionPolicy.?type.orValue('Always') != 'Never'",message="jobTemplate.spec.completionPolicy Never has no place in a schedule: no run would end"
type NodeCronJobSpec struct {
	// schedule has the five fields of cron, or is one of @hourly, @daily, @weekly, @monthly, @yearly and @every 90m, which counts from
	// the last run, and is a minute at least.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="!self.contains('TZ')",messageExpression="'schedule \"' + self + '\" names a time zone: write that as timeZone'"
	// +kubebuilder:validation:XValidation:rule="self.contains('TZ') || self.matches('^(@(yearly|annually|monthly|weekly|daily|midnight|hourly)|@every +([0-9]+([.][0-9]+)?(ns|us|ms|s|m|h))+|[ \\\\t]*([0-9a-zA-Z*/,?-]+[ \\\\t]+){4}[0-9a-zA-Z*/,?-]+[ \\\\t]*)$')",messageExpression="'schedule \"' + self + '\" has not the five fields minute, hour, day of month, month, day of week, such as 0 3 * * 0, nor is it @daily or the like'"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^@every +([0-9]+([.][0-9]+)?(ns|us|ms|s|m|h))+$') || duration(self.replace('@every', '').trim()) >= duration('1m')",messageExpression="'schedule \"' + self + '\" would run more often than once a minute'"
	Schedule string `json:"schedule"`

	// timeZone is the name of one, such as Europe/Berlin. Not set: that of the controller, UTC.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self != 'Local' && self.matches('^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$')",messageExpression="'timeZone \"' + self + '\" is not the name of a time zone, such as Europe/Berlin or Etc/UTC'"
	TimeZone *string `json:"timeZone,omitempty"`

	// startingDeadlineSeconds is how late a run may start after its time; one that is missed by more is left out. Not set: any.
	// +optional
	// +kubebuilder:validation:Minimum=0
	StartingDeadlineSeconds *int64 `json:"startingDeadlineSeconds,omitempty"`

	// concurrencyPolicy is Allow, Forbid (a run waits while another is under way) or Replace (the other is ended).
	// +optional
	// +kubebuilder:default=Allow
	ConcurrencyPolicy ConcurrencyPolicy `json:"concurrencyPolicy,omitempty"`

	// suspend starts no more runs. Those under way go on.
	// +optional
	Suspend *bool `json:"suspend,omitempty"`

	// jobTemplate is the NodeJob to make.
	// +required
	JobTemplate NodeJobTemplate `json:"jobTemplate"`

	// successfulJobsHistoryLimit and failedJobsHistoryLimit are how many ended NodeJobs stay.
	// +optional
	// +kubebuilder:default=3
	// +kubebuilder:validation:Minimum=0
	SuccessfulJobsHistoryLimit *int32 `json:"successfulJobsHistoryLimit,omitempty"`
	// +optional
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=0
	FailedJobsHistoryLimit *int32 `json:"failedJobsHistoryLimit,omitempty"`
}

// ConcurrencyPolicy is what becomes of a run that is due while another is under way.
//
// +kubebuilder:validation:Enum=Allow;Forbid;Replace
type ConcurrencyPolicy string

// The concurrency policies.
const (
	ConcurrencyAllow   ConcurrencyPolicy = "Allow"
	ConcurrencyForbid  ConcurrencyPolicy = "Forbid"
	ConcurrencyReplace ConcurrencyPolicy = "Replace"
)

// NodeJobTemplate is what the NodeJobs of a NodeCronJob are made from.
type NodeJobTemplate struct {
	// metadata: its labels and annotations are taken over.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`
	// +required
	Spec NodeJobSpec `json:"spec"`
}

// What a NodeJob of a NodeCronJob bears.
const (
	// LabelNodeCronJob is the name of the NodeCronJob.
	LabelNodeCronJob = "orlop.dev/nodecronjob"
	// AnnotationScheduledAt is the time of the schedule for which it was made, in RFC 3339.
	AnnotationScheduledAt = "orlop.dev/scheduled-at"
	// AnnotationManual is on one that a person asked for, beside the schedule.
	AnnotationManual = "orlop.dev/manual"
)

// NodeCronJobStatus is how far a schedule is.
type NodeCronJobStatus struct {
	// observedGeneration is that of the spec which the rest is about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// action is Pull, Remove, Prune or Run.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	Action string `json:"action,omitempty"`

	// active are the NodeJobs under way, the first few; activeCount is how many there are.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=50
	Active []ActiveJob `json:"active,omitempty"`
	// +optional
	ActiveCount int32 `json:"activeCount,omitempty"`

	// lastScheduleTime is the last time of the schedule that was acted upon. It does not depend on NodeJobs that are still there.
	// +optional
	LastScheduleTime *metav1.Time `json:"lastScheduleTime,omitempty"`
	// nextScheduleTime is when the next run is due; not set while suspended or stalled.
	// +optional
	NextScheduleTime *metav1.Time `json:"nextScheduleTime,omitempty"`
	// lastSuccessfulTime is when a run last ended well; lastFailedTime is when one last did not.
	// +optional
	LastSuccessfulTime *metav1.Time `json:"lastSuccessfulTime,omitempty"`
	// +optional
	LastFailedTime *metav1.Time `json:"lastFailedTime,omitempty"`

	// lastFreedBytes is what the last run that ended freed, as measured; lastFreed is the same for people.
	// +optional
	LastFreedBytes *int64 `json:"lastFreedBytes,omitempty"`
	// +optional
	// +kubebuilder:validation:MaxLength=32
	LastFreed string `json:"lastFreed,omitempty"`

	// conditions are Ready (the schedule is understood and followed) and Stalled (it takes a person to cure it).
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// ActiveJob is a NodeJob under way.
type ActiveJob struct {
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// +kubebuilder:validation:MaxLength=64
	UID string `json:"uid"`
}

// The reasons of a NodeCronJob's conditions, beside ReasonSuspended.
const (
	ReasonScheduled       = "Scheduled"
	ReasonInvalidSchedule = "InvalidSchedule"
	ReasonUnknownTimeZone = "UnknownTimeZone"
	ReasonJobRefused      = "JobRefused"     // the API server did not take the NodeJob
	ReasonStillRunning    = "StillRunning"   // a run waits for another to end, with concurrencyPolicy Forbid
	ReasonMissedDeadline  = "MissedDeadline" // a run was left out, since startingDeadlineSeconds were over
	ReasonClockChanged    = "ClockChanged"   // the last run lies far in the future, and counts for nothing
)
