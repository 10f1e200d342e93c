// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagecache

import (
	"context"
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/controller/calls"
	"orlop.dev/orlop/internal/demand"
)

// parallel is how many caches are looked after at once.
const parallel = 4

// The labels of an agent's pod. The manager's cache must hold no other pods than those.
const (
	labelComponent = "app.kubernetes.io/component"
	agentComponent = "agent"
)

type nodeList = corev1.NodeList

// SetupWithManager has the manager start the controller, and stop it with all that it began.
func (c *Controller) SetupWithManager(mgr ctrl.Manager) error {
	if err := mgr.Add(c.asker); err != nil {
		return fmt.Errorf("adding the questions to registries: %w", err)
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named("imagecache").
		For(&v1alpha1.ImageCache{}, builder.WithPredicates(predicate.Or(predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{}))).
		Watches(&corev1.Node{}, c.onNode()).
		Watches(&v1alpha1.ImageStore{}, handler.EnqueueRequestsFromMapFunc(c.onStore), builder.WithPredicates(predicate.Funcs{UpdateFunc: storeChanged})).
		Watches(&corev1.Pod{}, c.onAgent(), builder.WithPredicates(predicate.NewPredicateFuncs(isAgent), predicate.Funcs{UpdateFunc: agentChanged})).
		WatchesRawSource(source.Channel(c.wakes, &handler.EnqueueRequestForObject{})).
		WithOptions(calls.Options(parallel)).
		Complete(c)
}

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// onNode wakes the caches that select a node now, or did before it changed.
func (c *Controller) onNode() handler.EventHandler {
	wake := func(q queue, objects ...client.Object) {
		for _, obj := range objects {
			if node, ok := obj.(*corev1.Node); ok {
				c.enqueue(q, node)
			}
		}
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) { wake(q, e.Object) },
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) { wake(q, e.Object) },
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			if nodeChanged(e) {
				wake(q, e.ObjectOld, e.ObjectNew)
			}
		},
	}
}

func (c *Controller) enqueue(q queue, node *corev1.Node) {
	for _, key := range c.memory.selecting(node) {
		q.Add(reconcile.Request{NamespacedName: key})
	}
}

// nodeChanged passes over heartbeats.
func nodeChanged(e event.UpdateEvent) bool {
	old, isNode := e.ObjectOld.(*corev1.Node)
	now, isNodeToo := e.ObjectNew.(*corev1.Node)
	return !isNode || !isNodeToo || old.UID != now.UID || !maps.Equal(old.Labels, now.Labels) || old.Spec.Unschedulable != now.Spec.Unschedulable ||
		!equality.Semantic.DeepEqual(old.Spec.Taints, now.Spec.Taints) || demand.NodeReady(old) != demand.NodeReady(now) ||
		old.DeletionTimestamp.IsZero() != now.DeletionTimestamp.IsZero()
}

func (c *Controller) onStore(ctx context.Context, obj client.Object) []reconcile.Request {
	return c.ofNode(ctx, obj.GetName())
}

// storeChanged passes over what the controller itself writes there.
func storeChanged(e event.UpdateEvent) bool {
	old, isStore := e.ObjectOld.(*v1alpha1.ImageStore)
	now, isStoreToo := e.ObjectNew.(*v1alpha1.ImageStore)
	return !isStore || !isStoreToo || old.UID != now.UID || old.Status.CanPin != now.Status.CanPin || !equality.Semantic.DeepEqual(old.Status.Images, now.Status.Images)
}

// afterAgent leaves whoever answers AgentReady the time to hear the same.
const afterAgent = 50 * time.Millisecond

// onAgent wakes the caches of a node whose agent came or went.
func (c *Controller) onAgent() handler.EventHandler {
	wake := func(ctx context.Context, q queue, obj client.Object) {
		if pod, ok := obj.(*corev1.Pod); ok && pod.Spec.NodeName != "" {
			for _, req := range c.ofNode(ctx, pod.Spec.NodeName) {
				q.AddAfter(req, afterAgent)
			}
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) { wake(ctx, q, e.Object) },
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) { wake(ctx, q, e.Object) },
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) { wake(ctx, q, e.ObjectNew) },
	}
}

func isAgent(obj client.Object) bool { return obj.GetLabels()[labelComponent] == agentComponent }

func agentChanged(e event.UpdateEvent) bool {
	old, isPod := e.ObjectOld.(*corev1.Pod)
	now, isPodToo := e.ObjectNew.(*corev1.Pod)
	return !isPod || !isPodToo || podReady(old) != podReady(now) || old.Spec.NodeName != now.Spec.NodeName || old.DeletionTimestamp.IsZero() != now.DeletionTimestamp.IsZero()
}

func podReady(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func (c *Controller) ofNode(ctx context.Context, name string) (all []reconcile.Request) {
	var node corev1.Node
	if err := c.cfg.Client.Get(ctx, types.NamespacedName{Name: name}, &node, client.UnsafeDisableDeepCopy); err != nil {
		return nil // It is gone, which is an event of its own.
	}
	for _, key := range c.memory.selecting(&node) {
		all = append(all, reconcile.Request{NamespacedName: key})
	}
	return all
}
