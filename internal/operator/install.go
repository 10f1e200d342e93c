// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Install is what of Orlop runs in a cluster.
type Install struct {
	Namespace string
	// Version is the controller's, Controller its image.
	Version, Controller string
	// Replicas are wanted, Ready are there; Why is said where none is.
	Replicas, Ready int32
	Why             string
	Leader          string
	Agents          map[string]Agent
	// Hidden are the API server's words where the caller may not see a part of it.
	Hidden []string
	// Desired is on how many nodes an agent should be, by the DaemonSets; -1: not known.
	Desired int32
	// Sets is how many DaemonSets of agents there are; -1: not known.
	Sets int
}

// Nothing reports whether neither controller nor agents are found, with everything in sight.
func (i *Install) Nothing() bool {
	return i.Controller == "" && len(i.Agents) == 0 && i.Desired <= 0 && len(i.Hidden) == 0
}

// Install looks for what runs: in a namespace, or where that is empty, wherever it is. A right that is missing for the
// whole cluster is done without, in the usual namespace.
func (c *Client) Install(ctx context.Context, namespace string) (Install, error) {
	found := Install{Namespace: namespace, Desired: -1, Sets: -1}
	deployments, err := c.deployments(ctx, namespace)
	if err = found.hide(err); err != nil {
		return found, err
	}
	if len(deployments) > 0 {
		found.take(&deployments[0])
		found.Leader, found.Why = c.leader(ctx, &deployments[0])
	}
	found.Agents, err = c.Agents(ctx, namespace)
	if err = found.hide(err); err != nil {
		return found, err
	}
	if found.Namespace == "" {
		found.Namespace = DefaultNamespace
		for _, node := range slices.Sorted(maps.Keys(found.Agents)) {
			found.Namespace = found.Agents[node].Namespace
		}
	}
	sets, err := c.core.AppsV1().DaemonSets(found.Namespace).List(ctx, metav1.ListOptions{LabelSelector: agentPods})
	if err == nil {
		found.Desired, found.Sets = 0, len(sets.Items)
		for i := range sets.Items {
			found.Desired += sets.Items[i].Status.DesiredNumberScheduled
		}
	}
	return found, nil
}

// hide notes what may not be seen, and passes every other error on.
func (i *Install) hide(err error) error {
	if apierrors.IsForbidden(err) {
		i.Hidden = append(i.Hidden, err.Error())
		return nil
	}
	return err
}

const controllerPods = LabelName + "=" + Product + "," + LabelComponent + "=controller"

func (c *Client) deployments(ctx context.Context, namespace string) ([]appsv1.Deployment, error) {
	options := metav1.ListOptions{LabelSelector: controllerPods}
	list, err := c.core.AppsV1().Deployments(namespace).List(ctx, options)
	if namespace == "" && apierrors.IsForbidden(err) {
		list, err = c.core.AppsV1().Deployments(DefaultNamespace).List(ctx, options)
	}
	if err != nil {
		return nil, fmt.Errorf("looking for the controller: %w", err)
	}
	return list.Items, nil
}

func (i *Install) take(d *appsv1.Deployment) {
	i.Namespace, i.Replicas, i.Ready = d.Namespace, 1, d.Status.ReadyReplicas
	if d.Spec.Replicas != nil {
		i.Replicas = *d.Spec.Replicas
	}
	if containers := d.Spec.Template.Spec.Containers; len(containers) > 0 {
		i.Controller = containers[0].Image
	}
	i.Version = d.Labels[LabelVersion]
	if i.Version == "" {
		i.Version = tagOf(i.Controller)
	}
}

// tagOf is the tag of an image, by which its version is known; empty for none.
func tagOf(image string) string {
	image, _, _ = strings.Cut(image, "@")
	if colon := strings.LastIndex(image, ":"); colon > strings.LastIndex(image, "/") {
		return image[colon+1:]
	}
	return ""
}

// leader is the controller's pod that works, and why others do not. What may not be seen is empty.
func (c *Client) leader(ctx context.Context, d *appsv1.Deployment) (leader, why string) {
	if leases, err := c.core.CoordinationV1().Leases(d.Namespace).List(ctx, metav1.ListOptions{}); err == nil {
		for i := range leases.Items {
			if holder := leases.Items[i].Spec.HolderIdentity; holder != nil && strings.HasPrefix(*holder, d.Name+"-") {
				leader, _, _ = strings.Cut(*holder, "_")
			}
		}
	}
	pods, err := c.core.CoreV1().Pods(d.Namespace).List(ctx, metav1.ListOptions{LabelSelector: controllerPods})
	if err != nil {
		return leader, ""
	}
	for i := range pods.Items {
		if pod := &pods.Items[i]; !podReady(pod) {
			return leader, pod.Name + ": " + whyNotReady(pod)
		}
	}
	return leader, ""
}

func podReady(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}
