// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

// TestLeftovers: whether a pod is at work is told by its phase and its node, and by no clock of ours.
func TestLeftovers(t *testing.T) {
	client := fake.NewClientset(aNode("here"))
	f := newFleet(Config{}, client)
	pod := func(name, node string, phase corev1.PodPhase, created time.Time) {
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: f.Namespace(), Labels: map[string]string{LabelManagedBy: manager}, CreationTimestamp: metav1.NewTime(created)},
			Spec:       corev1.PodSpec{NodeName: node, ActiveDeadlineSeconds: new(int64(60))}, Status: corev1.PodStatus{Phase: phase},
		}
		if err := client.Tracker().Add(pod); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Now()
	pod("runs", "here", corev1.PodRunning, now)
	pod("comes", "here", corev1.PodPending, now)
	pod("has-ended", "here", corev1.PodSucceeded, now)
	pod("has-failed", "here", corev1.PodFailed, now)
	pod("runs-by-a-clock-far-behind", "here", corev1.PodRunning, now.Add(-time.Hour))
	pod("runs-nowhere", "gone", corev1.PodRunning, now)
	found, err := f.Leftovers(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, l := range found {
		got[l.Pod] = l.Alive
	}
	want := map[string]bool{"runs": true, "comes": true, "has-ended": false, "has-failed": false, "runs-by-a-clock-far-behind": true, "runs-nowhere": false}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
