// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package podrun

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orlop.dev/orlop/api/v1alpha1"
)

// The bounds of texts in a PodOutcome, as the schema has them.
const maxReason, maxMessage = 64, 512

// deletionByTaintManager is what the cluster notes of a pod that it takes from a node for a taint.
const deletionByTaintManager = "DeletionByTaintManager"

// ended reports whether the pod's containers will not run any more.
func ended(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// gone reports whether no kubelet will tell any more about a pod that was deleted.
func gone(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp != nil && (pod.Spec.NodeName == "" || pod.DeletionGracePeriodSeconds == nil || *pod.DeletionGracePeriodSeconds == 0)
}

// lost reports whether the pod was deleted before it had ended by itself: its containers were stopped for that, and tell nothing. One
// that ended well all the same has done its work. One that a taint drove out has failed: that was about the node.
func lost(job *v1alpha1.NodeJob, pod *corev1.Pod) bool {
	if pod.DeletionTimestamp == nil || pod.Status.Phase == corev1.PodSucceeded || expelled(pod) != nil {
		return false
	}
	if !ended(pod) {
		return gone(pod)
	}
	first := culprit(job, pod)
	return pod.Status.Reason == "" && (first == nil || !first.FinishedAt.Time.Before(askedToGo(pod)))
}

// askedToGo is when the deletion was asked for.
func askedToGo(pod *corev1.Pod) time.Time {
	at := pod.DeletionTimestamp.Time
	if pod.DeletionGracePeriodSeconds != nil {
		at = at.Add(-time.Duration(*pod.DeletionGracePeriodSeconds) * time.Second)
	}
	return at
}

// expelled is the cluster's word that a taint drove the pod out. Others that delete pods (a drain, preemption) do not judge the node.
func expelled(pod *corev1.Pod) *corev1.PodCondition {
	i := slices.IndexFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.DisruptionTarget && c.Status == corev1.ConditionTrue && c.Reason == deletionByTaintManager
	})
	if i < 0 {
		return nil
	}
	return &pod.Status.Conditions[i]
}

// judge tells what became of a pod that is not lost; nil: it goes on. over is whether it has to be ended.
func judge(job *v1alpha1.NodeJob, pod *corev1.Pod) (outcome *v1alpha1.PodOutcome, over bool) {
	restarts, due := restarts(pod)
	outcome = &v1alpha1.PodOutcome{Pod: pod.Name, Restarts: restarts, StartTime: pod.Status.StartTime, CompletionTime: lastEnd(pod)}
	switch {
	case pod.Status.Phase == corev1.PodSucceeded:
		outcome.State, outcome.ExitCode, outcome.Message = v1alpha1.JobSucceeded, new(int32(0)), tail(lastWords(pod), maxMessage)
		return outcome, false
	case pod.Status.Phase == corev1.PodFailed, gone(pod):
		outcome.State = v1alpha1.JobFailed
		blame(job, pod, outcome)
		return outcome, false
	case pod.DeletionTimestamp == nil && pod.Spec.RestartPolicy == corev1.RestartPolicyOnFailure && restarts+due > limit(job):
		// What is about to be started once more than it may has had its tries.
		outcome.State = v1alpha1.JobFailed
		blame(job, pod, outcome)
		outcome.Reason = v1alpha1.ReasonRestartLimit
		return outcome, true
	}
	return nil, false
}

// blame finds why the pod failed: what the cluster says of the pod comes first, as containers may have been stopped for it.
func blame(job *v1alpha1.NodeJob, pod *corev1.Pod, outcome *v1alpha1.PodOutcome) {
	first := culprit(job, pod)
	if first != nil {
		outcome.ExitCode = new(first.ExitCode)
	}
	taint := expelled(pod)
	switch {
	case pod.Status.Reason != "":
		outcome.Reason, outcome.Message = pod.Status.Reason, pod.Status.Message
	case taint != nil:
		outcome.Reason, outcome.Message = taint.Reason, taint.Message
	case first != nil:
		outcome.Reason, outcome.Message = first.Reason, first.tell(len(pod.Status.ContainerStatuses)+len(pod.Status.InitContainerStatuses) > 1)
	default:
		outcome.Message = pod.Status.Message
	}
	if outcome.Reason == "" || outcome.Reason == "Error" {
		outcome.Reason = v1alpha1.ReasonPodFailed // The kubelet's word for any exit code but 0.
	}
	outcome.Reason, outcome.Message = head(outcome.Reason, maxReason), head(outcome.Message, maxMessage)
}

