// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagestore

import (
	"context"
	"errors"
	"testing"

	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"orlop.dev/orlop/api/v1alpha1"
)

// TestAnEventOutlivesAReadThatFails: the nodes hear of it once the reads succeed, whatever it was about.
func TestAnEventOutlivesAReadThatFails(t *testing.T) {
	x := cacheOf("x", web)
	kept := with(cacheOf("x", web), keep)
	kept.Generation = 2
	for name, tc := range map[string]struct {
		happens func(*Controller, context.Context, queue)
	}{
		"something is known of an image": {func(c *Controller, ctx context.Context, q queue) {
			c.cacheHandler().Generic(ctx, event.GenericEvent{Object: x}, q)
		}},
		"a cache has come": {func(c *Controller, ctx context.Context, q queue) {
			c.cacheHandler().Create(ctx, event.CreateEvent{Object: x}, q)
		}},
		"a cache has gone": {func(c *Controller, ctx context.Context, q queue) {
			c.cacheHandler().Delete(ctx, event.DeleteEvent{Object: x}, q)
		}},
		"a cache keeps what it lets go now": {func(c *Controller, ctx context.Context, q queue) {
			c.cacheHandler().Update(ctx, event.UpdateEvent{ObjectOld: x, ObjectNew: kept}, q)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nodeOf("n1"), agentOn("n1"), x.DeepCopy())
			b.reconcile("n1")
			q := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
			defer q.ShutDown()
			if err := b.attach(t.Context(), q); err != nil {
				t.Fatal(err)
			}
			b.deaf = errors.New("the cache did not catch up")
			tc.happens(b.Controller, t.Context(), q)
			next := func() reconcile.Request {
				request, _ := q.Get()
				q.Done(request)
				return request
			}
			request := next()
			if _, err := b.Reconcile(t.Context(), request); !errors.Is(err, b.deaf) {
				t.Fatalf("%v ended with %v", request, err)
			}
			b.deaf = nil
			if _, err := b.Reconcile(t.Context(), request); err != nil {
				t.Fatal(err)
			}
			if got := next(); got.Name != "n1" || got.Namespace != "" {
				t.Errorf("%v was to be looked at", got)
			}
		})
	}
}

// TestNodesThatLetGoHearOfThePolicy: also those that the cache no longer selects.
func TestNodesThatLetGoHearOfThePolicy(t *testing.T) {
	x := cacheOf("x", web)
	b := newBench(t, nodeOf("n1"), nodeOf("n2"), agentOn("n1"), agentOn("n2"), x)
	b.learn(web, one)
	b.reconcile("n1")
	b.reconcile("n2")
	b.answer("n1", func(s *v1alpha1.ImageStoreStatus) {
		s.Images = []v1alpha1.StoreImageStatus{record(web, one, v1alpha1.ImagePresent)}
	})
	x.Spec.NodeSelector = map[string]string{"pool": "other"}
	x.Generation = 2
	if err := b.api.Update(t.Context(), x); err != nil {
		t.Fatal(err)
	}
	b.reconcile("n1")
	b.has("n1", "web:1 =ONE released")
	q := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
	defer q.ShutDown()
	after := with(x.DeepCopy(), keep)
	after.Generation = 3
	b.cacheHandler().Update(t.Context(), event.UpdateEvent{ObjectOld: x, ObjectNew: after}, q)
	if q.Len() != 1 {
		t.Fatalf("%d requests", q.Len())
	}
	if request, _ := q.Get(); request.Name != "n1" {
		t.Errorf("%v is to be looked at", request)
	}
	if err := b.api.Update(t.Context(), after); err != nil {
		t.Fatal(err)
	}
	b.reconcile("n1")
	b.has("n1", "web:1 =ONE keep released")
}
