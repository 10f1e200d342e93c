// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagestore

import (
	"context"
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

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

// One node at a time may pull. The first is in a bad way, and must not keep the second from it.
func TestABadNodeKeepsNoTurn(t *testing.T) {
	denied := apierrors.NewForbidden(schema.GroupResource{Resource: "imagestores"}, "n0", errors.New("policy says no"))
	change := func(b *bench, edit func(*v1alpha1.ImageStore)) {
		store := b.store("n0")
		edit(store)
		if err := b.api.Update(b.t.Context(), store); err != nil {
			b.t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		had  bool // it got the turn before
		harm func(*bench)
	}{
		"its store is refused": {harm: func(b *bench) { b.refuse, b.refused = denied, "n0" }},
		"it is being retired":  {had: true, harm: func(b *bench) { change(b, func(s *v1alpha1.ImageStore) { s.Spec.Retire = true }) }},
		"the store of an earlier node will not go": {had: true, harm: func(b *bench) {
			change(b, func(s *v1alpha1.ImageStore) {
				s.Finalizers, s.OwnerReferences[0].UID = []string{"example.com/held"}, "uid-earlier"
			})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			x := with(cacheOf("x", web), func(s *v1alpha1.ImageCacheSpec) { s.MaxParallelNodes = new(intstr.FromInt32(1)) })
			b := newBench(t, x, nodeOf("n0"), agentOn("n0"), nodeOf("n1"), agentOn("n1"))
			b.learn(web, one)
			if c.had {
				b.reconcile("n0")
				b.reconcile("n1")
				b.has("n1", "web:1 =ONE hold:Turn pin a/x")
			}
			c.harm(b)
			_, _ = b.Reconcile(t.Context(), reconcile.Request{NamespacedName: types.NamespacedName{Name: "n0"}})
			b.reconcile("n1")
			b.has("n1", "web:1 =ONE pin a/x")
		})
	}
}

func TestANodeThatCannotBeReadIsNotGone(t *testing.T) {
	x := with(cacheOf("x", web), func(s *v1alpha1.ImageCacheSpec) { s.MaxParallelNodes = new(intstr.FromInt32(1)) })
	b := newBench(t, x, nodeOf("n0"), agentOn("n0"), nodeOf("n1"), agentOn("n1"))
	b.learn(web, one)
	b.reconcile("n0")
	b.blind = errors.New("the cache is behind")
	if _, err := b.Reconcile(t.Context(), reconcile.Request{NamespacedName: types.NamespacedName{Name: "n0"}}); err == nil {
		t.Error("no error")
	}
	b.blind = nil
	b.reconcile("n1")
	b.has("n1", "web:1 =ONE hold:Turn pin a/x")
}

type unlisted struct{ client.Reader }

func (unlisted) List(context.Context, client.ObjectList, ...client.ListOption) error {
	return errors.New("etcd is slow")
}

// What pods need is not known: nothing is removed then, and all else goes on.
func TestPodsThatCannotBeListedHoldUpRemovalsAlone(t *testing.T) {
	b := newBench(t, nodeOf("n1"), agentOn("n1"), cacheOf("x", web))
	b.learn(web, one)
	b.reconcile("n1")
	b.answer("n1", func(s *v1alpha1.ImageStoreStatus) {
		s.Images = []v1alpha1.StoreImageStatus{record(web, one, v1alpha1.ImagePresent)}
	})
	x := cacheOf("x")
	if err := b.api.Get(t.Context(), client.ObjectKeyFromObject(x), x); err != nil {
		t.Fatal(err)
	}
	x.Generation, x.Spec.Images = 2, []v1alpha1.CachedImage{{Image: other}}
	if err := b.api.Update(t.Context(), x); err != nil {
		t.Fatal(err)
	}
	b.learn(other, two)
	listed := b.Live
	b.Live = unlisted{}
	for range 2 {
		if _, err := b.Reconcile(t.Context(), reconcile.Request{NamespacedName: types.NamespacedName{Name: "n1"}}); err == nil {
			t.Error("no error")
		}
		b.has("n1", "other:1 =TWO pin a/x", "web:1 =ONE released")
		if needs := b.store("n1").Spec.Needs; needs != nil {
			t.Errorf("needs %+v", needs)
		}
	}
	b.Live = listed
	b.reconcile("n1")
	if b.store("n1").Spec.Needs == nil {
		t.Error("needs were not told later")
	}
	b.quiet("n1")
}
