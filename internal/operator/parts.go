// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/metadata"
)

// Part is one object of an install.
type Part struct {
	Resource  schema.GroupVersionResource
	Namespace string
	Name      string
	// Release is the Helm release that its annotations name, if they do.
	Release string
}

func (p Part) String() string {
	name := p.Resource.Resource + "/" + p.Name
	if p.Resource.Group != "" {
		name = p.Resource.Resource + "." + p.Resource.Group + "/" + p.Name
	}
	if p.Namespace != "" {
		name += " in " + p.Namespace
	}
	return name
}

func resource(group, name string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: group, Version: "v1", Resource: name}
}

var (
	crds       = resource("apiextensions.k8s.io", "customresourcedefinitions")
	namespaces = resource("", "namespaces")
	secrets    = resource("", "secrets")
	// workloads go first: nothing of ours is to act while the rest goes.
	workloads = []schema.GroupVersionResource{
		resource("batch", "jobs"), resource("apps", "deployments"), resource("apps", "daemonsets"),
	}
	// others go next. The policy goes before the rights: without the agents nobody is left whom it would hold.
	others = []schema.GroupVersionResource{
		resource("monitoring.coreos.com", "podmonitors"), resource("monitoring.coreos.com", "servicemonitors"),
		resource("policy", "poddisruptionbudgets"), resource("", "services"), resource("", "configmaps"),
		resource("", "resourcequotas"), resource("coordination.k8s.io", "leases"), resource("security.openshift.io", "securitycontextconstraints"),
		resource("admissionregistration.k8s.io", "validatingadmissionpolicybindings"), resource("admissionregistration.k8s.io", "validatingadmissionpolicies"),
		resource("rbac.authorization.k8s.io", "rolebindings"), resource("rbac.authorization.k8s.io", "roles"),
		resource("rbac.authorization.k8s.io", "clusterrolebindings"), resource("rbac.authorization.k8s.io", "clusterroles"),
		resource("", "serviceaccounts"),
	}
)

// Parts are the objects of an install, in the order in which they should go. The definitions of the kinds are apart: with them
// goes every object of these kinds. So is the namespace.
type Parts struct {
	Workloads, Others, CRDs, Namespaces []Part
}

// All are the parts but the definitions and the namespaces.
func (p Parts) All() []Part { return slices.Concat(p.Workloads, p.Others) }

// Parts finds the objects that are labelled as part of Orlop.
func (c *Client) Parts(ctx context.Context) (Parts, error) {
	client, err := metadata.NewForConfig(c.config)
	if err != nil {
		return Parts{}, fmt.Errorf("preparing the connection: %w", err)
	}
	var found Parts
	for into, resources := range map[*[]Part][]schema.GroupVersionResource{
		&found.Workloads: workloads, &found.Others: others, &found.CRDs: {crds}, &found.Namespaces: {namespaces},
	} {
		for _, r := range resources {
			parts, err := list(ctx, client, r)
			if err != nil {
				return Parts{}, err
			}
			*into = append(*into, parts...)
		}
	}
	return found, nil
}

func list(ctx context.Context, client metadata.Interface, r schema.GroupVersionResource) ([]Part, error) {
	all, err := client.Resource(r).List(ctx, metav1.ListOptions{LabelSelector: LabelPartOf + "=" + Product})
	if apierrors.IsNotFound(err) || meta.IsNoMatchError(err) { // Not every cluster has every kind.
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", r.Resource, err)
	}
	var parts []Part
	for i := range all.Items {
		item := &all.Items[i]
		if len(item.OwnerReferences) > 0 { // It goes with its owner.
			continue
		}
		parts = append(parts, Part{Resource: r, Namespace: item.Namespace, Name: item.Name, Release: item.Annotations["meta.helm.sh/release-name"]})
	}
	return parts, nil
}

// helmRecord begins the names of the Secrets in which Helm keeps a release.
const helmRecord = "sh.helm.release.v1."

// HelmRelease is the Helm release that the parts belong to, if Helm knows of it: what was applied from install.yaml has
// Helm's annotations too, and no release.
func (c *Client) HelmRelease(ctx context.Context, parts []Part, namespace string) (string, error) {
	client, err := metadata.NewForConfig(c.config)
	if err != nil {
		return "", fmt.Errorf("preparing the connection: %w", err)
	}
	release := Product
	for _, part := range parts {
		release = cmp.Or(part.Release, release)
	}
	all, err := client.Resource(secrets).Namespace(namespace).List(ctx, metav1.ListOptions{LabelSelector: "owner=helm,name=" + release})
	if err != nil {
		return "", fmt.Errorf("looking whether Helm has installed it: %w", err)
	}
	for i := range all.Items {
		if strings.HasPrefix(all.Items[i].Name, helmRecord+release+".v") {
			return release, nil
		}
	}
	return "", nil
}

// Delete deletes parts in their order, and gives those that could not be with the reason.
func (c *Client) Delete(ctx context.Context, parts []Part) map[string]error {
	failed := map[string]error{}
	client, err := metadata.NewForConfig(c.config)
	if err != nil {
		failed["all"] = err
		return failed
	}
	// A workload that waited for its pods would wait for every node that is away.
	propagation := metav1.DeletePropagationBackground
	for _, part := range parts {
		var target metadata.ResourceInterface = client.Resource(part.Resource)
		if part.Namespace != "" {
			target = client.Resource(part.Resource).Namespace(part.Namespace)
		}
		if err := target.Delete(ctx, part.Name, metav1.DeleteOptions{PropagationPolicy: &propagation}); err != nil && !apierrors.IsNotFound(err) {
			failed[part.String()] = err
		}
	}
	return failed
}

// AwaitEnd waits until the pods of an install have ended, but for those on nodes that cannot answer: these end when their node is
// back. It gives the nodes of pods that are left, and has waited for, when the context ends.
func (c *Client) AwaitEnd(ctx context.Context, namespace string, canAnswer func(node string) bool) (left []string) {
	return c.awaitEnd(ctx, namespace, LabelComponent+" in (agent,controller)", func(pod *corev1.Pod) bool { return canAnswer(pod.Spec.NodeName) })
}

// awaitEnd waits until there is none of our pods in the namespace that counts, and gives the nodes of those that are left when the context ends.
func (c *Client) awaitEnd(ctx context.Context, namespace, component string, counts func(*corev1.Pod) bool) (left []string) {
	options := metav1.ListOptions{LabelSelector: LabelName + "=" + Product + "," + component}
	for {
		pods, err := c.core.CoreV1().Pods(namespace).List(ctx, options)
		if err == nil {
			left = nil
			for i := range pods.Items {
				if counts(&pods.Items[i]) {
					left = append(left, pods.Items[i].Spec.NodeName)
				}
			}
			slices.Sort(left)
			left = slices.Compact(left)
			if len(left) == 0 {
				return nil
			}
		}
		select {
		case <-time.After(lookAgain):
		case <-ctx.Done():
			return left
		}
	}
}
