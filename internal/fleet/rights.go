// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"fmt"
	"strings"
	"sync"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Right is something that a person must, or should, be allowed to do.
type Right struct {
	Verb, Resource, Subresource string
	Group                       string
	Namespace                   string // empty: in the whole cluster
	// For names the commands that need it, Without what is missing where a command can do without it.
	For, Without string
}

// resource is with its group, as kubectl takes it.
func (r Right) resource() string { return strings.TrimSuffix(r.Resource+"."+r.Group, ".") }

func (r Right) String() string {
	text := r.Verb + " " + r.resource()
	if r.Subresource != "" {
		text += "/" + r.Subresource
	}
	if r.Namespace != "" {
		text += " in " + r.Namespace
	}
	return text
}

// CanI is the question to kubectl.
func (r Right) CanI() string {
	text := "kubectl auth can-i " + r.Verb + " " + r.resource()
	if r.Subresource != "" {
		text += " --subresource=" + r.Subresource
	}
	if r.Namespace != "" {
		return text + " -n " + r.Namespace
	}
	return text + " --all-namespaces"
}

// Rights are those that the commands need.
func (f *Fleet) Rights() []Right {
	ns := f.cfg.Namespace
	everything := "every command"
	return []Right{
		{Verb: "list", Resource: "nodes", For: everything},
		{Verb: "create", Resource: "pods", Namespace: ns, For: everything},
		{Verb: "delete", Resource: "pods", Namespace: ns, For: everything},
		{Verb: "list", Resource: "pods", Namespace: ns, For: everything},
		{Verb: "watch", Resource: "pods", Namespace: ns, For: everything},
		{Verb: "create", Resource: "pods", Subresource: "attach", Namespace: ns, For: everything},
		{Verb: "get", Resource: "pods", Subresource: "attach", Namespace: ns, For: everything},
		{Verb: "list", Resource: "pods", For: "rm and prune"},
		{Verb: "watch", Resource: "pods", For: "rm and prune"},
		{Verb: "patch", Resource: "pods", Namespace: ns, For: "rm and prune", Without: "a removal that takes over a minute spares the rest"},
		{Verb: "watch", Resource: "events", Namespace: ns, For: everything, Without: "pods are noticed a second later, and a socket in an unusual place is not found"},
		{Verb: "create", Resource: "pods", Subresource: "exec", Namespace: ns, For: "shell", Without: "there is no shell"},
		{Verb: "get", Resource: "nodes", Subresource: "proxy", For: "df", Without: "the kubelets' thresholds are assumed to be 85 and 80 %"},
	}
}

// Missing asks the API server which of the rights we lack.
func (f *Fleet) Missing(ctx context.Context, rights []Right) ([]Right, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	denied := make([]bool, len(rights))
	errs := make([]error, len(rights))
	var all sync.WaitGroup
	for i, r := range rights {
		all.Go(func() {
			review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
				Verb: r.Verb, Group: r.Group, Resource: r.Resource, Subresource: r.Subresource, Namespace: r.Namespace}}}
			answer, err := f.client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
			if err != nil {
				errs[i] = fmt.Errorf("asking for the right to %s: %w", r, err)
				return
			}
			denied[i] = !answer.Status.Allowed
		})
	}
	all.Wait()
	var missing []Right
	for i, r := range rights {
		if errs[i] != nil {
			return nil, errs[i]
		}
		if denied[i] {
			missing = append(missing, r)
		}
	}
	return missing, nil
}

// Admitted asks the API server whether it would take one of our pods on the node, without making it.
func (f *Fleet) Admitted(ctx context.Context, node Node) *Trouble {
	ctx, cancel := context.WithTimeout(ctx, createTimeout)
	defer cancel()
	socket := "/run/containerd/containerd.sock"
	if len(node.sockets) > 0 {
		socket = node.sockets[0]
	}
	pod := f.pod(order{node: node, socket: socket, verb: "check", image: f.cfg.Image, args: []string{"session"}})
	if _, err := f.client.CoreV1().Pods(pod.Namespace).Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}); err != nil {
		return judgeCreate(err, pod.Namespace)
	}
	return nil
}
