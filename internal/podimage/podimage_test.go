// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package podimage_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"orlop.dev/orlop/internal/podimage"
)

func TestNames(t *testing.T) {
	pod := &corev1.Pod{Spec: corev1.PodSpec{
		InitContainers:      []corev1.Container{{Image: "init:1"}},
		Containers:          []corev1.Container{{Image: "app:1"}, {Image: "side:1"}},
		EphemeralContainers: []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Image: "debug:1"}}},
		Volumes: []corev1.Volume{
			{Name: "none"},
			{Name: "data", VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: "data:1"}}},
		},
	}}
	if diff := cmp.Diff([]string{"init:1", "app:1", "side:1", "debug:1", "data:1"}, podimage.Names(pod)); diff != "" {
		t.Error(diff)
	}
}
