// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package podrun

import (
	corev1 "k8s.io/api/core/v1"

	"orlop.dev/orlop/api/v1alpha1"
)

// Slim leaves of a pod of a NodeJob what tells whose it is and what became of it. It is for the cache.
func Slim(pod *corev1.Pod) *corev1.Pod {
	slim := &corev1.Pod{}
	slim.Namespace, slim.Name, slim.UID, slim.ResourceVersion = pod.Namespace, pod.Name, pod.UID, pod.ResourceVersion
	slim.Labels, slim.Finalizers, slim.OwnerReferences = pod.Labels, pod.Finalizers, pod.OwnerReferences
	slim.CreationTimestamp, slim.DeletionTimestamp, slim.DeletionGracePeriodSeconds = pod.CreationTimestamp, pod.DeletionTimestamp, pod.DeletionGracePeriodSeconds
	slim.Annotations = map[string]string{}
	for _, key := range []string{v1alpha1.AnnotationNode, v1alpha1.AnnotationRun} {
		if value, ok := pod.Annotations[key]; ok {
			slim.Annotations[key] = value
		}
	}
	slim.Spec.NodeName, slim.Spec.RestartPolicy = pod.Spec.NodeName, pod.Spec.RestartPolicy
	s := &slim.Status
	s.Phase, s.Reason, s.Message, s.StartTime = pod.Status.Phase, pod.Status.Reason, head(pod.Status.Message, maxMessage), pod.Status.StartTime
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled || c.Type == corev1.DisruptionTarget {
			s.Conditions = append(s.Conditions, corev1.PodCondition{Type: c.Type, Status: c.Status, Reason: c.Reason, Message: head(c.Message, maxMessage)})
		}
	}
	s.InitContainerStatuses, s.ContainerStatuses = slimStatuses(pod.Status.InitContainerStatuses), slimStatuses(pod.Status.ContainerStatuses)
	return slim
}

func slimStatuses(statuses []corev1.ContainerStatus) []corev1.ContainerStatus {
	slim := make([]corev1.ContainerStatus, 0, len(statuses))
	for i := range statuses {
		slim = append(slim, corev1.ContainerStatus{
			Name: statuses[i].Name, RestartCount: statuses[i].RestartCount,
			State: slimState(statuses[i].State), LastTerminationState: slimState(statuses[i].LastTerminationState),
		})
	}
	return slim
}

// slimState cuts what a container may say of itself, which is up to 12 KiB for each pod.
func slimState(state corev1.ContainerState) corev1.ContainerState {
	if w := state.Waiting; w != nil {
		state.Waiting = &corev1.ContainerStateWaiting{Reason: w.Reason, Message: head(w.Message, maxMessage)}
	}
	if t := state.Terminated; t != nil {
		state.Terminated = &corev1.ContainerStateTerminated{
			ExitCode: t.ExitCode, Signal: t.Signal, Reason: t.Reason, Message: tail(t.Message, maxMessage), StartedAt: t.StartedAt, FinishedAt: t.FinishedAt,
		}
	}
	return state
}
