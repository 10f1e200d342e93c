// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// NodeJob does one thing on every chosen node, once: pull images, remove images, prune, or run a pod. Which edits mean nothing,
// and are refused, the chart's ValidatingAdmissionPolicy says: to compare pod templates is beyond what a schema may cost.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=nj,categories=orlop
// +kubebuilder:printcolumn:name="ACTION",type=string,JSONPath=`.status.action`,description="What it does on each node"
// +kubebuilder:printcolumn:name="DONE",type=string,JSONPath=`.status.summary`,description="Nodes that have done it, of those that should"
// +kubebuilder:printcolumn:name="FAILED",type=integer,JSONPath=`.status.failed`
// +kubebuilder:printcolumn:name="SKIPPED",type=integer,JSONPath=`.status.skipped`,description="Nodes that are away"
// +kubebuilder:printcolumn:name="FREED",type=string,JSONPath=`.status.freed`,description="What was freed on all disks together, as measured"
// +kubebuilder:printcolumn:name="STATUS",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="AGE",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="MESSAGE",type=string,JSONPath=`.status.message`,priority=1
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63",message="the name of a NodeJob has at most 63 characters, as it becomes a label of its pods"
type NodeJob struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// +required
	Spec NodeJobSpec `json:"spec"`
	// +optional
	Status NodeJobStatus `json:"status,omitzero"`
}

