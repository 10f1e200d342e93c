// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package v1alpha1 holds the kinds that Orlop adds to a cluster: what people write (ImageCache, NodeJob,
// NodeCronJob), and what the controller and the agents tell each other and everybody (ImageStore, ImageInventory).
//
// +kubebuilder:object:generate=true
// +groupName=orlop.dev
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is that of every kind here.
var GroupVersion = schema.GroupVersion{Group: "orlop.dev", Version: "v1alpha1"}

// AddToScheme makes a scheme know the kinds.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion,
		&ImageCache{}, &ImageCacheList{},
		&ImageStore{}, &ImageStoreList{},
		&ImageInventory{}, &ImageInventoryList{},
		&NodeJob{}, &NodeJobList{},
		&NodeCronJob{}, &NodeCronJobList{},
	)
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}
