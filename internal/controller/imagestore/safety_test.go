// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagestore

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"orlop.dev/orlop/api/v1alpha1"
)

// A misspelt operator gets past the API server. It must not empty every node.
func TestAnAffinityThatCannotBeReadReleasesNothing(t *testing.T) {
	b := newBench(t, nodeOf("n1"), agentOn("n1"), cacheOf("x", web))
	b.learn(web, one)
	b.reconcile("n1")
	b.has("n1", "web:1 =ONE pin a/x")
	x := cacheOf("x")
	if err := b.api.Get(t.Context(), client.ObjectKeyFromObject(x), x); err != nil {
		t.Fatal(err)
	}
	x.Generation = 2
	x.Spec.Affinity = &v1alpha1.Affinity{NodeAffinity: &v1alpha1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
		NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "zone", Operator: "in", Values: []string{"a"}}}}},
	}}}
	x.Spec.Images = append(x.Spec.Images, v1alpha1.CachedImage{Image: other})
	if err := b.api.Update(t.Context(), x); err != nil {
		t.Fatal(err)
	}
	b.learn(other, two)
	b.reconcile("n1")
	b.has("n1", "web:1 =ONE hold:Node pin a/x")
	b.quiet("n1")
}