// NodeJobList is a list of NodeJobs.
//
// +kubebuilder:object:root=true
type NodeJobList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`
	Items           []NodeJob `json:"items"`
}

// NodeJobSpec says what to do, on which nodes, and how.
//
// +kubebuilder:validation:XValidation:rule="(has(self.pull) ? 1 : 0) + (has(self.remove) ? 1 : 0) + (has(self.prune) ? 1 : 0) + (has(self.template) ? 1 : 0) == 1",message="set exactly one of pull, remove, prune and template"
// +kubebuilder:validation:XValidation:rule="!has(self.template) || !self.?dryRun.orValue(false)",message="dryRun is for pull, remove and prune: what a pod of a template would do nobody can tell"
// +kubebuilder:validation:XValidation:rule="self.?completionPolicy.?type.orValue('Always') != 'Never' || !has(self.activeDeadlineSeconds)",message="activeDeadlineSeconds is for a job that ends: with completionPolicy Never, leave it out"
// +kubebuilder:validation:XValidation:rule="self.?completionPolicy.?type.orValue('Always') != 'Never' || !has(self.ttlSecondsAfterFinished)",message="ttlSecondsAfterFinished is for a job that ends: with completionPolicy Never, leave it out"
// +kubebuilder:validation:XValidation:rule="self.?completionPolicy.?type.orValue('Always') != 'Never' || !self.?dryRun.orValue(false)",message="dryRun is for a job that ends: leave completionPolicy Never out"
// +kubebuilder:validation:XValidation:rule="!has(self.template) || (has(self.template.spec) && self.template.spec.?restartPolicy.orValue('Always') in ['Never', 'OnFailure'])",message="template.spec.restartPolicy is required: Never or OnFailure"
// +kubebuilder:validation:XValidation:rule="!has(self.template) || !has(self.template.spec) || self.template.spec.?restartPolicy.orValue('Never') != 'Never' || self.?failurePolicy.?restartLimit.orValue(0) == 0",message="failurePolicy.restartLimit is for template.spec.restartPolicy OnFailure: with Never nothing is started again"
// +kubebuilder:validation:XValidation:rule="!has(self.template) || !has(self.template.spec) || !has(self.template.spec.nodeName)",message="template.spec.nodeName cannot be set: there is one pod for each chosen node"
type NodeJobSpec struct {
	// nodeSelector chooses nodes by their labels, as in a Pod. Empty: every node.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`

	// affinity chooses nodes by required terms, as in a Pod.
	// +optional
	Affinity *Affinity `json:"affinity,omitempty"`

	// tolerations choose nodes with these taints too, as in a Pod. Cordoned nodes and those under pressure are chosen in any
	// case, as for a DaemonSet.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`

	// nodeNames choose nodes by name, of those that the rest chooses. Empty: all of those.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=5000
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	NodeNames []string `json:"nodeNames,omitempty"`

	// parallelism is on how many nodes at once: a number, or a percentage of the chosen nodes, rounded up. 0 starts none for now.
	// +optional
	// +kubebuilder:default="100%"
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? self >= 0 && self <= 1000000 : (type(self) == string && self.matches('^(100|[1-9]?[0-9])%$'))",messageExpression="'parallelism ' + string(self) + ' is neither a number from 0 to 1000000 nor a percentage from 0% to 100%'"
	Parallelism *intstr.IntOrString `json:"parallelism,omitempty"`

	// pull fetches images.
	// +optional
	// +kubebuilder:validation:XValidation:rule="!has(self.images) || self.images.all(i, i.matches('^(([a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?)([.][a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?)*(:[0-9]+)?/)?[a-z0-9]+(([.]|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+(([.]|_|__|-+)[a-z0-9]+)*)*(:[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127})?(@sha256:[a-f0-9]{64})?$'))",messageExpression="'\"' + self.images.filter(i, !i.matches('^(([a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?)([.][a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?)*(:[0-9]+)?/)?[a-z0-9]+(([.]|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+(([.]|_|__|-+)[a-z0-9]+)*)*(:[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127})?(@sha256:[a-f0-9]{64})?$'))[0] + '\" is not an image reference: write it as nginx:1.29, registry.example/team/app:v1 or app@sha256:...'"
	Pull *PullAction `json:"pull,omitempty"`
	// remove removes images that are named, unless something needs them.
	// +optional
	// +kubebuilder:validation:XValidation:rule="!has(self.images) || self.images.all(i, i.matches('^[a-zA-Z0-9*?][a-zA-Z0-9._:/@*?-]*$'))",messageExpression="'\"' + self.images.filter(i, !i.matches('^[a-zA-Z0-9*?][a-zA-Z0-9._:/@*?-]*$'))[0] + '\" is neither an image reference, nor a pattern such as docker.io/minchou/*, nor an id'"
	Remove *RemoveAction `json:"remove,omitempty"`
	// prune removes images that nothing needs.
	// +optional
	// +kubebuilder:validation:XValidation:rule="!has(self.match) || self.match.all(i, i.matches('^[a-zA-Z0-9*?][a-zA-Z0-9._:/@*?-]*$'))",messageExpression="'\"' + self.match.filter(i, !i.matches('^[a-zA-Z0-9*?][a-zA-Z0-9._:/@*?-]*$'))[0] + '\" is neither an image reference, nor a pattern such as docker.io/minchou/*, nor an id'"
	// +kubebuilder:validation:XValidation:rule="!has(self.keep) || self.keep.all(i, i.matches('^[a-zA-Z0-9*?][a-zA-Z0-9._:/@*?-]*$'))",messageExpression="'\"' + self.keep.filter(i, !i.matches('^[a-zA-Z0-9*?][a-zA-Z0-9._:/@*?-]*$'))[0] + '\" is neither an image reference, nor a pattern such as docker.io/minchou/*, nor an id'"
	// +kubebuilder:validation:XValidation:rule="!has(self.unusedFor) || self.unusedFor.matches('^([0-9]+d|([0-9]+([.][0-9]+)?(ns|us|ms|s|m|h))+)$')",messageExpression="'unusedFor \"' + self.unusedFor + '\" is not a time span such as 168h, 7d or 90m'"
	// +kubebuilder:validation:XValidation:rule="!has(self.pulledBefore) || self.pulledBefore.matches('^([0-9]+d|([0-9]+([.][0-9]+)?(ns|us|ms|s|m|h))+|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(Z|[+-][0-9]{2}:[0-9]{2}))$')",messageExpression="'pulledBefore \"' + self.pulledBefore + '\" is neither a time such as 2026-11-01T00:00:00Z nor a span such as 720h or 30d'"
	// +kubebuilder:validation:XValidation:rule="!has(self.whenDiskAbove) || !has(self.untilDiskBelow) || self.untilDiskBelow <= self.whenDiskAbove",message="untilDiskBelow is above whenDiskAbove: nothing would ever go"
	Prune *PruneAction `json:"prune,omitempty"`
	// template is a pod to run to completion on each node.
	// +optional
	Template *corev1.PodTemplateSpec `json:"template,omitempty"`

	// dryRun ends with the plan, in status and in each node's ImageStore. Turned off later, what was planned is carried out, and
	// nothing beyond it.
	// +optional
	DryRun bool `json:"dryRun,omitempty"`

	// completionPolicy tells when it has ended.
	// +optional
	CompletionPolicy CompletionPolicy `json:"completionPolicy,omitzero"`

	// failurePolicy tells what a failed node means.
	// +optional
	FailurePolicy FailurePolicy `json:"failurePolicy,omitzero"`

	// activeDeadlineSeconds is how long it may take, from startTime. What is under way then is ended, and the job has failed.
	// +optional
	// +kubebuilder:validation:Minimum=1
	ActiveDeadlineSeconds *int64 `json:"activeDeadlineSeconds,omitempty"`

	// ttlSecondsAfterFinished is when it is deleted after its end, with its pods and its nodes' answers. Not set: never.
	// +optional
	// +kubebuilder:validation:Minimum=0
	TTLSecondsAfterFinished *int32 `json:"ttlSecondsAfterFinished,omitempty"`

	// suspend ends what is under way, and starts nothing; nodes that are done stay done. startTime begins anew when it goes on.
	// +optional
	Suspend bool `json:"suspend,omitempty"`
}

