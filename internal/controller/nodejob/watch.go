// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package nodejob

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/controller/calls"
	"orlop.dev/orlop/internal/demand"
)

// atOnce is how many jobs are looked after at once: most of it is waiting for the API server.
const atOnce = 8

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// SetupWithManager makes the manager run the controller.
func (c *Controller) SetupWithManager(mgr ctrl.Manager) error {
	leaving := predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		return (e.ObjectOld.GetDeletionTimestamp() == nil) != (e.ObjectNew.GetDeletionTimestamp() == nil) || e.ObjectOld.GetUID() != e.ObjectNew.GetUID()
	}}
	mine := predicate.Or(predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{}, leaving)
	err := ctrl.NewControllerManagedBy(mgr).Named("nodejob").
		WithOptions(calls.Options(atOnce)).
		For(&v1alpha1.NodeJob{}, builder.WithPredicates(mine)).
		Watches(&corev1.Node{}, c.onNode()).
		Watches(&v1alpha1.ImageStore{}, onStore()).
		Watches(&corev1.Pod{}, c.onPod()).
		Complete(c)
	if err != nil {
		return fmt.Errorf("building the controller of NodeJobs: %w", err)
	}
	return nil
}

// everyJob wakes the jobs that nodes which come or go concern.
func (c *Controller) everyJob(q queue) {
	for _, key := range c.memory.concerned() {
		q.Add(reconcile.Request{NamespacedName: key})
	}
}

func (c *Controller) onNode() handler.Funcs {
	return handler.Funcs{
		CreateFunc: func(_ context.Context, _ event.CreateEvent, q queue) { c.everyJob(q) },
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) {
			c.agents.forget(e.Object.GetName())
			c.cfg.Ledger.Leave(e.Object.GetName())
			c.everyJob(q)
		},
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			before, ok := e.ObjectOld.(*corev1.Node)
			after, too := e.ObjectNew.(*corev1.Node)
			if e.ObjectOld.GetUID() != e.ObjectNew.GetUID() {
				c.cfg.Ledger.Leave(e.ObjectNew.GetName())
			}
			if !ok || !too || nodeChanged(before, after) {
				c.everyJob(q)
			}
		},
	}
}

// nodeChanged leaves the heartbeats out.
func nodeChanged(before, after *corev1.Node) bool {
	return before.UID != after.UID || demand.NodeReady(before) != demand.NodeReady(after) || !maps.Equal(before.Labels, after.Labels) ||
		!equality.Semantic.DeepEqual(before.Spec.Taints, after.Spec.Taints)
}

// onStore wakes the jobs of which a store says something else than before.
func onStore() handler.Funcs {
	wake := func(q queue, before, after *v1alpha1.ImageStore) {
		for _, key := range jobsChanged(before, after) {
			q.Add(reconcile.Request{NamespacedName: key})
		}
	}
	none := &v1alpha1.ImageStore{}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) {
			if store, ok := e.Object.(*v1alpha1.ImageStore); ok {
				wake(q, none, store)
			}
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) {
			if store, ok := e.Object.(*v1alpha1.ImageStore); ok {
				wake(q, store, none)
			}
		},
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			before, ok := e.ObjectOld.(*v1alpha1.ImageStore)
			after, too := e.ObjectNew.(*v1alpha1.ImageStore)
			if ok && too {
				wake(q, before, after)
			}
		},
	}
}

// jobsChanged are the jobs whose entries or answers differ.
func jobsChanged(before, after *v1alpha1.ImageStore) (keys []types.NamespacedName) {
	a, b := partsOf(before), partsOf(after)
	add := func(job string) {
		namespace, name, _ := strings.Cut(job, "/")
		keys = append(keys, types.NamespacedName{Namespace: namespace, Name: name})
	}
	for uid, was := range a {
		if is, ok := b[uid]; !ok || !sameEntry(was.stood, is.stood) || !sameAnswer(was.answer, is.answer) {
			add(was.stood.Job)
		}
	}
	for uid, is := range b {
		if _, ok := a[uid]; !ok {
			add(is.stood.Job)
		}
	}
	return keys
}

func partsOf(store *v1alpha1.ImageStore) map[string]*sight {
	parts := make(map[string]*sight, len(store.Spec.Jobs))
	for i := range store.Spec.Jobs {
		parts[store.Spec.Jobs[i].UID] = &sight{stood: &store.Spec.Jobs[i]}
	}
	for i := range store.Status.Jobs {
		if part := parts[store.Status.Jobs[i].UID]; part != nil {
			part.answer = &store.Status.Jobs[i]
		}
	}
	return parts
}

func sameEntry(a, b *v1alpha1.StoreJob) bool {
	return a.Run == b.Run && a.DryRun == b.DryRun && a.Cancel == b.Cancel && (a.Outcome == nil) == (b.Outcome == nil)
}

// sameAnswer leaves the decisions one by one aside: they do not change without their counts.
func sameAnswer(a, b *v1alpha1.StoreJobStatus) bool {
	if a == nil || b == nil {
		return a == b
	}
	x, y := *a, *b
	x.Images, y.Images = nil, nil
	return len(a.Images) == len(b.Images) && equality.Semantic.DeepEqual(&x, &y)
}

// afterAgent leaves whoever tells of agents the time to hear the same.
const afterAgent = 50 * time.Millisecond

// onPod wakes the job of a pod, or, if it is an agent's, the jobs that wait for agents.
func (c *Controller) onPod() handler.Funcs {
	wake := func(q queue, pod *corev1.Pod, lost bool) {
		if owner := metav1.GetControllerOfNoCopy(pod); owner != nil && pod.Labels[v1alpha1.LabelRole] == v1alpha1.RoleNodeJob {
			q.Add(reconcile.Request{NamespacedName: types.NamespacedName{Namespace: pod.Namespace, Name: owner.Name}})
			return
		}
		if pod.Spec.NodeName == "" || pod.Labels[labelComponent] != agentComponent {
			return
		}
		c.agents.changed(pod.Spec.NodeName, lost, time.Now())
		for _, key := range c.memory.concerned() {
			q.AddAfter(reconcile.Request{NamespacedName: key}, afterAgent)
		}
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) {
			if pod, ok := e.Object.(*corev1.Pod); ok {
				wake(q, pod, false)
			}
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) {
			if pod, ok := e.Object.(*corev1.Pod); ok {
				wake(q, pod, podReady(pod))
			}
		},
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			before, ok := e.ObjectOld.(*corev1.Pod)
			after, too := e.ObjectNew.(*corev1.Pod)
			if ok && too {
				wake(q, after, podReady(before) && !podReady(after))
			}
		},
	}
}

// The label of an agent's pod, of those that bear LabelRole.
const (
	labelComponent = "app.kubernetes.io/component"
	agentComponent = "agent"
)

func podReady(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp == nil && slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}
