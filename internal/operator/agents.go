// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
)

// Agent is one agent's pod.
type Agent struct {
	Node, Namespace, Pod string
	Image                string
	Ready                bool
	// Why it is not ready, and since when, for a person to read.
	Why string
}

// agentPods selects the agents.
const agentPods = LabelName + "=" + Product + "," + LabelComponent + "=agent"

// Agents are the agents by node: those of a namespace, or where that is empty, wherever they are. Who may not look into
// all namespaces is answered for the usual one.
func (c *Client) Agents(ctx context.Context, namespace string) (map[string]Agent, error) {
	agents, err := c.agentsIn(ctx, namespace)
	if namespace == "" && apierrors.IsForbidden(err) {
		agents, err = c.agentsIn(ctx, DefaultNamespace)
	}
	return agents, err
}

func (c *Client) agentsIn(ctx context.Context, namespace string) (map[string]Agent, error) {
	agents := map[string]Agent{}
	options := metav1.ListOptions{LabelSelector: agentPods, Limit: pageSize}
	for {
		list, err := c.core.CoreV1().Pods(namespace).List(ctx, options)
		if err != nil {
			return nil, fmt.Errorf("listing the agents: %w", err)
		}
		for i := range list.Items {
			found := agentOf(&list.Items[i], time.Now())
			if other, ok := agents[found.Node]; !ok || !other.Ready {
				agents[found.Node] = found
			}
		}
		if options.Continue = list.Continue; options.Continue == "" {
			return agents, nil
		}
	}
}

func agentOf(pod *corev1.Pod, now time.Time) Agent {
	agent := Agent{Node: cmp.Or(pod.Spec.NodeName, meantFor(pod)), Namespace: pod.Namespace, Pod: pod.Name}
	if len(pod.Spec.Containers) > 0 {
		agent.Image = pod.Spec.Containers[0].Image
	}
	since := pod.CreationTimestamp.Time
	for _, c := range pod.Status.Conditions {
		switch {
		case c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue && pod.DeletionTimestamp == nil:
			agent.Ready = true
			return agent
		case c.Type == corev1.PodReady && !c.LastTransitionTime.IsZero():
			since = c.LastTransitionTime.Time
		}
	}
	if grace := pod.DeletionGracePeriodSeconds; pod.DeletionTimestamp != nil && grace != nil { // The time is when it must be gone.
		since = pod.DeletionTimestamp.Add(-time.Duration(*grace) * time.Second)
	}
	agent.Why = fmt.Sprintf("agent not ready for %s: %s", duration.HumanDuration(now.Sub(since)), whyNotReady(pod))
	return agent
}

// meantFor is the node for which a DaemonSet has made a pod that is not bound yet.
func meantFor(pod *corev1.Pod) string {
	affinity := pod.Spec.Affinity
	if affinity == nil || affinity.NodeAffinity == nil || affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return ""
	}
	for _, term := range affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
		for _, field := range term.MatchFields {
			if field.Key == "metadata.name" && len(field.Values) == 1 {
				return field.Values[0]
			}
		}
	}
	return ""
}

// maxWhy is how much of a kubelet's or a scheduler's words a line takes.
const maxWhy = 160

func whyNotReady(pod *corev1.Pod) string {
	if pod.DeletionTimestamp != nil {
		return "it is being deleted"
	}
	for i := range pod.Status.ContainerStatuses {
		state := pod.Status.ContainerStatuses[i].State
		switch {
		case state.Waiting != nil:
			return words(state.Waiting.Reason, state.Waiting.Message)
		case state.Terminated != nil:
			return words(state.Terminated.Reason, fmt.Sprintf("exit code %d %s", state.Terminated.ExitCode, state.Terminated.Message))
		case state.Running != nil:
			return "it runs, and does not say that it is ready"
		}
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status != corev1.ConditionTrue {
			return words(c.Reason, c.Message)
		}
	}
	return words(cmp.Or(pod.Status.Reason, string(pod.Status.Phase)), pod.Status.Message)
}

func words(reason, message string) string {
	text := strings.Join(strings.Fields(reason+": "+message), " ")
	text = strings.TrimSuffix(text, ":")
	if len(text) > maxWhy {
		text = strings.ToValidUTF8(text[:maxWhy], "") + "…"
	}
	return text
}