// PullAction fetches images.
type PullAction struct {
	// images are those to fetch, named as in a Pod's container.
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=500
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=512
	Images []string `json:"images"`

	// imagePullPolicy is Always to ask the registry where the image is there already, IfNotPresent not to. The default is a
	// Pod's, for each image: Always for :latest or no tag, else IfNotPresent.
	// +optional
	// +kubebuilder:validation:Enum=Always;IfNotPresent
	ImagePullPolicy corev1.PullPolicy `json:"imagePullPolicy,omitempty"`

	// imagePullSecrets are Secrets of this namespace with credentials for the registries.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=32
	ImagePullSecrets []SecretReference `json:"imagePullSecrets,omitempty"`

	// serviceAccountName is a ServiceAccount of this namespace whose pull secrets serve where imagePullSecrets is empty.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:default=default
	ServiceAccountName string `json:"serviceAccountName,omitempty"`
}

// RemoveAction removes images that are named. What is in use, pinned by others, named by a pod of the node or kept by an
// ImageCache stays, with the reason in the node's answer.
type RemoveAction struct {
	// images are references, patterns with * (within one element of a path), ** (across them) and ?, or ids. A tag takes only that tag
	// away; a pattern without a tag takes every tag.
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=500
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=512
	Images []string `json:"images"`

	// force passes over ImageCaches, containers that have exited, and images that arrived in the last 10 minutes.
	// +optional
	Force bool `json:"force,omitempty"`
}

// PruneAction removes images that nothing needs. Every field narrows it; {} is every image that nothing needs.
type PruneAction struct {
	// match: one of these patterns must fit, if there are any.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=100
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=512
	Match []string `json:"match,omitempty"`
	// keep: none of these patterns may fit.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=100
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=512
	Keep []string `json:"keep,omitempty"`
	// filter are terms as kubectl orlop list --filter takes them, such as size>=1GB; all must fit, those with the same key are alternatives.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=600
	Filter []string `json:"filter,omitempty"`
	// unusedFor: no container has used it for so long, as far as is known: 168h, 7d.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	UnusedFor string `json:"unusedFor,omitempty"`
	// pulledBefore: the node got it earlier than this time (2026-11-01T00:00:00Z), or than this span ago (30d).
	// +optional
	// +kubebuilder:validation:MaxLength=64
	PulledBefore string `json:"pulledBefore,omitempty"`
	// keepLatest leaves the n images of each repository that came last.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000
	KeepLatest int32 `json:"keepLatest,omitempty"`
	// danglingOnly leaves every image that has a tag.
	// +optional
	DanglingOnly bool `json:"danglingOnly,omitempty"`
	// whenDiskAbove: only on nodes whose images' file system is fuller than so many percent.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	WhenDiskAbove int32 `json:"whenDiskAbove,omitempty"`
	// untilDiskBelow: oldest first, and only until it is below so many percent.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	UntilDiskBelow int32 `json:"untilDiskBelow,omitempty"`
	// maxRemovals: oldest first, and no more images than this on each node.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000
	MaxRemovals int32 `json:"maxRemovals,omitempty"`
	// force passes over ImageCaches, containers that have exited, and images that arrived in the last 10 minutes.
	// +optional
	Force bool `json:"force,omitempty"`
}

