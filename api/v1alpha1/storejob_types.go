// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// StoreJob is what one NodeJob asks of one node, or what became of its pod there.
type StoreJob struct {
	// job is namespace/name.
	// +kubebuilder:validation:MaxLength=320
	Job string `json:"job"`
	// +kubebuilder:validation:MaxLength=64
	UID string `json:"uid"`
	// run counts the retries: an answer for a lower one is not the answer.
	// +optional
	Run int32 `json:"run,omitempty"`
	// +optional
	DryRun bool `json:"dryRun,omitempty"`
	// planned: a dry run came before. Only what the answer to it had named may go; without that answer nothing may.
	// +optional
	Planned bool `json:"planned,omitempty"`
	// cancel: nothing more is begun, pulls are ended, and the agent answers what was done.
	// +optional
	Cancel bool `json:"cancel,omitempty"`
	// +optional
	RestartLimit int32 `json:"restartLimit,omitempty"`
	// requestedBy is who asked, by the job's annotation: for the node's log, and no proof.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	RequestedBy string `json:"requestedBy,omitempty"`

	// Exactly one of pull, remove, prune and outcome is set, and none once the agent has answered and room is short.
	// +optional
	Pull *StorePull `json:"pull,omitempty"`
	// +optional
	Remove *RemoveAction `json:"remove,omitempty"`
	// +optional
	Prune *PruneAction `json:"prune,omitempty"`
	// outcome is what became of the pod of a template here: the controller writes it down before it lets the pod go.
	// +optional
	Outcome *PodOutcome `json:"outcome,omitempty"`
}

// StorePull is PullAction as a node gets it.
type StorePull struct {
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=500
	// +kubebuilder:validation:items:MaxLength=512
	Images []string `json:"images"`
	// +optional
	ImagePullPolicy corev1.PullPolicy `json:"imagePullPolicy,omitempty"`
	// credentials name entries of spec.credentials: for each image, those of its registry are tried in this order.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	Credentials []string `json:"credentials,omitempty"`
}

// PodOutcome is what became of a pod of a template.
type PodOutcome struct {
	// state is Succeeded or Failed.
	State JobState `json:"state"`
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Reason string `json:"reason,omitempty"`
	// message has the container's termination message or what the kubelet said.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Message string `json:"message,omitempty"`
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Pod string `json:"pod,omitempty"`
	// +optional
	ExitCode *int32 `json:"exitCode,omitempty"`
	// +optional
	Restarts int32 `json:"restarts,omitempty"`
	// +optional
	StartTime *metav1.Time `json:"startTime,omitempty"`
	// +optional
	CompletionTime *metav1.Time `json:"completionTime,omitempty"`
}

// StoreJobStatus is one node's answer to one NodeJob.
type StoreJobStatus struct {
	// +kubebuilder:validation:MaxLength=64
	UID string `json:"uid"`
	// run and dryRun are those of the ask that this answers.
	// +optional
	Run int32 `json:"run,omitempty"`
	// +optional
	DryRun bool     `json:"dryRun,omitempty"`
	State  JobState `json:"state"`
	// planned: a dry run came before, and only what it had named may go, in later runs too. While it is carried out, images are its decisions.
	// +optional
	Planned bool `json:"planned,omitempty"`
	// reason and message: why it failed, or waits.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Reason string `json:"reason,omitempty"`
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Message string `json:"message,omitempty"`
	// +optional
	StartTime *metav1.Time `json:"startTime,omitempty"`
	// +optional
	CompletionTime *metav1.Time `json:"completionTime,omitempty"`

	// What was, or would be, done: images by what became of them.
	// +optional
	Pulled int32 `json:"pulled,omitempty"`
	// +optional
	Present int32 `json:"present,omitempty"`
	// +optional
	Removed int32 `json:"removed,omitempty"`
	// kept are those that something needs, or that the request spares; absent those that were not there.
	// +optional
	Kept int32 `json:"kept,omitempty"`
	// +optional
	Absent int32 `json:"absent,omitempty"`
	// +optional
	Failed int32 `json:"failed,omitempty"`

	// bytes were pulled, or are freed by the plan's count; freedBytes is measured on the disk.
	// +optional
	Bytes int64 `json:"bytes,omitempty"`
	// +optional
	FreedBytes *int64 `json:"freedBytes,omitempty"`
	// diskBefore and diskAfter are how full the images' file system was, in hundredths of a percent.
	// +optional
	DiskBefore int32 `json:"diskBefore,omitempty"`
	// +optional
	DiskAfter int32 `json:"diskAfter,omitempty"`

	// images are the decisions one by one; omittedImages counts those that found no room, of the oldest answers first.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=1000
	Images []JobImage `json:"images,omitempty"`
	// +optional
	OmittedImages int32 `json:"omittedImages,omitempty"`

	// +optional
	Progress *JobProgress `json:"progress,omitempty"`
}