// failure is how one container failed.
type failure struct {
	container string
	*corev1.ContainerStateTerminated
}

// tell says it for a person. Of what the container has left as its last words the end is kept: there the error is.
func (f failure) tell(byName bool) string {
	who := "the container"
	if byName {
		who = "container " + f.container
	}
	said := fmt.Sprintf("%s exited with code %d", who, f.ExitCode)
	if f.Signal != 0 {
		said = fmt.Sprintf("%s was ended by signal %d", who, f.Signal)
	}
	if words := strings.TrimSpace(f.Message); words != "" {
		said += ": " + tail(words, maxMessage-len(said)-len(": "))
	}
	return said
}

// culprit is the container that failed first. Those that run beside the others are ended with them, whatever they say then.
func culprit(job *v1alpha1.NodeJob, pod *corev1.Pod) *failure {
	var first *failure
	for status := range containers(pod) {
		end := failed(status)
		if end == nil || beside(job, status.Name) {
			continue
		}
		if first == nil || end.FinishedAt.Time.Before(first.FinishedAt.Time) {
			first = &failure{status.Name, end}
		}
	}
	return first
}

func failed(status *corev1.ContainerStatus) *corev1.ContainerStateTerminated {
	end := status.State.Terminated
	if end == nil && status.State.Running == nil {
		end = status.LastTerminationState.Terminated
	}
	if end == nil || end.ExitCode == 0 {
		return nil
	}
	return end
}

func beside(job *v1alpha1.NodeJob, name string) bool {
	return slices.ContainsFunc(job.Spec.Template.Spec.InitContainers, func(c corev1.Container) bool {
		return c.Name == name && c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
	})
}

// containers are the statuses of all, those that run first at first.
func containers(pod *corev1.Pod) func(yield func(*corev1.ContainerStatus) bool) {
	return func(yield func(*corev1.ContainerStatus) bool) {
		for _, list := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
			for i := range list {
				if !yield(&list[i]) {
					return
				}
			}
		}
	}
}

// restarts are how often containers were started again, all together, and how many are about to be.
func restarts(pod *corev1.Pod) (done, due int32) {
	for status := range containers(pod) {
		done += status.RestartCount
		if failed(status) != nil {
			due++
		}
	}
	return done, due
}

func lastEnd(pod *corev1.Pod) *metav1.Time {
	var last *metav1.Time
	for status := range containers(pod) {
		end := status.State.Terminated
		if end == nil {
			end = status.LastTerminationState.Terminated
		}
		if end != nil && !end.FinishedAt.IsZero() && (last == nil || last.Before(&end.FinishedAt)) {
			last = &end.FinishedAt
		}
	}
	return last
}

// lastWords are the first termination message that is not empty.
func lastWords(pod *corev1.Pod) string {
	for i := range pod.Status.ContainerStatuses {
		if end := pod.Status.ContainerStatuses[i].State.Terminated; end != nil && strings.TrimSpace(end.Message) != "" {
			return strings.TrimSpace(end.Message)
		}
	}
	return ""
}

// stuck tells why a pod that has not ended does not get on; empty if it does.
func stuck(pod *corev1.Pod) (reason, message string) {
	for i := range pod.Status.Conditions {
		if c := &pod.Status.Conditions[i]; c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return head(c.Reason, maxReason), head(c.Message, maxMessage)
		}
	}
	for status := range containers(pod) {
		if w := status.State.Waiting; w != nil && w.Reason != "" && w.Reason != "ContainerCreating" && w.Reason != "PodInitializing" {
			return head(w.Reason, maxReason), head(w.Message, maxMessage)
		}
	}
	return "", ""
}

const ellipsis = "…"

// head is the beginning of a text that is too long.
func head(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:max(0, most-len(ellipsis))], "") + ellipsis
}

// tail is the end of a text that is too long.
func tail(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return ellipsis + strings.ToValidUTF8(text[len(text)-max(0, most-len(ellipsis)):], "")
}
