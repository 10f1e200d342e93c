// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// ImageCache keeps images on chosen nodes.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=ic,categories=orlop
// +kubebuilder:printcolumn:name="IMAGES",type=integer,JSONPath=`.status.imageCount`,description="How many images it keeps"
// +kubebuilder:printcolumn:name="READY",type=string,JSONPath=`.status.summary`,description="Nodes that hold all of them, of those that should"
// +kubebuilder:printcolumn:name="FAILED",type=integer,JSONPath=`.status.failedNodes`
// +kubebuilder:printcolumn:name="STATUS",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="AGE",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="REFRESH",type=string,JSONPath=`.spec.refreshInterval`,priority=1
// +kubebuilder:printcolumn:name="MESSAGE",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1
type ImageCache struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec says which images to keep, on which nodes, and how. It may be left out, as server-side apply does with the last
	// image of a list that is emptied: then none are.
	// +optional
	// +kubebuilder:default={}
	Spec ImageCacheSpec `json:"spec,omitzero"`
	// +optional
	Status ImageCacheStatus `json:"status,omitzero"`
}

// ImageCacheList is a list of ImageCaches.
//
// +kubebuilder:object:root=true
type ImageCacheList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`
	Items           []ImageCache `json:"items"`
}

// ImageCacheSpec says which images, on which nodes, and how.
type ImageCacheSpec struct {
	// images are those to keep. An empty list empties the cache.
	// +optional
	// +listType=map
	// +listMapKey=image
	// +kubebuilder:validation:MaxItems=500
	Images []CachedImage `json:"images,omitempty"`

	// nodeSelector chooses nodes by their labels, as in a Pod. Empty: every node.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`

	// affinity chooses nodes by required terms, as in a Pod.
	// +optional
	Affinity *Affinity `json:"affinity,omitempty"`

	// tolerations let new pulls start on nodes with these taints, as in a Pod.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`

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

	// refreshInterval is how often the registry is asked whether a tag has moved, for images with imagePullPolicy Always.
	// 0s is never; orlop.dev/refresh asks on demand.
	// +optional
	// +kubebuilder:default="15m"
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ns|us|ms|s|m|h))+$') || self == '0'",messageExpression="'refreshInterval ' + self + ' is not a duration: write it as 15m, 1h30m, or 0s for never'"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^([0-9]+([.][0-9]+)?(ns|us|ms|s|m|h))+$') || duration(self) == duration('0s') || duration(self) >= duration('10s')",messageExpression="'refreshInterval ' + self + ' is too short: registries are not asked more often than every 10s; 0s is never'"
	RefreshInterval string `json:"refreshInterval,omitempty"`

	// pin holds the images against the kubelet's garbage collection, where the runtime can.
	// +optional
	// +kubebuilder:default=true
	Pin *bool `json:"pin,omitempty"`

	// maxParallelNodes is how many nodes may pull for this cache at once: a number, or a percentage of its nodes.
	// +optional
	// +kubebuilder:default=50
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? self >= 1 && self <= 1000000 : (type(self) == string && self.matches('^(100|[1-9][0-9]?)%$'))",messageExpression="'maxParallelNodes ' + string(self) + ' is neither a number from 1 to 1000000 nor a percentage from 1% to 100%'"
	MaxParallelNodes *intstr.IntOrString `json:"maxParallelNodes,omitempty"`

	// removalPolicy is what becomes of what this cache pulled when an image leaves the list or the cache goes.
	// +optional
	// +kubebuilder:default=Remove
	RemovalPolicy RemovalPolicy `json:"removalPolicy,omitempty"`

	// suspend starts no new pulls. What is there stays.
	// +optional
	Suspend bool `json:"suspend,omitempty"`
}

// CachedImage is one image to keep.
type CachedImage struct {
	// image is its name, as in a Pod's container.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.matches('^(([a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?)([.][a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?)*(:[0-9]+)?/)?[a-z0-9]+(([.]|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+(([.]|_|__|-+)[a-z0-9]+)*)*(:[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127})?(@sha256:[a-f0-9]{64})?$')",messageExpression="'\"' + self + '\" is not an image reference: write it as nginx:1.29, registry.example/team/app:v1 or app@sha256:...'"
	Image string `json:"image"`

	// imagePullPolicy is Always to resolve the tag anew at each refresh, IfNotPresent to resolve it once. The default is a Pod's:
	// Always for :latest or no tag, else IfNotPresent.
	// +optional
	// +kubebuilder:validation:Enum=Always;IfNotPresent
	ImagePullPolicy corev1.PullPolicy `json:"imagePullPolicy,omitempty"`
}

// Affinity is a Pod's, as far as it chooses nodes and must be met.
type Affinity struct {
	// +optional
	NodeAffinity *NodeAffinity `json:"nodeAffinity,omitempty"`
}

// NodeAffinity is a Pod's, without preferences: a cache is on a node or it is not.
type NodeAffinity struct {
	// +optional
	RequiredDuringSchedulingIgnoredDuringExecution *corev1.NodeSelector `json:"requiredDuringSchedulingIgnoredDuringExecution,omitempty"`
}

