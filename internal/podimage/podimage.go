// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package podimage reads off pods which images they need.
package podimage

import corev1 "k8s.io/api/core/v1"

// Names are the images that a pod names, whether it has started or not, as it has them.
func Names(pod *corev1.Pod) []string {
	names := []string{}
	for i := range pod.Spec.InitContainers {
		names = append(names, pod.Spec.InitContainers[i].Image)
	}
	for i := range pod.Spec.Containers {
		names = append(names, pod.Spec.Containers[i].Image)
	}
	for i := range pod.Spec.EphemeralContainers {
		names = append(names, pod.Spec.EphemeralContainers[i].Image)
	}
	for i := range pod.Spec.Volumes {
		if image := pod.Spec.Volumes[i].Image; image != nil {
			names = append(names, image.Reference)
		}
	}
	return names
}