// CompletionPolicy tells when a NodeJob has ended.
type CompletionPolicy struct {
	// type is Always to end when every node that is there has answered, Never to serve nodes that come later too.
	// +optional
	// +kubebuilder:default=Always
	Type CompletionPolicyType `json:"type,omitempty"`
}

// CompletionPolicyType is whether a NodeJob ends.
//
// +kubebuilder:validation:Enum=Always;Never
type CompletionPolicyType string

// The completion policies.
const (
	CompleteAlways CompletionPolicyType = "Always"
	CompleteNever  CompletionPolicyType = "Never"
)

// FailurePolicy tells what a failed node means for the others.
type FailurePolicy struct {
	// type is Continue: the others go on. FailFast: what is under way is ended, and the job has failed. Pause: what is under way goes on,
	// and nothing more is started until orlop.dev/retry is set anew, or the policy is changed.
	// +optional
	// +kubebuilder:default=Continue
	Type FailurePolicyType `json:"type,omitempty"`
	// restartLimit is how often a node may try again before it has failed: of a pod, the restarts of its containers together; of a
	// pull, each image. Not set: 3 for pull, else 0. A pod that was made while it was 0 is not started again, whatever it is raised to.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	RestartLimit *int32 `json:"restartLimit,omitempty"`
}

// FailurePolicyType is what a failed node means for the others.
//
// +kubebuilder:validation:Enum=Continue;FailFast;Pause
type FailurePolicyType string

// The failure policies.
const (
	FailContinue FailurePolicyType = "Continue"
	FailFast     FailurePolicyType = "FailFast"
	FailPause    FailurePolicyType = "Pause"
)

// AnnotationRetry makes a NodeJob's failed and ended nodes try again, at any new value: the value acted upon is in status. Nodes that
// are done stay done.
const AnnotationRetry = "orlop.dev/retry"

// AnnotationRequestedBy is who asked, as the API server told the command line: for history, and no proof.
const AnnotationRequestedBy = "orlop.dev/requested-by"

// What the pods of a NodeJob's template bear.
const (
	// LabelNodeJob is the job's name, LabelNodeJobUID its uid. No template may set them.
	LabelNodeJob    = "orlop.dev/nodejob"
	LabelNodeJobUID = "orlop.dev/nodejob-uid"
	// AnnotationNode is the node that the pod is for, AnnotationRun the job's status.run when it was made.
	AnnotationNode = "orlop.dev/node"
	AnnotationRun  = "orlop.dev/run"
	// FinalizerNodeJob keeps a pod until its outcome is in the node's ImageStore.
	FinalizerNodeJob = "orlop.dev/nodejob"
)

// LabelRole is on every pod that the controller must see: of the agents, and of NodeJobs.
const (
	LabelRole   = "orlop.dev/role"
	RoleAgent   = "agent"
	RoleNodeJob = "nodejob"
)

