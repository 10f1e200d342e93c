// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package podrun

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orlop.dev/orlop/api/v1alpha1"
)

func TestPod(t *testing.T) {
	job := aJob(2, corev1.RestartPolicyOnFailure)
	job.Spec.Tolerations = []corev1.Toleration{{Key: "gpu", Operator: corev1.TolerationOpExists}}
	job.Spec.Template.ObjectMeta = metav1.ObjectMeta{
		Name: "mine", Labels: map[string]string{"app": "sweep", v1alpha1.LabelRole: v1alpha1.RoleAgent, v1alpha1.LabelNodeJobUID: "another"},
		Annotations: map[string]string{"note": "x", v1alpha1.AnnotationNode: "node9"}, Finalizers: []string{"example.com/mine"},
	}
	spec := &job.Spec.Template.Spec
	spec.NodeSelector = map[string]string{"disk": "ssd"}
	spec.Tolerations = []corev1.Toleration{{Key: "gpu", Operator: corev1.TolerationOpExists}, {Key: "own", Operator: corev1.TolerationOpExists}}
	spec.Affinity = &corev1.Affinity{
		NodeAffinity: &corev1.NodeAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "zone", Operator: corev1.NodeSelectorOpExists}},
			}}},
			PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{{Weight: 1}},
		},
		PodAntiAffinity: &corev1.PodAntiAffinity{},
	}
	before := job.DeepCopy()

	pod := podOf(job, "node1", 3)
	if diff := cmp.Diff(before, job); diff != "" {
		t.Errorf("the job was changed: %s", diff)
	}
	wantMeta := metav1.ObjectMeta{
		Namespace: "ops", Name: nameOf(job, "node1", 3),
		Labels: map[string]string{
			"app": "sweep", v1alpha1.LabelRole: v1alpha1.RoleNodeJob, v1alpha1.LabelNodeJob: "sweep", v1alpha1.LabelNodeJobUID: "u-1",
		},
		Annotations: map[string]string{"note": "x", v1alpha1.AnnotationNode: "node1", v1alpha1.AnnotationRun: "3"},
		Finalizers:  []string{"example.com/mine", v1alpha1.FinalizerNodeJob},
		OwnerReferences: []metav1.OwnerReference{{
			APIVersion: "orlop.dev/v1alpha1", Kind: "NodeJob", Name: "sweep", UID: "u-1", Controller: new(true), BlockOwnerDeletion: new(false),
		}},
	}
	if diff := cmp.Diff(wantMeta, pod.ObjectMeta); diff != "" {
		t.Error(diff)
	}
	affinity := before.Spec.Template.Spec.Affinity
	affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution = &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
		MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{"node1"}}},
	}}}
	if diff := cmp.Diff(affinity, pod.Spec.Affinity); diff != "" {
		t.Error(diff)
	}
	var tolerated []string
	for _, toleration := range pod.Spec.Tolerations {
		tolerated = append(tolerated, toleration.Key+":"+string(toleration.Effect))
	}
	// A DaemonSet's, as the documentation of DaemonSets lists them.
	want := []string{
		"own:", "gpu:", "node.kubernetes.io/not-ready:NoExecute", "node.kubernetes.io/unreachable:NoExecute", "node.kubernetes.io/disk-pressure:NoSchedule",
		"node.kubernetes.io/memory-pressure:NoSchedule", "node.kubernetes.io/pid-pressure:NoSchedule", "node.kubernetes.io/unschedulable:NoSchedule",
	}
	if diff := cmp.Diff(want, tolerated); diff != "" {
		t.Error(diff)
	}
	if pod.Spec.RestartPolicy != corev1.RestartPolicyOnFailure {
		t.Errorf("restart policy %s", pod.Spec.RestartPolicy)
	}
}

