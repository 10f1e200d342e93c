// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagestore

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/controller/calls"
	"orlop.dev/orlop/internal/demand"
	"orlop.dev/orlop/internal/pullsecret"
)

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// atOnce is how many nodes are worked on at a time: most of it is waiting for the API server.
const atOnce = 16

// SetupWithManager makes the manager run the controller.
func (c *Controller) SetupWithManager(mgr manager.Manager) error {
	if err := mgr.Add(manager.RunnableFunc(c.watchSecrets)); err != nil {
		return fmt.Errorf("adding the watch of Secrets: %w", err)
	}
	onlyDeleted := predicate.Funcs{
		CreateFunc: func(event.CreateEvent) bool { return false }, UpdateFunc: func(event.UpdateEvent) bool { return false },
	}
	byName := &handler.EnqueueRequestForObject{}
	err := builder.ControllerManagedBy(mgr).Named("imagestore").
		WithOptions(calls.Options(atOnce)).
		Watches(&corev1.Node{}, byName, builder.WithPredicates(changed(nodeChanged))).
		Watches(&v1alpha1.ImageStore{}, byName, builder.WithPredicates(changed(storeChanged))).
		WatchesMetadata(&v1alpha1.ImageInventory{}, byName, builder.WithPredicates(onlyDeleted)).
		Watches(&corev1.Pod{}, handler.EnqueueRequestsFromMapFunc(nodeOfAgent), builder.WithPredicates(predicate.NewPredicateFuncs(isAgent), changed(podChanged))).
		Watches(&v1alpha1.ImageCache{}, c.cacheHandler()).
		WatchesRawSource(source.Channel(c.Changed, c.cacheHandler())).
		WatchesRawSource(source.Func(c.attach)).
		Complete(c)
	if err != nil {
		return fmt.Errorf("building the controller of ImageStores: %w", err)
	}
	return nil
}

// attach keeps the queue, by which nodes that wait for a turn are looked at again.
func (c *Controller) attach(_ context.Context, q queue) error {
	c.queue.Store(&q)
	return nil
}

func (c *Controller) enqueue(nodes ...string) {
	if q := c.queue.Load(); q != nil {
		add(*q, nodes)
	}
}

func add(q queue, nodes []string) {
	for _, node := range nodes {
		q.Add(reconcile.Request{NamespacedName: types.NamespacedName{Name: node}})
	}
}

// changed passes on updates by which something has changed.
func changed[T client.Object](is func(before, after T) bool) predicate.Funcs {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok := e.ObjectOld.(T)
		after, too := e.ObjectNew.(T)
		return !ok || !too || before.GetUID() != after.GetUID() ||
			(before.GetDeletionTimestamp() == nil) != (after.GetDeletionTimestamp() == nil) || is(before, after)
	}}
}

// nodeChanged leaves the heartbeats out.
func nodeChanged(before, after *corev1.Node) bool {
	return demand.NodeReady(before) != demand.NodeReady(after) || before.Spec.Unschedulable != after.Spec.Unschedulable ||
		!maps.Equal(before.Labels, after.Labels) || !equality.Semantic.DeepEqual(before.Spec.Taints, after.Spec.Taints) ||
		before.Status.NodeInfo.ContainerRuntimeVersion != after.Status.NodeInfo.ContainerRuntimeVersion || platform(before) != platform(after)
}

// storeChanged leaves out what the agent says for people.
func storeChanged(before, after *v1alpha1.ImageStore) bool {
	a, b := &before.Status, &after.Status
	return before.Generation != after.Generation || a.ObservedRevision != b.ObservedRevision || a.NodeUID != b.NodeUID || a.NeedsAsked != b.NeedsAsked ||
		!equality.Semantic.DeepEqual(a.Key, b.Key) || !equality.Semantic.DeepEqual(before.OwnerReferences, after.OwnerReferences) ||
		!slices.EqualFunc(a.Images, b.Images, func(x, y v1alpha1.StoreImageStatus) bool {
			return x.Image == y.Image && x.Digest == y.Digest && x.State == y.State && x.Reason == y.Reason && x.Pulled == y.Pulled && x.Pinned == y.Pinned &&
				x.Rechecked == y.Rechecked && x.RecheckReason == y.RecheckReason
		})
}

