// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package demand

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"

	"orlop.dev/orlop/api/v1alpha1"
)

// Selection chooses nodes by labels, affinity and taints, as a Pod does.
type Selection struct {
	tolerations []corev1.Toleration
	required    nodeaffinity.RequiredNodeAffinity
	// unreadable: the API server took an affinity that means nothing, such as one with a misspelt operator.
	unreadable bool
}

// ErrAffinity is about an affinity that cannot be read. No node is let go for it, and none comes.
var ErrAffinity = errors.New("spec.affinity cannot be read")

// Select reads a selection. It serves with ErrAffinity, too: then nobody can tell which nodes are meant.
func Select(selector map[string]string, a *v1alpha1.Affinity, tolerations []corev1.Toleration) (Selection, error) {
	s := Selection{tolerations: tolerations, required: nodeaffinity.NewRequiredNodeAffinity(selector, affinity(a))}
	if wrong := readable(a); wrong != nil {
		s.unreadable = true
		return s, fmt.Errorf("%w: %w", ErrAffinity, wrong)
	}
	return s, nil
}

func readable(a *v1alpha1.Affinity) error {
	if required := affinity(a); required != nil && required.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution != nil {
		_, err := nodeaffinity.NewNodeSelector(required.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution)
		return err
	}
	return nil
}

func affinity(a *v1alpha1.Affinity) *corev1.Affinity {
	if a == nil || a.NodeAffinity == nil {
		return nil
	}
	return &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution,
	}}
}

// Selects reports whether the node's labels fit the selector and the affinity. Nothing else decides what a node
// should hold, and nothing else lets it go. Where that cannot be read, a node stays what it is: see Place.
func (s Selection) Selects(node *corev1.Node) bool {
	fits, err := s.required.Match(node)
	return fits || err != nil
}

// NodeReady reports whether the kubelet says that the node is.
func NodeReady(node *corev1.Node) bool {
	for i := range node.Status.Conditions {
		if node.Status.Conditions[i].Type == corev1.NodeReady {
			return node.Status.Conditions[i].Status == corev1.ConditionTrue
		}
	}
	return false
}

// Place is what a selected node is at this moment.
type Place int

// The places.
const (
	// Usable: work may start.
	Usable Place = iota
	// Unavailable: it is chosen, and no pull may start there now: cordoned, not ready, being drained.
	Unavailable
	// Tainted: it does not count, since a taint of the cluster's own is not tolerated, or since nobody can tell whether it is
	// meant. What it holds it keeps.
	Tainted
)

// Place looks at a node that is selected; ready is whether the node and its agent are. why is for a person to read.
func (s Selection) Place(node *corev1.Node, ready bool) (place Place, why string) {
	if s.unreadable {
		if _, err := s.required.Match(node); err != nil {
			return Tainted, ErrAffinity.Error()
		}
	}
	place = Usable
	for i := range node.Spec.Taints {
		taint := &node.Spec.Taints[i]
		if taint.Effect == corev1.TaintEffectPreferNoSchedule || s.tolerates(taint) {
			continue
		}
		if !passing(taint.Key) {
			return Tainted, "has the taint " + taint.ToString()
		}
		if place == Usable {
			place, why = Unavailable, "has the taint "+taint.ToString()
		}
	}
	switch {
	case node.DeletionTimestamp != nil:
		return Unavailable, "is being deleted"
	case node.Spec.Unschedulable && !s.tolerates(&corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}):
		return Unavailable, "is cordoned"
	case place == Usable && !ready:
		return Unavailable, "is not ready"
	}
	return place, why
}

// passingTaints say that a node goes, or comes: it is still chosen.
var passingTaints = []string{
	"ToBeDeletedByClusterAutoscaler", "DeletionCandidateOfClusterAutoscaler", // cluster-autoscaler
	"karpenter.sh/disrupted", "karpenter.sh/disruption", "karpenter.sh/unregistered",
}

func passing(key string) bool {
	return strings.HasPrefix(key, "node.kubernetes.io/") || strings.HasPrefix(key, "node.cloudprovider.kubernetes.io/") ||
		slices.Contains(passingTaints, key)
}

func (s Selection) tolerates(taint *corev1.Taint) bool {
	return slices.ContainsFunc(s.tolerations, func(t corev1.Toleration) bool { return t.ToleratesTaint(klog.Background(), taint, false) })
}
