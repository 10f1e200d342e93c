// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"orlop.dev/orlop/internal/controller/imagestore"
)

func agentPod(name string, ready corev1.ConditionStatus, change func(*corev1.Pod)) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "orlop-system", Name: name, Labels: imagestore.AgentLabels}}
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}
	if change != nil {
		change(pod)
	}
	return pod
}

// TestAgentsAreCountedByTheLeader, which no other controller does: two would count them twice.
func TestAgentsAreCountedByTheLeader(t *testing.T) {
	pods := fake.NewClientBuilder().WithObjects(
		agentPod("a", corev1.ConditionTrue, nil), agentPod("b", corev1.ConditionTrue, nil), agentPod("c", corev1.ConditionFalse, nil),
		agentPod("elsewhere", corev1.ConditionFalse, func(p *corev1.Pod) { p.Namespace = "other" }),
		agentPod("another", corev1.ConditionFalse, func(p *corev1.Pod) { p.Labels = nil }),
		agentPod("going", corev1.ConditionFalse, func(p *corev1.Pod) {
			p.DeletionTimestamp, p.Finalizers = new(metav1.Now()), []string{"test/hold"}
		}),
	).Build()
	count := &agentCount{}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(count)
	series := func() string {
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		for _, f := range families {
			for _, m := range f.Metric {
				text.WriteString(m.Label[0].GetValue() + map[float64]string{1: " 1 ", 2: " 2 "}[m.Gauge.GetValue()])
			}
		}
		return text.String()
	}
	if got := series(); got != "" {
		t.Errorf("before it leads: %s", got)
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- count.lead(imagestore.NewAgents(pods, "orlop-system"))(ctx) }()
		synctest.Wait()
		if got := series(); got != "ready 2 unready 1 " {
			t.Errorf("while it leads: %s", got)
		}
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if got := series(); got != "" {
			t.Errorf("after it has led: %s", got)
		}
	})
}