func podChanged(before, after *corev1.Pod) bool {
	return podReady(*before) != podReady(*after) || before.Spec.NodeName != after.Spec.NodeName || !startsBy(before).Equal(startsBy(after))
}

// isAgent leaves out the pods of NodeJobs, which are in the same cache.
func isAgent(object client.Object) bool {
	return AgentLabels.AsSelector().Matches(labels.Set(object.GetLabels()))
}

func nodeOfAgent(_ context.Context, object client.Object) []reconcile.Request {
	pod, ok := object.(*corev1.Pod)
	if !ok || pod.Spec.NodeName == "" {
		return nil
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Name: pod.Spec.NodeName}}}
}

// cacheHandler makes a cache's nodes be looked at: those that it selected, too.
func (c *Controller) cacheHandler() handler.Funcs {
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) { c.concern(ctx, q, e.Object) },
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) {
			before, ok := e.ObjectOld.(*v1alpha1.ImageCache)
			after, too := e.ObjectNew.(*v1alpha1.ImageCache)
			if ok && too && before.UID == after.UID && before.Generation == after.Generation &&
				before.Status.PurgedGeneration == after.Status.PurgedGeneration && !watchMoved(before, after, time.Now()) &&
				(before.DeletionTimestamp == nil) == (after.DeletionTimestamp == nil) {
				return
			}
			c.concern(ctx, q, e.ObjectOld, e.ObjectNew)
			if ok && too && before.Spec.RemovalPolicy != after.Spec.RemovalPolicy {
				c.due(ctx, q, debt{going: client.ObjectKeyFromObject(after).String()})
			}
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) {
			c.concern(ctx, q, e.Object)
			c.demands.forget(client.ObjectKeyFromObject(e.Object))
		},
		GenericFunc: func(ctx context.Context, e event.GenericEvent, q queue) {
			c.due(ctx, q, debt{facts: client.ObjectKeyFromObject(e.Object)})
		},
	}
}

// secretsEvery is how often the caches' Secrets are looked at. Mostly that asks nobody: their source remembers them for a while.
const secretsEvery = 10 * time.Second

// watchSecrets makes the nodes of a cache be looked at whenever its Secrets have changed. The controller has no right to watch them.
func (c *Controller) watchSecrets(ctx context.Context) error {
	tick := time.NewTicker(secretsEvery)
	defer tick.Stop()
	states := map[types.NamespacedName]string{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		caches, err := c.demands.all(ctx, c.Client)
		if err != nil {
			log.FromContext(ctx).Error(err, "looking at the Secrets of caches")
			continue
		}
		moved, now := c.rotated(ctx, caches, states)
		states = now
		if nodes, err := nodesOf(ctx, c.Client, moved...); err == nil {
			c.enqueue(nodes...)
		}
	}
}

// rotated are the caches with other Secrets than before, or seen for the first time, and the states of all.
func (c *Controller) rotated(ctx context.Context, caches []demand.Cache, before map[types.NamespacedName]string) (moved []demand.Cache, now map[types.NamespacedName]string) {
	now = make(map[types.NamespacedName]string, len(caches))
	for i := range caches {
		cache := caches[i]
		if len(cache.Images) == 0 {
			continue
		}
		found, _ := c.Secrets.For(ctx, pullsecret.Of(&cache))
		var state strings.Builder
		for _, s := range found {
			fmt.Fprintf(&state, "%s/%s %s %s\n", s.Namespace, s.Name, s.UID, s.ResourceVersion)
		}
		now[cache.Key] = state.String()
		if was, seen := before[cache.Key]; state.Len() > 0 && !seen || seen && was != state.String() {
			moved = append(moved, cache)
		}
	}
	return moved, now
}