// JobImage is what became of one image on one node, or would.
type JobImage struct {
	// image is the name under which it is shown: as asked, else its first name, else its id.
	// +kubebuilder:validation:MaxLength=600
	Image string        `json:"image"`
	State JobImageState `json:"state"`
	// id is the runtime's; names are those that go where not all do, or that go beside image.
	// +optional
	// +kubebuilder:validation:MaxLength=160
	ID string `json:"id,omitempty"`
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=600
	Names []string `json:"names,omitempty"`
	// partly: it stays under other names.
	// +optional
	Partly bool `json:"partly,omitempty"`
	// digest that a pulled name stands for.
	// +optional
	// +kubebuilder:validation:MaxLength=160
	Digest string `json:"digest,omitempty"`
	// +optional
	Bytes int64 `json:"bytes,omitempty"`
	// reason and message: why it was kept, or failed.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Reason string `json:"reason,omitempty"`
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Message string `json:"message,omitempty"`
}

// JobImageState is what became of one image.
//
// +kubebuilder:validation:Enum=Pulled;Present;Removed;Kept;Absent;Failed
type JobImageState string

// The states of an image in an answer; of a dry run, they are what would be.
const (
	JobImagePulled  JobImageState = "Pulled"
	JobImagePresent JobImageState = "Present"
	JobImageRemoved JobImageState = "Removed"
	JobImageKept    JobImageState = "Kept"
	JobImageAbsent  JobImageState = "Absent"
	JobImageFailed  JobImageState = "Failed"
)

// JobState is how far a node is with a NodeJob.
//
// +kubebuilder:validation:Enum=Waiting;Running;Succeeded;Failed;Cancelled
type JobState string

// The states of a NodeJob on a node. The last three are final.
const (
	JobWaiting   JobState = "Waiting"
	JobRunning   JobState = "Running"
	JobSucceeded JobState = "Succeeded"
	JobFailed    JobState = "Failed"
	JobCancelled JobState = "Cancelled"
)

// Final reports whether a node has nothing more to say.
func (s JobState) Final() bool { return s == JobSucceeded || s == JobFailed || s == JobCancelled }

// Job is what a NodeJob asks of the node, by the NodeJob's uid; nil: nothing.
func (s *ImageStore) Job(uid string) *StoreJob {
	if i := slices.IndexFunc(s.Spec.Jobs, func(j StoreJob) bool { return j.UID == uid }); i >= 0 {
		return &s.Spec.Jobs[i]
	}
	return nil
}

// Answer is what the node has said to a NodeJob, by the NodeJob's uid; nil: nothing yet.
func (s *ImageStore) Answer(uid string) *StoreJobStatus {
	if i := slices.IndexFunc(s.Status.Jobs, func(j StoreJobStatus) bool { return j.UID == uid }); i >= 0 {
		return &s.Status.Jobs[i]
	}
	return nil
}
