// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package podrun

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"

	"orlop.dev/orlop/api/v1alpha1"
)

// Fits reports whether the template's own selector and affinity, and its tolerations with the job's, let a pod of it run on the node. A
// taint that tells of a node's state does not count: see daemonTolerations. Nor does what cannot be read: the API
// server says so when it is given the pod.
func Fits(job *v1alpha1.NodeJob, node *corev1.Node) (chosen bool) {
	if job.Spec.Template == nil {
		return false
	}
	spec := &job.Spec.Template.Spec
	fits, err := nodeaffinity.NewRequiredNodeAffinity(spec.NodeSelector, spec.Affinity).Match(node)
	if !fits && err == nil {
		return false
	}
	tolerated := tolerations(job)
	return !slices.ContainsFunc(node.Spec.Taints, func(taint corev1.Taint) bool {
		if taint.Effect == corev1.TaintEffectPreferNoSchedule || strings.HasPrefix(taint.Key, "node.kubernetes.io/") {
			return false
		}
		return !slices.ContainsFunc(tolerated, func(t corev1.Toleration) bool { return t.ToleratesTaint(klog.Background(), &taint, false) })
	})
}
