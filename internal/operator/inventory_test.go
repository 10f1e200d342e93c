// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/plan"
	"orlop.dev/orlop/internal/session"
)

func TestFromInventory(t *testing.T) {
	at := metav1.NewTime(time.Date(2026, 11, 2, 3, 4, 5, 0, time.UTC))
	web, err := oci.Parse("ghcr.io/acme/web:1")
	if err != nil {
		t.Fatal(err)
	}
	got := FromInventory(v1alpha1.ImageInventoryStatus{
		Runtime: "cri-o://1.36.0", Platform: "linux/arm64", Endpoint: "unix:///run/crio/crio.sock", ReclaimableBytes: 7, OmittedImages: 2,
		ImageFS: v1alpha1.ImageFS{CapacityBytes: 10, UsedBytes: 4, AvailableBytes: 6, Inodes: 3, InodesUsed: 1},
		Images: []v1alpha1.InventoryImage{{ID: "a", Tags: []string{"ghcr.io/acme/web:1", "no/valid:1:2"}, DiskBytes: 3, PullBytes: 2, UniqueBytes: 1, Pinned: true,
			Users: []string{"shop/web-1", "builder"}, UserCount: 5, FirstSeen: &at, LastUsed: &at}},
	})
	want := session.Inventory{
		Runtime: engine.Description{Name: "cri-o", Version: "1.36.0", Endpoint: "unix:///run/crio/crio.sock"}, Platform: "linux/arm64", ReclaimableBytes: 7, Omitted: 2,
		Disk: plan.Disk{Capacity: 10, Used: 4, Available: 6, Inodes: 3, InodesUsed: 1},
		Images: []session.ImageInfo{{Image: engine.Image{ID: "a", Tags: []oci.Ref{web}, DiskBytes: 3, PullBytes: 2, Pinned: true, FirstSeen: at.Time, LastUsed: at.Time},
			Uses:        []engine.Use{{ImageID: "a", Kind: engine.UseContainer, Pod: "shop/web-1"}, {ImageID: "a", Kind: engine.UseContainer, Container: "builder"}},
			UniqueBytes: 1, MoreUsers: 3}},
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b oci.Ref) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
}

func TestAgentOf(t *testing.T) {
	now := time.Date(2026, 11, 2, 3, 4, 5, 0, time.UTC)
	made := metav1.NewTime(now.Add(-5 * time.Minute))
	state := func(s corev1.ContainerState) corev1.PodStatus {
		return corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{State: s}}}
	}
	ready := corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}
	cases := map[string]struct {
		status  corev1.PodStatus
		deleted bool
		ready   bool
		why     string
	}{
		"ready":         {status: ready, ready: true},
		"going":         {status: ready, deleted: true, why: "agent not ready for 20s: it is being deleted"},
		"no image":      {status: state(corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: "not\nfound"}}), why: "agent not ready for 5m: ErrImagePull: not found"},
		"crashed":       {status: state(corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: "Error", ExitCode: 2}}), why: "agent not ready for 5m: Error: exit code 2"},
		"not answering": {status: state(corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}), why: "agent not ready for 5m: it runs, and does not say that it is ready"},
		"no place": {status: corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "0/3 nodes"}}},
			why: "agent not ready for 5m: Unschedulable: 0/3 nodes"},
		"evicted": {status: corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted", Message: "low on disk"}, why: "agent not ready for 5m: Evicted: low on disk"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: made}, Status: c.status}
			if c.deleted {
				pod.DeletionTimestamp, pod.DeletionGracePeriodSeconds = new(metav1.NewTime(now.Add(10*time.Second))), new(int64(30))
			}
			pod.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
				NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{"node-1"}}}}}}}}
			if got := agentOf(pod, now); got.Ready != c.ready || got.Why != c.why || got.Node != "node-1" {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestTagOf(t *testing.T) {
	for image, want := range map[string]string{"a/b:1.2": "1.2", "host:5000/a": "", "host:5000/a:2@sha256:0": "2", "": ""} {
		if got := tagOf(image); got != want {
			t.Errorf("%s: %q, want %q", image, got, want)
		}
	}
}