func TestPodOfOneTry(t *testing.T) {
	job := aJob(0, corev1.RestartPolicyOnFailure)
	job.Spec.Template.Spec.HostNetwork = true
	pod := podOf(job, "node1", 0)
	if pod.Spec.RestartPolicy != corev1.RestartPolicyNever {
		t.Errorf("restart policy %s: the kubelet would start it again before anybody saw that it failed", pod.Spec.RestartPolicy)
	}
	if last := pod.Spec.Tolerations[len(pod.Spec.Tolerations)-1]; last != hostNetworkToleration {
		t.Errorf("in the host's network it tolerates %v", last)
	}
}

func TestNames(t *testing.T) {
	job := aJob(0, corev1.RestartPolicyNever)
	other := aJob(0, corev1.RestartPolicyNever)
	other.UID = "u-2"
	long := aJob(0, corev1.RestartPolicyNever)
	long.Name = "a.b-" + strings.Repeat("x", 45) + "." + strings.Repeat("y", 13)
	seen := map[string]bool{}
	for _, name := range []string{
		nameOf(job, "node1", 0), nameOf(job, "node1", 1), nameOf(job, "node10", 0), nameOf(other, "node1", 0), nameOf(long, strings.Repeat("n", 253), 7),
	} {
		if seen[name] || len(name) > maxName || strings.Contains(name, ".") || strings.Contains(name, "--") {
			t.Errorf("%q of %d", name, len(name))
		}
		seen[name] = true
	}
	if nameOf(job, "node1", 1) != nameOf(job.DeepCopy(), "node1", 1) {
		t.Error("the name does not follow from the job, the node and the run")
	}
}

func TestFits(t *testing.T) {
	tainted := func(key string, effect corev1.TaintEffect) []corev1.Taint {
		return []corev1.Taint{{Key: key, Effect: effect}}
	}
	for name, c := range map[string]struct {
		taints   []corev1.Taint
		labels   map[string]string
		template corev1.PodSpec
		job      []corev1.Toleration
		want     bool
	}{
		"any":                       {want: true},
		"the selector fits":         {labels: map[string]string{"disk": "ssd"}, template: corev1.PodSpec{NodeSelector: map[string]string{"disk": "ssd"}}, want: true},
		"the selector does not":     {template: corev1.PodSpec{NodeSelector: map[string]string{"disk": "ssd"}}},
		"cordoned":                  {taints: tainted(corev1.TaintNodeUnschedulable, corev1.TaintEffectNoSchedule), want: true},
		"not ready":                 {taints: tainted(corev1.TaintNodeNotReady, corev1.TaintEffectNoSchedule), want: true},
		"under pressure":            {taints: tainted(corev1.TaintNodeDiskPressure, corev1.TaintEffectNoSchedule), want: true},
		"a taint":                   {taints: tainted("gpu", corev1.TaintEffectNoSchedule)},
		"a taint that drives out":   {taints: tainted("gpu", corev1.TaintEffectNoExecute)},
		"a taint that only advises": {taints: tainted("gpu", corev1.TaintEffectPreferNoSchedule), want: true},
		"a taint the job tolerates": {taints: tainted("gpu", corev1.TaintEffectNoSchedule), job: []corev1.Toleration{{Key: "gpu", Operator: corev1.TolerationOpExists}}, want: true},
		"a taint the template does": {taints: tainted("gpu", corev1.TaintEffectNoSchedule), template: corev1.PodSpec{Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}}}, want: true},
		"an affinity nobody can read": {template: corev1.PodSpec{Affinity: &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "a", Operator: "Inn", Values: []string{"b"}}},
			}}},
		}}}, want: true},
	} {
		t.Run(name, func(t *testing.T) {
			job := aJob(0, corev1.RestartPolicyNever)
			job.Spec.Template.Spec, job.Spec.Tolerations = c.template, c.job
			node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node1", Labels: c.labels}, Spec: corev1.NodeSpec{Taints: c.taints}}
			if got := Fits(job, node); got != c.want {
				t.Errorf("fits: %t", got)
			}
		})
	}
}
