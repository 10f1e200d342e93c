// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagestore

import (
	"context"
	"fmt"
	"slices"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/demand"
)

// debt is an event of which it must still be found out which nodes it concerns: what a read that failed leaves behind. One of
// its fields is set.
type debt struct {
	// selected are caches as they stood in the event: the nodes that they select.
	selected []demand.Cache
	// facts is a cache of whose images something is known: its nodes, and those of the caches that share one with it.
	facts types.NamespacedName
	// going is the key of a cache whose policy is another: the nodes that let go of what it wanted.
	going string
}

// debts are those that are open.
type debts struct {
	mu   sync.Mutex
	open []debt
}

func (d *debts) add(all ...debt) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open = append(d.open, all...)
}

func (d *debts) take() (all []debt) {
	d.mu.Lock()
	defer d.mu.Unlock()
	all, d.open = d.open, nil
	return all
}

// pay is the request by which debts are tried again, with the queue's pauses. No node is named so: it has a namespace.
var pay = reconcile.Request{NamespacedName: types.NamespacedName{Namespace: "orlop", Name: "debts"}}

// concern enqueues the nodes that the caches select as they stand in the event.
func (c *Controller) concern(ctx context.Context, q queue, objects ...client.Object) {
	var caches []demand.Cache
	for _, object := range objects {
		if cache, ok := object.(*v1alpha1.ImageCache); ok {
			selection := cache.DeepCopy()
			selection.Spec.Images, selection.Spec.RefreshInterval = nil, ""
			read, _ := demand.Of(selection) // What is wrong with it concerns its nodes too.
			caches = append(caches, read)
		}
	}
	c.due(ctx, q, debt{selected: caches})
}

// due enqueues the nodes that an event concerns, or has that tried again.
func (c *Controller) due(ctx context.Context, q queue, d debt) {
	nodes, err := c.concerned(ctx, d)
	if err != nil {
		log.FromContext(ctx).Error(err, "finding the nodes that an event concerns")
		c.debts.add(d)
		q.AddRateLimited(pay)
		return
	}
	add(q, nodes)
}

// payDebts is a reconcile of its own: an error has it done again.
func (c *Controller) payDebts(ctx context.Context) error {
	var failed []error
	for _, d := range c.debts.take() {
		nodes, err := c.concerned(ctx, d)
		if err != nil {
			c.debts.add(d)
			failed = append(failed, err)
			continue
		}
		c.enqueue(nodes...)
	}
	if len(failed) > 0 {
		return fmt.Errorf("finding the nodes of %d events: %w", len(failed), failed[0])
	}
	return nil
}

func (c *Controller) concerned(ctx context.Context, d debt) ([]string, error) {
	switch {
	case d.going != "":
		return c.lettingGo(ctx, d.going)
	case d.facts.Name == "":
		return nodesOf(ctx, c.Client, d.selected...)
	}
	cache := &v1alpha1.ImageCache{}
	if err := c.Client.Get(ctx, d.facts, cache); apierrors.IsNotFound(err) {
		return nil, nil // Its nodes were told.
	} else if err != nil {
		return nil, fmt.Errorf("reading ImageCache %s: %w", d.facts, err)
	}
	caches, err := c.demands.sharing(ctx, c.Client, c.demands.of(cache))
	if err != nil {
		return nil, err
	}
	return nodesOf(ctx, c.Client, caches...)
}

// lettingGo are the nodes that let go of what the cache wanted.
func (c *Controller) lettingGo(ctx context.Context, cache string) (nodes []string, err error) {
	var stores v1alpha1.ImageStoreList
	if err := c.Client.List(ctx, &stores, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("listing ImageStores: %w", err)
	}
	for i := range stores.Items {
		if slices.ContainsFunc(stores.Items[i].Spec.Images, func(e v1alpha1.StoreImage) bool { return e.Released && slices.Contains(e.Caches, cache) }) {
			nodes = append(nodes, stores.Items[i].Name)
		}
	}
	return nodes, nil
}
