// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package podrun

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orlop.dev/orlop/api/v1alpha1"
)

const (
	kind = "NodeJob"
	// maxName is a host name's length: a pod's name becomes its host name.
	maxName = 63
	// hashLength characters of base32 are 60 bits.
	hashLength = 12
)

// nameOf follows from the job, the node and the run, so that two controllers cannot make two pods of one. A job that is made anew under the same
// name does not meet the pods of the one before.
func nameOf(job *v1alpha1.NodeJob, node string, run int32) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%d", job.UID, node, run))
	hash := strings.ToLower(base32.HexEncoding.EncodeToString(sum[:]))[:hashLength]
	prefix := strings.ReplaceAll(job.Name, ".", "-")
	prefix = prefix[:min(len(prefix), maxName-1-hashLength)]
	return strings.TrimRight(prefix, "-") + "-" + hash
}

// mostAhead is how far a node's run may be ahead of the job's: each suspension raises it by one. A run without bound would leave none higher
// for a retry.
const mostAhead = 10_000

// isOf tells for which node, and in which run, a pod was made for the job. That nobody else makes such a pod the policy orlop-nodejob-pods sees
// to.
func isOf(job *v1alpha1.NodeJob, pod *corev1.Pod) (node string, run int32, ok bool) {
	owner := ownerOf(pod)
	if owner == nil || owner.UID != job.UID {
		return "", 0, false
	}
	node = pod.Annotations[v1alpha1.AnnotationNode]
	n, err := strconv.ParseInt(pod.Annotations[v1alpha1.AnnotationRun], 10, 32)
	if err != nil || n < 0 || n > int64(job.Status.Run)+mostAhead {
		return "", 0, false
	}
	return node, int32(n), pod.Name == nameOf(job, node, int32(n))
}

// podOf is the pod of the template for a node.
func podOf(job *v1alpha1.NodeJob, node string, run int32) *corev1.Pod {
	template := job.Spec.Template.DeepCopy()
	pod := &corev1.Pod{ObjectMeta: template.ObjectMeta, Spec: template.Spec}
	pod.ObjectMeta = metav1.ObjectMeta{
		Namespace: job.Namespace, Name: nameOf(job, node, run), Labels: with(template.Labels, marksOf(job)),
		Annotations: with(template.Annotations, map[string]string{
			v1alpha1.AnnotationNode: node, v1alpha1.AnnotationRun: strconv.Itoa(int(run)),
		}),
		Finalizers: append(slices.Clone(template.Finalizers), v1alpha1.FinalizerNodeJob),
		// That the pod is there does not hold up the job's deletion.
		OwnerReferences: []metav1.OwnerReference{{
			APIVersion: v1alpha1.GroupVersion.String(), Kind: kind, Name: job.Name, UID: job.UID, Controller: new(true), BlockOwnerDeletion: new(false),
		}},
	}
	pod.Spec.Affinity = on(node, pod.Spec.Affinity)
	pod.Spec.Tolerations = tolerations(job)
	if pod.Spec.RestartPolicy == corev1.RestartPolicyOnFailure && limit(job) == 0 {
		// The kubelet starts a container again at once, the first time: it would be well into its work when it is found to be once too often.
		pod.Spec.RestartPolicy = corev1.RestartPolicyNever
	}
	return pod
}

// marksOf are the labels by which the job's pods are found.
func marksOf(job *v1alpha1.NodeJob) map[string]string {
	return map[string]string{v1alpha1.LabelNodeJob: job.Name, v1alpha1.LabelNodeJobUID: string(job.UID), v1alpha1.LabelRole: v1alpha1.RoleNodeJob}
}

func has(all, some map[string]string) bool {
	for key, value := range some {
		if all[key] != value {
			return false
		}
	}
	return true
}

func with(some, ours map[string]string) map[string]string {
	all := make(map[string]string, len(some)+len(ours))
	maps.Copy(all, some)
	maps.Copy(all, ours)
	return all
}

// on puts a pod on one node, by the scheduler, as a DaemonSet does: what else the affinity required of a node Fits has looked at.
func on(node string, affinity *corev1.Affinity) *corev1.Affinity {
	if affinity == nil {
		affinity = &corev1.Affinity{}
	}
	if affinity.NodeAffinity == nil {
		affinity.NodeAffinity = &corev1.NodeAffinity{}
	}
	affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution = &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
		MatchFields: []corev1.NodeSelectorRequirement{{Key: metav1.ObjectNameField, Operator: corev1.NodeSelectorOpIn, Values: []string{node}}},
	}}}
	return affinity
}

// daemonTolerations are those that a DaemonSet's pods have: a node's bad state neither keeps a pod away nor ends it.
var daemonTolerations = []corev1.Toleration{
	{Key: corev1.TaintNodeNotReady, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute},
	{Key: corev1.TaintNodeUnreachable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute},
	{Key: corev1.TaintNodeDiskPressure, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule},
	{Key: corev1.TaintNodeMemoryPressure, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule},
	{Key: corev1.TaintNodePIDPressure, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule},
	{Key: corev1.TaintNodeUnschedulable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule},
}

var hostNetworkToleration = corev1.Toleration{
	Key: corev1.TaintNodeNetworkUnavailable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule,
}

// tolerations are the template's, the job's and a DaemonSet's. Where two are about the same, the later one counts.
func tolerations(job *v1alpha1.NodeJob) []corev1.Toleration {
	more := slices.Concat(job.Spec.Tolerations, daemonTolerations)
	if job.Spec.Template.Spec.HostNetwork {
		more = append(more, hostNetworkToleration)
	}
	all := slices.Clone(job.Spec.Template.Spec.Tolerations)
	for i := range more {
		all = slices.DeleteFunc(all, func(t corev1.Toleration) bool { return t.MatchToleration(&more[i]) })
		all = append(all, more[i])
	}
	return all
}

// limit is how often a pod's containers may be started again.
func limit(job *v1alpha1.NodeJob) int32 {
	if job.Spec.FailurePolicy.RestartLimit == nil {
		return 0
	}
	return *job.Spec.FailurePolicy.RestartLimit
}