// SecretReference names a Secret of the same namespace.
type SecretReference struct {
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// RemovalPolicy is what becomes of an image that Orlop pulled when no cache wants it any more.
//
// +kubebuilder:validation:Enum=Remove;Keep
type RemovalPolicy string

// The removal policies. Either way what Orlop pinned is unpinned, and what Orlop found stays.
const (
	RemovalPolicyRemove RemovalPolicy = "Remove"
	RemovalPolicyKeep   RemovalPolicy = "Keep"
)

// The annotations by which something is asked of an ImageCache. Any new value counts once: the value acted upon is in status.
const (
	AnnotationRefresh = "orlop.dev/refresh"
	AnnotationPurge   = "orlop.dev/purge"
)

// AnnotationWatchedUntil is set, on whatever has images pulled, by who looks on: while the time in it (RFC 3339) is to come, no more
// than MaxWatch ahead, the nodes concerned tell every two seconds how far they are. It is renewed for as long as somebody does.
const AnnotationWatchedUntil = "orlop.dev/watched-until"

// MaxWatch bounds what is taken for a watch: one without end would have the nodes write for ever.
const MaxWatch = 10 * time.Minute

// ImageCacheStatus sums up what the nodes say.
type ImageCacheStatus struct {
	// observedGeneration is that of the spec which the rest is about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// summary is readyNodes/desiredNodes.
	// +optional
	Summary string `json:"summary,omitempty"`
	// imageCount is how many different images the spec asks for.
	// +optional
	ImageCount int32 `json:"imageCount"`

	// desiredNodes is how many nodes should hold the images.
	// +optional
	DesiredNodes int32 `json:"desiredNodes"`
	// readyNodes is how many of them hold all images.
	// +optional
	ReadyNodes int32 `json:"readyNodes"`
	// failedNodes is how many could not get an image, and try again.
	// +optional
	FailedNodes int32 `json:"failedNodes"`
	// unavailableNodes is how many are not ready or have no agent, and wait.
	// +optional
	UnavailableNodes int32 `json:"unavailableNodes"`

	// images tells of each image, as many as fit; omittedImages counts the rest. What is ready is left out first.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=500
	Images []CachedImageStatus `json:"images,omitempty"`
	// omittedImages is how many images are left out of images.
	// +optional
	OmittedImages int32 `json:"omittedImages,omitempty"`

	// failures are the first of what went wrong; omittedFailures counts the rest.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=50
	Failures []CacheFailure `json:"failures,omitempty"`
	// omittedFailures is how many are left out of failures.
	// +optional
	OmittedFailures int32 `json:"omittedFailures,omitempty"`

	// refresh is the value of the annotation orlop.dev/refresh that was acted upon last.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Refresh string `json:"refresh,omitempty"`
	// purge is the value of the annotation orlop.dev/purge that was acted upon last.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Purge string `json:"purge,omitempty"`
	// purgedGeneration is that of the spec which was purged; 0: none is. An edit or a refresh ends it.
	// +optional
	PurgedGeneration int64 `json:"purgedGeneration,omitempty"`

	// conditions are Ready, Reconciling, Stalled (it takes a person to cure it) and Degraded (it works, but not as asked).
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// bytesLeft is what the nodes that may pull are still to pull, compressed, as far as sizes are known. It is there only while
	// somebody looks on (orlop.dev/watched-until).
	// +optional
	BytesLeft *int64 `json:"bytesLeft,omitempty"`
}

// CachedImageStatus is one image of a cache, over all its nodes.
type CachedImageStatus struct {
	// image is the name as it stands in the spec.
	Image string `json:"image"`
	// digest is what the name was resolved to; every node ends with it.
	// +optional
	Digest string `json:"digest,omitempty"`
	// +optional
	ReadyNodes int32 `json:"readyNodes"`
	// +optional
	FailedNodes int32 `json:"failedNodes,omitempty"`
	// reason and message tell what keeps the image from its nodes, with the registry's words.
	// +optional
	Reason string `json:"reason,omitempty"`
	// +optional
	Message string `json:"message,omitempty"`
}

// CacheFailure is one image that one node could not get.
type CacheFailure struct {
	// node is empty where the registry refused the controller, and no node was asked yet.
	// +optional
	Node    string `json:"node,omitempty"`
	Image   string `json:"image"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
	// +optional
	Attempts int32 `json:"attempts,omitempty"`
	// +optional
	LastAttemptTime *metav1.Time `json:"lastAttemptTime,omitempty"`
}

// The conditions of an ImageCache.
const (
	// ConditionReady: every desired node holds every image, pinned where that is asked for and can be had.
	ConditionReady = "Ready"
	// ConditionReconciling: there is work under way.
	ConditionReconciling = "Reconciling"
	// ConditionStalled: trying again cannot cure it.
	ConditionStalled = "Stalled"
	// ConditionDegraded: it works, but not as asked: duplicate entries, pins that cannot be had, a Secret that is missing.
	ConditionDegraded = "Degraded"
)

// The reasons of an ImageCache's conditions, beside those of failures.
const (
	ReasonReady       = "Ready"
	ReasonRollingOut  = "RollingOut"
	ReasonRetrying    = "Retrying"
	ReasonWaiting     = "WaitingForNodes"
	ReasonSuspended   = "Suspended"
	ReasonPurged      = "Purged"
	ReasonNoNodes     = "NoNodes"
	ReasonNoImages    = "NoImages"
	ReasonDuplicates  = "DuplicateImages"
	ReasonNotPinnable = "CannotPin"
	ReasonAsExpected  = "AsExpected"
	// ReasonInvalidAffinity: which nodes are meant cannot be read; those that hold images keep them.
	ReasonInvalidAffinity = "InvalidAffinity"
	// ReasonConflict: on some nodes a tag stands for the digest that another cache fixes it to.
	ReasonConflict = "Conflict"
	// ReasonTooManyImages: all caches together ask more images of a node than it can be told.
	ReasonTooManyImages = "TooManyImages"
)
