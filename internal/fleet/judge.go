// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// stage is how far a pod is on its way to answer.
type stage int

const (
	stageUnseen  stage = iota // its kubelet has not taken notice of it
	stageComing               // volumes, sandbox, image
	stageRunning              // its container runs, and can be attached to
	stageNoMount              // the socket is not at the place that it mounts
	stageOver                 // nothing will come of it
)

// patience lists what a waiting container may say while all is well. Any other word is a failure that the kubelet would
// go on retrying long after everyone has lost patience.
var patience = map[string]bool{"": true, "ContainerCreating": true, "PodInitializing": true}

// judge reads from a pod and from the warnings about it how far it is, and what is wrong.
func judge(pod *corev1.Pod, s sighting) (stage, *Trouble) {
	if pod == nil {
		return stageUnseen, nil
	}
	for i := range pod.Status.ContainerStatuses {
		if at, trouble, tells := judgeContainer(pod.Status.ContainerStatuses[i].State, imageOf(pod)); tells {
			return at, trouble
		}
	}
	switch {
	case pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded:
		return stageOver, judgeEnd(pod)
	case s.mountFailed:
		return stageNoMount, nil
	case s.started:
		return stageRunning, nil
	case pod.Status.StartTime == nil && len(pod.Status.ContainerStatuses) == 0:
		return stageUnseen, nil
	}
	return stageComing, nil
}

// image is which of our images a pod was to run: what is said when it cannot be, and how it is named.
type image struct{ unpulled, unstarted, flags string }

func imageOf(pod *corev1.Pod) image {
	for _, c := range pod.Spec.Containers {
		if slices.Equal(c.Command, []string{holder}) {
			return image{"the tools image cannot be pulled: ", "the tools image does not start: ", "--tools-image or ORLOP_TOOLS_IMAGE"}
		}
	}
	return image{"the node image cannot be pulled: ", "the node image does not start: ", "--image or ORLOP_IMAGE"}
}

func judgeContainer(state corev1.ContainerState, ours image) (at stage, t *Trouble, tells bool) {
	switch {
	case state.Running != nil:
		return stageRunning, nil, true
	case state.Terminated != nil:
		return stageOver, crashed(state.Terminated, ours), true
	case state.Waiting == nil || patience[state.Waiting.Reason]:
		return stageComing, nil, false
	}
	waiting := state.Waiting
	trouble := &Trouble{Reason: ReasonRejected, Message: waiting.Reason + ": " + waiting.Message}
	if strings.Contains(waiting.Reason, "Image") || waiting.Reason == "RegistryUnavailable" || waiting.Reason == "SignatureValidationFailed" {
		trouble = &Trouble{Reason: ReasonNodeImage, Message: ours.unpulled + waiting.Message,
			Advice: "name one that this cluster can fetch, with " + ours.flags + "; for a private registry add --image-pull-secret"}
	}
	return stageOver, trouble, true
}

func crashed(t *corev1.ContainerStateTerminated, ours image) *Trouble {
	message := strings.TrimSpace(t.Message)
	switch t.Reason {
	case "OOMKilled":
		return &Trouble{Reason: ReasonOutOfMemory, Message: "our pod was killed: it ran out of memory"}
	case "StartError", "ContainerCannotRun":
		return &Trouble{Reason: ReasonCrashed, Message: ours.unstarted + message,
			Advice: "is it Orlop's? It is named with " + ours.flags}
	}
	return &Trouble{Reason: ReasonCrashed, Message: fmt.Sprintf("our pod ended with exit code %d before its answer: %s", t.ExitCode, cmp.Or(message, t.Reason))}
}

// judgeEnd explains a pod that ended without a word about its container: refused by its kubelet, or evicted.
func judgeEnd(pod *corev1.Pod) *Trouble {
	if pod.Status.Reason == "DeadlineExceeded" {
		return &Trouble{Reason: ReasonTimeout, Message: "our pod was ended at its deadline"}
	}
	return &Trouble{Reason: ReasonRejected, Message: fmt.Sprintf("its kubelet refused our pod: %s: %s", cmp.Or(pod.Status.Reason, "no reason"), cmp.Or(pod.Status.Message, "no message"))}
}

// judgeCreate explains why a pod could not be created.
func judgeCreate(err error, namespace string) *Trouble {
	message := err.Error()
	switch {
	case apierrors.IsForbidden(err) && strings.Contains(message, "cannot create resource"):
		return &Trouble{Reason: ReasonForbidden, Message: message, Advice: "kubectl auth can-i create pods -n " + namespace}
	case apierrors.IsForbidden(err) && strings.Contains(message, "PodSecurity"):
		return &Trouble{Reason: ReasonRefused, Message: message,
			Advice: "the pod needs the runtime's socket; choose a namespace that admits it with --agent-namespace, or label this one: kubectl label namespace " +
				namespace + " pod-security.kubernetes.io/enforce=privileged"}
	case apierrors.IsForbidden(err) || apierrors.IsInvalid(err):
		return &Trouble{Reason: ReasonRefused, Message: message}
	case apierrors.IsNotFound(err):
		return &Trouble{Reason: ReasonRefused, Message: message, Advice: "name an existing namespace with --agent-namespace"}
	}
	return &Trouble{Reason: ReasonAPI, Message: "creating the pod: " + message}
}