// NodeJobStatus sums up what the nodes answered. Each node's whole answer is in its ImageStore.
type NodeJobStatus struct {
	// observedGeneration is that of the spec which the rest is about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// action is Pull, Remove, Prune or Run; phase one word for people: Waiting, Running, Suspended, Paused, Complete, Failed; message says
	// more where there is more to say.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	Action string `json:"action,omitempty"`
	// +optional
	// +kubebuilder:validation:MaxLength=32
	Phase string `json:"phase,omitempty"`
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`

	// summary is succeeded/desired.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	Summary string `json:"summary,omitempty"`
	// desired is how many nodes are chosen: active, succeeded, failed and skipped ones, and those whose turn is yet to come.
	// +optional
	Desired int32 `json:"desired"`
	// +optional
	Active int32 `json:"active"`
	// +optional
	Succeeded int32 `json:"succeeded"`
	// +optional
	Failed int32 `json:"failed"`
	// skipped nodes are away: not ready, without an agent, or not there at all. They are served if they come back in time.
	// +optional
	Skipped int32 `json:"skipped"`

	// freedBytes is what was freed on all nodes together, as measured there; of a dry run, what would be. freed is the same for people.
	// +optional
	FreedBytes *int64 `json:"freedBytes,omitempty"`
	// +optional
	// +kubebuilder:validation:MaxLength=32
	Freed string `json:"freed,omitempty"`

	// progress of pulls, while somebody watches.
	// +optional
	Progress *JobProgress `json:"progress,omitempty"`

	// +optional
	StartTime *metav1.Time `json:"startTime,omitempty"`
	// +optional
	CompletionTime *metav1.Time `json:"completionTime,omitempty"`

	// planned: it began as a dry run. A node that made no plan then is not asked to carry one out.
	// +optional
	Planned bool `json:"planned,omitempty"`

	// retry is the value of the annotation orlop.dev/retry that was acted upon last; run is that of the nodes that try again for it.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Retry string `json:"retry,omitempty"`
	// +optional
	Run int32 `json:"run,omitempty"`

	// images are those that went or came, or would, on most nodes first; omittedImages counts the rest.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=100
	Images []NodeJobImage `json:"images,omitempty"`
	// +optional
	OmittedImages int32 `json:"omittedImages,omitempty"`

	// failures are the first nodes that failed; omittedFailures counts the rest.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=50
	Failures []NodeJobFailure `json:"failures,omitempty"`
	// +optional
	OmittedFailures int32 `json:"omittedFailures,omitempty"`

	// skippedNodes are the first that are away, and why; omittedSkipped counts the rest.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=50
	SkippedNodes []NodeJobFailure `json:"skippedNodes,omitempty"`
	// +optional
	OmittedSkipped int32 `json:"omittedSkipped,omitempty"`

	// conditions are Complete, Failed and Suspended, with the meaning that they have in a Job, and Stalled: it takes a person to cure it.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// NodeJobImage is one image over all nodes: what went, came, or would.
type NodeJobImage struct {
	// +kubebuilder:validation:MaxLength=600
	Image string `json:"image"`
	// nodes is on how many it went or came.
	Nodes int32 `json:"nodes"`
	// +optional
	FailedNodes int32 `json:"failedNodes,omitempty"`
	// bytes on all these nodes together.
	// +optional
	Bytes int64 `json:"bytes,omitempty"`
}

// NodeJobFailure is one node that failed, or is away.
type NodeJobFailure struct {
	// +kubebuilder:validation:MaxLength=253
	Node string `json:"node"`
	// +kubebuilder:validation:MaxLength=64
	Reason string `json:"reason"`
	// +kubebuilder:validation:MaxLength=512
	Message string `json:"message"`
}

// JobProgress is how far pulls are, in compressed bytes. total grows while images are resolved.
type JobProgress struct {
	DoneBytes  int64 `json:"doneBytes"`
	TotalBytes int64 `json:"totalBytes"`
	// +optional
	FinishedImages int32 `json:"finishedImages,omitempty"`
	// +optional
	Images int32 `json:"images,omitempty"`
}

// The conditions of a NodeJob, beside ConditionStalled.
const (
	ConditionComplete  = "Complete"
	ConditionFailed    = "Failed"
	ConditionSuspended = "Suspended"
)

// The reasons of a NodeJob's conditions and failures, beside engine's.
const (
	ReasonNodesDone        = "NodesDone"
	ReasonPlanned          = "Planned" // Complete: of a dry run, which can be carried out
	ReasonNodesFailed      = "NodesFailed"
	ReasonNodeFailed       = "NodeFailed" // FailFast and Pause
	ReasonDeadlineExceeded = "DeadlineExceeded"
	ReasonPaused           = "Paused"
	ReasonInvalid          = "Invalid"
	ReasonPodRefused       = "PodRefused" // the API server did not take a pod of the template
	ReasonPodFailed        = "PodFailed"
	ReasonRestartLimit     = "RestartLimitExceeded"
	ReasonNodeNotReady     = "NodeNotReady"
	ReasonAgentNotReady    = "AgentNotReady"
	ReasonNodeNotFound     = "NodeNotFound"
	ReasonNotPlanned       = "NotPlanned" // it made no plan when the others did
	ReasonNotChosen        = "NotChosen"  // named, but the selector, the affinity or a taint excludes it
	ReasonCancelled        = "Cancelled"
	ReasonNoPlan           = "NoPlan" // the dry run that came before did not end with a plan on this node
)
