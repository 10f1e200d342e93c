// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagecache

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"orlop.dev/orlop/api/v1alpha1"
)

func TestWhatOfANodeMatters(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*corev1.Node)
		want   bool
	}{
		"heartbeat":   {func(n *corev1.Node) { n.Status.Conditions[0].LastHeartbeatTime = metav1.Now() }, false},
		"annotation":  {func(n *corev1.Node) { n.Annotations = map[string]string{"a": "b"} }, false},
		"label":       {func(n *corev1.Node) { n.Labels = map[string]string{"pool": "web"} }, true},
		"taint":       {func(n *corev1.Node) { n.Spec.Taints = []corev1.Taint{{Key: "gpu"}} }, true},
		"cordon":      {func(n *corev1.Node) { n.Spec.Unschedulable = true }, true},
		"not ready":   {func(n *corev1.Node) { n.Status.Conditions[0].Status = corev1.ConditionUnknown }, true},
		"made anew":   {func(n *corev1.Node) { n.UID = "other" }, true},
		"on its way":  {func(n *corev1.Node) { n.DeletionTimestamp = new(metav1.Now()) }, true},
		"kubelet new": {func(n *corev1.Node) { n.Status.NodeInfo.KubeletVersion = "v1.37.0" }, false},
	} {
		old := nodes("n1")[0].(*corev1.Node)
		now := old.DeepCopy()
		tc.change(now)
		if got := nodeChanged(event.UpdateEvent{ObjectOld: old, ObjectNew: now}); got != tc.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestWhatOfAStoreMatters(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*v1alpha1.ImageStore)
		want   bool
	}{
		"spec":      {func(s *v1alpha1.ImageStore) { s.Spec.Images = []v1alpha1.StoreImage{{Image: one}} }, false},
		"a new key": {func(s *v1alpha1.ImageStore) { s.Status.Key = &v1alpha1.SealingKey{ID: "x"} }, false},
		"images":    {func(s *v1alpha1.ImageStore) { s.Status.Images = []v1alpha1.StoreImageStatus{{Image: one}} }, true},
		"pins":      {func(s *v1alpha1.ImageStore) { s.Status.CanPin = false }, true},
	} {
		old := nodes("n1")[1].(*v1alpha1.ImageStore)
		now := old.DeepCopy()
		tc.change(now)
		if got := storeChanged(event.UpdateEvent{ObjectOld: old, ObjectNew: now}); got != tc.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
