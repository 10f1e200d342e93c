// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ImageInventory is everything that is on one node. It is named as its node, which owns it; that node's agent writes it.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=imi,categories=orlop
// +kubebuilder:printcolumn:name="IMAGES",type=integer,JSONPath=`.status.imageCount`
// +kubebuilder:printcolumn:name="DISK",type=string,JSONPath=`.status.diskUse`,description="How full the images' file system is"
// +kubebuilder:printcolumn:name="RECLAIMABLE",type=string,JSONPath=`.status.reclaimable`,description="What would be freed if every image went that nothing needs"
// +kubebuilder:printcolumn:name="AGE",type=date,JSONPath=`.metadata.creationTimestamp`
type ImageInventory struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// +optional
	Status ImageInventoryStatus `json:"status,omitzero"`
}

// ImageInventoryList is a list of ImageInventories.
//
// +kubebuilder:object:root=true
type ImageInventoryList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`
	Items           []ImageInventory `json:"items"`
}

// ImageInventoryStatus is what was on the node at observedTime.
type ImageInventoryStatus struct {
	// observedTime is when it was looked at, by the node's clock. What changes is written within 10 s, or 30 s while the agent is
	// pulling; nothing changing, nothing is written, so an old time means that nothing has changed since while the agent is there.
	// +optional
	ObservedTime metav1.Time `json:"observedTime,omitzero"`
	// watchedSince is since when an agent has watched this node without a gap: no use of an image since then was missed.
	// +optional
	WatchedSince metav1.Time `json:"watchedSince,omitzero"`
	// runtime is such as containerd://2.4.2.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Runtime string `json:"runtime,omitempty"`
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Platform string `json:"platform,omitempty"`
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Endpoint string `json:"endpoint,omitempty"`

	// +optional
	ImageFS ImageFS `json:"imageFS,omitzero"`
	// reclaimableBytes would be freed if every image went that nothing needs.
	// +optional
	ReclaimableBytes int64 `json:"reclaimableBytes,omitempty"`
	// diskUse and reclaimable are imageFS and reclaimableBytes for a reader of tables.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	DiskUse string `json:"diskUse,omitempty"`
	// +optional
	// +kubebuilder:validation:MaxLength=32
	Reclaimable string `json:"reclaimable,omitempty"`

	// imageCount is how many images there are, those that found no room in the list included.
	// +optional
	ImageCount int32 `json:"imageCount"`
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=2000
	Images []InventoryImage `json:"images,omitempty"`
	// +optional
	OmittedImages int32 `json:"omittedImages,omitempty"`
}

// ImageFS is the file system that holds the images.
type ImageFS struct {
	// +optional
	CapacityBytes int64 `json:"capacityBytes,omitempty"`
	// +optional
	UsedBytes int64 `json:"usedBytes,omitempty"`
	// +optional
	AvailableBytes int64 `json:"availableBytes,omitempty"`
	// +optional
	Inodes int64 `json:"inodes,omitempty"`
	// +optional
	InodesUsed int64 `json:"inodesUsed,omitempty"`
}

// InventoryImage is one image under all its names.
type InventoryImage struct {
	// +kubebuilder:validation:MaxLength=160
	ID string `json:"id"`
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=100
	Tags []string `json:"tags,omitempty"`
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=100
	Digests []string `json:"digests,omitempty"`
	// +optional
	DiskBytes int64 `json:"diskBytes,omitempty"`
	// +optional
	UniqueBytes int64 `json:"uniqueBytes,omitempty"`
	// +optional
	PullBytes int64 `json:"pullBytes,omitempty"`
	// +optional
	Pinned bool `json:"pinned,omitempty"`
	// +optional
	Sandbox bool `json:"sandbox,omitempty"`
	// users are the first of what uses it: namespace/name of pods, or a container's name; userCount is all.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=3
	Users []string `json:"users,omitempty"`
	// +optional
	UserCount int32 `json:"userCount,omitempty"`
	// firstSeen is when the node got it, lastUsed when a container last did; not set is not known.
	// +optional
	FirstSeen *metav1.Time `json:"firstSeen,omitempty"`
	// +optional
	LastUsed *metav1.Time `json:"lastUsed,omitempty"`
}
