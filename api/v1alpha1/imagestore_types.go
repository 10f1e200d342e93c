// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ImageStore is what one node should hold and do, and how far it is. It is named as its node, which owns it. The controller
// writes spec, that node's agent writes status, and nobody else writes either.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=ims,categories=orlop
// +kubebuilder:printcolumn:name="IMAGES",type=string,JSONPath=`.status.summary`,description="Images present, of those that should be"
// +kubebuilder:printcolumn:name="FAILED",type=integer,JSONPath=`.status.failed`
// +kubebuilder:printcolumn:name="RUNTIME",type=string,JSONPath=`.status.runtime`
// +kubebuilder:printcolumn:name="AGENT",type=string,JSONPath=`.status.agentVersion`
// +kubebuilder:printcolumn:name="AGE",type=date,JSONPath=`.metadata.creationTimestamp`
type ImageStore struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// +optional
	Spec ImageStoreSpec `json:"spec,omitzero"`
	// +optional
	Status ImageStoreStatus `json:"status,omitzero"`
}

// ImageStoreList is a list of ImageStores.
//
// +kubebuilder:object:root=true
type ImageStoreList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`
	Items           []ImageStore `json:"items"`
}

// ImageStoreSpec is what the controller asks of a node. Its lists have one writer and are replaced whole, so that their
// managed fields take no room.
type ImageStoreSpec struct {
	// runtime is what the Node reports, such as containerd://2.4.2: the one that must answer.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Runtime string `json:"runtime,omitempty"`

	// images are those that the node should hold, and those to let go of.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=1000
	Images []StoreImage `json:"images,omitempty"`

	// credentials are sealed to the key in status.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=256
	Credentials []SealedCredentials `json:"credentials,omitempty"`

	// needs is what pods bound to this node name. It is set while something is to be removed.
	// +optional
	Needs *PodNeeds `json:"needs,omitempty"`

	// retire makes the agent let go of everything: unpin what it pinned, leave every image, forget what it pulled. It comes
	// before Orlop is taken out of a cluster.
	// +optional
	Retire bool `json:"retire,omitempty"`

	// jobs are what NodeJobs ask of the node, oldest first. An entry stays until its NodeJob goes.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=1000
	Jobs []StoreJob `json:"jobs,omitempty"`

	// revision is raised whenever something else is asked of the agent than before. That an outcome of a pod was written down, or that one is no
	// longer needed, is no such thing: the agent need not say that it has seen it.
	// +optional
	Revision int64 `json:"revision,omitempty"`

	// watchedUntil: somebody looks on until then, and the agent tells how far its pulls are. Once it is past it means nothing.
	// +optional
	WatchedUntil *metav1.Time `json:"watchedUntil,omitempty"`
}

// StoreImage is one image that a node should hold, or let go of.
type StoreImage struct {
	// image is the whole, normalised name: docker.io/library/nginx:1.29, or repository@digest.
	// +kubebuilder:validation:MaxLength=600
	Image string `json:"image"`
	// digest is what the name must stand for. Empty: the registry refused the controller, and the node is to try.
	// +optional
	// +kubebuilder:validation:MaxLength=160
	Digest string `json:"digest,omitempty"`
	// size is the compressed size in bytes for this node's platform; 0 is unknown.
	// +optional
	Size int64 `json:"size,omitempty"`
	// +optional
	Pin bool `json:"pin,omitempty"`
	// hold tells why no pull of it may start now. Empty: it may.
	// +optional
	Hold HoldReason `json:"hold,omitempty"`
	// removalPolicy is what becomes of it once it is released.
	// +optional
	RemovalPolicy RemovalPolicy `json:"removalPolicy,omitempty"`
	// released: no cache wants it on this node any more. The entry goes when the agent has no record of it left.
	// +optional
	Released bool `json:"released,omitempty"`
	// credentials name entries of spec.credentials, to be tried in this order.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	Credentials []string `json:"credentials,omitempty"`
	// caches are namespace/name of those that want it, or did until it was released, the first few.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	Caches []string `json:"caches,omitempty"`
	// recheck asks this node, once for each new value, to pull by the name alone although the digest is present: the registry
	// refuses the controller, and this node is to tell whether the tag has moved.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Recheck string `json:"recheck,omitempty"`
}

// HoldReason is why a pull may not start.
//
// +kubebuilder:validation:Enum=Node;Turn;Scout;Suspended
type HoldReason string

// The reasons to hold a pull.
const (
	HoldNode      HoldReason = "Node"      // the node is cordoned, tainted or not ready
	HoldTurn      HoldReason = "Turn"      // as many nodes as allowed are pulling
	HoldScout     HoldReason = "Scout"     // the registry refused the controller, and another node tries first
	HoldSuspended HoldReason = "Suspended" // the caches that want it are suspended
)

// SealedCredentials open one registry, for one node. See package seal for what is sealed, to which key, bound to what.
type SealedCredentials struct {
	// name is what images refer to it by.
	// +kubebuilder:validation:MaxLength=64
	Name string `json:"name"`
	// keyID is that of the key it is sealed to.
	// +kubebuilder:validation:MaxLength=64
	KeyID string `json:"keyID"`
	// registry is the host it opens.
	// +kubebuilder:validation:MaxLength=300
	Registry string `json:"registry"`
	// secret is namespace/name of the Secret it came from; secretUID and secretResourceVersion tell which state of it.
	// +kubebuilder:validation:MaxLength=512
	Secret string `json:"secret"`
	// +kubebuilder:validation:MaxLength=64
	SecretUID string `json:"secretUID"`
	// +kubebuilder:validation:MaxLength=64
	SecretResourceVersion string `json:"secretResourceVersion"`
	// sealed is the encapsulated key and the ciphertext.
	// +kubebuilder:validation:MaxLength=16384
	Sealed []byte `json:"sealed"`
}

// PodNeeds are the images that pods bound to a node name, waiting pods too, and those that caches want there of which it is not known yet
// what they stand for: the rest of what caches want is in the spec's images.
type PodNeeds struct {
	// asOf is when the API server said so, by the controller's clock.
	AsOf metav1.MicroTime `json:"asOf"`
	// answers is the status.needsAsked that this answers, by which the agent knows its age by its own clock.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Answers string `json:"answers,omitempty"`
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=2000
	Images []NeededImage `json:"images,omitempty"`
	// omitted counts those that found no room. With any, nothing may be removed.
	// +optional
	Omitted int32 `json:"omitted,omitempty"`
}

// NeededImage is an image as a pod or a cache names it.
type NeededImage struct {
	// image is the name as it has it.
	// +kubebuilder:validation:MaxLength=600
	Image string `json:"image"`
	// pod is namespace/name of a pod that names it.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Pod string `json:"pod,omitempty"`
	// cache is namespace/name of an ImageCache that wants it, where no pod names it.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Cache string `json:"cache,omitempty"`
}

// ImageStoreStatus is what the node's agent says.
type ImageStoreStatus struct {
	// observedGeneration is that of the spec when the status was last written; observedRevision is the revision which the rest is about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// +optional
	ObservedRevision int64 `json:"observedRevision,omitempty"`

	// nodeUID is that of the Node on which the agent runs, as its token says.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	NodeUID string `json:"nodeUID,omitempty"`
	// agentVersion is the version of the agent; runtime what answers it, such as containerd://2.4.2.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	AgentVersion string `json:"agentVersion,omitempty"`
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Runtime string `json:"runtime,omitempty"`
	// canPin: the runtime lets images be held against the kubelet's garbage collection.
	// +optional
	CanPin bool `json:"canPin,omitempty"`

	// key is what credentials for this node are sealed to. It lives in the agent's memory, and is new at each start.
	// +optional
	Key *SealingKey `json:"key,omitempty"`

	// needsAsked is new whenever the agent wants to remove something and what it knows of pods is too old.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	NeedsAsked string `json:"needsAsked,omitempty"`

	// summary is present/wanted; failed counts images that could not be had.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	Summary string `json:"summary,omitempty"`
	// +optional
	Failed int32 `json:"failed"`
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=1000
	Images []StoreImageStatus `json:"images,omitempty"`

	// jobs are the answers to spec.jobs, in the same order.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=1000
	Jobs []StoreJobStatus `json:"jobs,omitempty"`

	// conditions: Ready (the runtime answers, and the node is looked after) and Retired (nothing is held any more).
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// SealingKey is the public half of an agent's key.
type SealingKey struct {
	// id is the beginning of the SHA-256 of public, in hex.
	// +kubebuilder:validation:MaxLength=64
	ID string `json:"id"`
	// public is an uncompressed point of P-256.
	// +kubebuilder:validation:MaxLength=256
	Public []byte `json:"public"`
}

// StoreImageStatus is one image on one node: how far it is, and what of it is Orlop's doing. It is a record too: pulled and
// pinned are written before the pull and the pin, so that nothing is forgotten if the agent is killed in between.
type StoreImageStatus struct {
	// image is as in the spec.
	// +kubebuilder:validation:MaxLength=600
	Image string `json:"image"`
	// digest is what the node has under this name; where the spec named none, what its pull brought.
	// +optional
	// +kubebuilder:validation:MaxLength=160
	Digest string     `json:"digest,omitempty"`
	State  ImageState `json:"state"`
	// foundDigest is that of another image that has this name on the node: from before the tag moved, or brought by somebody else.
	// +optional
	// +kubebuilder:validation:MaxLength=160
	FoundDigest string `json:"foundDigest,omitempty"`
	// pulled: Orlop brought it to this node, or was about to. Else it was found there.
	// +optional
	Pulled bool `json:"pulled,omitempty"`
	// pinned: Orlop pinned it, or was about to.
	// +optional
	Pinned bool `json:"pinned,omitempty"`
	// reason and message tell why it is not Present, or not pinned.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Reason string `json:"reason,omitempty"`
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Message string `json:"message,omitempty"`
	// +optional
	Attempts int32 `json:"attempts,omitempty"`
	// +optional
	LastAttemptTime *metav1.Time `json:"lastAttemptTime,omitempty"`
	// rechecked is the spec's recheck that was done: digest is what the name stood for then, and stays on the node until the
	// spec follows.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Rechecked string `json:"rechecked,omitempty"`
	// recheckReason is why the spec's recheck did not work; it is tried again.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	RecheckReason string `json:"recheckReason,omitempty"`
	// progress is how far the pull is, while somebody looks on and where the runtime tells.
	// +optional
	Progress *PullProgress `json:"progress,omitempty"`
}

// PullProgress is how far a pull is, in compressed bytes. What other images brought before is in neither number.
type PullProgress struct {
	// +optional
	DoneBytes int64 `json:"doneBytes"`
	// totalBytes is what is known so far, and may grow; 0: nothing is known yet.
	// +optional
	TotalBytes int64 `json:"totalBytes"`
}

// ImageState is how far an image on a node is.
//
// +kubebuilder:validation:Enum=Present;Waiting;Pulling;Failed;Releasing
type ImageState string

// The states of an image on a node.
const (
	ImagePresent   ImageState = "Present"
	ImageWaiting   ImageState = "Waiting"
	ImagePulling   ImageState = "Pulling"
	ImageFailed    ImageState = "Failed"    // and tried again after a while
	ImageReleasing ImageState = "Releasing" // it goes as soon as nothing needs it
)

// The reasons beside engine's and those of holds.
const (
	// ReasonSecretNotFound: a Secret with credentials is missing or holds none.
	ReasonSecretNotFound = "SecretNotFound"
	// ReasonRefused: the API server did not let the controller write what the node should do.
	ReasonRefused = "Refused"
	// ReasonWaitingForCredentials: they are sealed to a key that the agent had before its restart.
	ReasonWaitingForCredentials = "WaitingForCredentials"
)

// The conditions of an ImageStore, beside ConditionReady.
const (
	// ConditionRetired: the agent holds nothing any more.
	ConditionRetired = "Retired"
)
