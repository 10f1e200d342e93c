// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagestore

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// AgentLabels are those of the agents' pods.
var AgentLabels = labels.Set{"app.kubernetes.io/name": "orlop", "app.kubernetes.io/component": "agent"}

// podNode is the index of pods by their node.
const podNode = "spec.nodeName"

// Agents tells on which nodes there is an agent. An agent sends no heartbeat: it is there when its pod is ready.
type Agents struct {
	pods      client.Reader
	namespace string
}

// NewAgents reads the agents' pods in a namespace from a cache that is indexed by IndexPods.
func NewAgents(pods client.Reader, namespace string) *Agents {
	return &Agents{pods: pods, namespace: namespace}
}

// IndexPods makes a cache find pods by their node.
func IndexPods(ctx context.Context, indexer client.FieldIndexer) error {
	err := indexer.IndexField(ctx, &corev1.Pod{}, podNode, nodeOfPod)
	if err != nil {
		return fmt.Errorf("indexing pods by node: %w", err)
	}
	return nil
}

func nodeOfPod(object client.Object) []string {
	pod, ok := object.(*corev1.Pod)
	if !ok || pod.Spec.NodeName == "" {
		return nil
	}
	return []string{pod.Spec.NodeName}
}

// Ready reports whether the node's agent is.
func (a *Agents) Ready(ctx context.Context, node string) bool {
	pods, err := a.on(ctx, node)
	return err == nil && slices.ContainsFunc(pods, podReady)
}

// Expected reports whether the node's agent is there or about to be, and until when that is so if nothing happens. An agent that is
// starting finds what it may pull when it comes, rather than to come first and then to wait for it.
func (a *Agents) Expected(ctx context.Context, node string) (is bool, until time.Time, err error) {
	now := time.Now()
	pods, err := a.on(ctx, node)
	if err != nil {
		return false, until, err
	}
	if slices.ContainsFunc(pods, podReady) {
		return true, until, nil
	}
	for i := range pods {
		if end := startsBy(&pods[i]); end.After(now) && end.After(until) {
			is, until = true, end
		}
	}
	return is, until, nil
}

// Count is how many agents are ready and how many are not, of those that are to stay.
func (a *Agents) Count(ctx context.Context) (ready, unready int, err error) {
	var pods corev1.PodList
	if err := a.pods.List(ctx, &pods, client.InNamespace(a.namespace), client.MatchingLabels(AgentLabels), client.UnsafeDisableDeepCopy); err != nil {
		return 0, 0, fmt.Errorf("listing the agents: %w", err)
	}
	for _, pod := range pods.Items {
		switch {
		case podReady(pod):
			ready++
		case pod.DeletionTimestamp == nil:
			unready++
		}
	}
	return ready, unready, nil
}

// starting is how long an agent may take to become ready; its image has perhaps to be pulled first.
const starting = time.Minute

// startsBy is until when a pod that is not ready may be waited for; zero if it cannot start, or goes.
func startsBy(pod *corev1.Pod) time.Time {
	if pod.DeletionTimestamp != nil || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return time.Time{}
	}
	began := pod.CreationTimestamp.Time
	for i := range pod.Status.ContainerStatuses {
		state := &pod.Status.ContainerStatuses[i].State
		if w := state.Waiting; w != nil && (strings.HasSuffix(w.Reason, "BackOff") || strings.HasPrefix(w.Reason, "Err") || strings.HasSuffix(w.Reason, "Error")) {
			return time.Time{}
		}
		if r := state.Running; r != nil && r.StartedAt.After(began) {
			began = r.StartedAt.Time
		}
	}
	return began.Add(starting)
}

func podReady(pod corev1.Pod) bool {
	return pod.DeletionTimestamp == nil && slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

func (a *Agents) on(ctx context.Context, node string) ([]corev1.Pod, error) {
	var pods corev1.PodList
	err := a.pods.List(ctx, &pods, client.InNamespace(a.namespace), client.MatchingFields{podNode: node},
		client.MatchingLabels(AgentLabels), client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil, fmt.Errorf("listing the agents of node %s: %w", node, err)
	}
	return pods.Items, nil
}

// SlimPod leaves of a pod what tells whether an agent is there. It is for the cache.
func SlimPod(object any) (any, error) {
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return object, nil
	}
	slim := &corev1.Pod{}
	slim.Namespace, slim.Name, slim.UID, slim.ResourceVersion = pod.Namespace, pod.Name, pod.UID, pod.ResourceVersion
	slim.Labels, slim.CreationTimestamp, slim.DeletionTimestamp = pod.Labels, pod.CreationTimestamp, pod.DeletionTimestamp
	slim.Spec.NodeName = pod.Spec.NodeName
	slim.Status.Phase = pod.Status.Phase
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			slim.Status.Conditions = []corev1.PodCondition{{Type: c.Type, Status: c.Status}}
		}
	}
	for i := range pod.Status.ContainerStatuses {
		slim.Status.ContainerStatuses = append(slim.Status.ContainerStatuses, corev1.ContainerStatus{State: pod.Status.ContainerStatuses[i].State})
	}
	return slim, nil
}

// SlimNode leaves of a Node what decides what it holds. It is for the cache.
func SlimNode(object any) (any, error) {
	node, ok := object.(*corev1.Node)
	if !ok {
		return object, nil
	}
	node.ManagedFields, node.Annotations = nil, nil
	node.Status = corev1.NodeStatus{NodeInfo: node.Status.NodeInfo, Conditions: slices.DeleteFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool { return c.Type != corev1.NodeReady })}
	for i := range node.Status.Conditions {
		// The kubelet's heartbeat.
		node.Status.Conditions[i].LastHeartbeatTime.Reset()
	}
	return node, nil
}
