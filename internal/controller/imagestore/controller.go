// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package imagestore writes, for each node, what it should hold and what it should let go of: the spec of its ImageStore.
package imagestore

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/assign"
	"orlop.dev/orlop/internal/catalog"
	"orlop.dev/orlop/internal/demand"
	"orlop.dev/orlop/internal/pullsecret"
)

// secrets are where the credentials of caches and jobs come from.
type secrets interface {
	For(ctx context.Context, h pullsecret.Holder) ([]pullsecret.Secret, []pullsecret.Problem)
}

// Config is what the controller works with.
type Config struct {
	// Client reads Nodes, ImageCaches, ImageStores and the metadata of ImageInventories from a cache in which it sees its own writes.
	Client client.Client
	// Live asks the API server.
	Live    client.Reader
	Agents  *Agents
	Catalog *catalog.Catalog
	Secrets secrets
	// Changed gives the ImageCaches of whose images something new is known.
	Changed  <-chan event.GenericEvent
	Recorder events.EventRecorder
	// Jobs is where NodeJobs' reconciler leaves what they ask; nil: there are none.
	Jobs *assign.Ledger
	// Wake tells who sums a cache up that a node was refused its store, or no longer is, or has no room for other images than before;
	// nil: nobody.
	Wake func(ctx context.Context, cache types.NamespacedName)
}

// Controller reconciles nodes. All that it remembers may be lost.
type Controller struct {
	Config
	turns   *turns
	demands *demands
	retired *retired
	told    *told
	pace    *pace
	debts   debts

	seeding sync.Mutex
	seeded  bool
	// queue is where nodes are put that are to be looked at again, once there is one.
	queue atomic.Pointer[queue]
}

// New makes a controller.
func New(cfg Config) *Controller {
	return &Controller{
		Config: cfg, turns: newTurns(), demands: newDemands(), retired: newRetired(), told: newTold(), pace: newPace(),
	}
}

// Refusal is why the API server did not let the node's store be written; empty: it did.
func (c *Controller) Refusal(node string) string { return c.told.refusal(node) }

// LeftOut are the images for which the node's store has no room, by the names that nodes have for them, once that is known. They are
// not to be changed.
func (c *Controller) LeftOut(node string) (images map[string]bool, known bool) {
	return c.told.leftOut(node)
}

// Reconcile makes one node's store say what the node should do now.
func (c *Controller) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	if err := c.seed(ctx); err != nil {
		return reconcile.Result{}, err
	}
	if request == pay {
		return reconcile.Result{}, c.payDebts(ctx)
	}
	node := &corev1.Node{}
	if err := c.Client.Get(ctx, request.NamespacedName, node); apierrors.IsNotFound(err) {
		// The Node owns its objects: they go with it.
		c.gone(request.Name)
		return reconcile.Result{}, nil
	} else if err != nil {
		return reconcile.Result{}, fmt.Errorf("reading node %s: %w", request.Name, err)
	}
	store, err := c.storeOf(ctx, node)
	if err != nil {
		return reconcile.Result{}, err
	}
	if store == nil {
		c.yield(node.Name, nil)
		return reconcile.Result{}, nil
	}
	if wait := c.retired.wait(store, time.Now()); wait > 0 {
		c.yield(node.Name, nil)
		return reconcile.Result{RequeueAfter: wait}, nil
	}
	return c.bring(ctx, node, store)
}

// bring computes the spec, and writes it if it is another.
func (c *Controller) bring(ctx context.Context, node *corev1.Node, store *v1alpha1.ImageStore) (reconcile.Result, error) {
	ready, until, err := c.ready(ctx, node)
	if err != nil {
		return reconcile.Result{}, err
	}
	in := input{node: node, ready: ready, facts: c.Catalog.Get, store: store}
	if in.caches, in.keepers, err = c.demands.on(ctx, c.Client, node); err != nil {
		return reconcile.Result{}, err
	}
	in.settling = map[types.NamespacedName]bool{}
	for i := range in.caches {
		in.settling[in.caches[i].Key] = time.Now().Before(c.demands.settling(in.caches[i].Key))
	}
	v := look(in)
	asks := v.asks()
	granted, wake, due := c.turns.Update(node.Name, asks, time.Now())
	c.enqueue(wake...)
	if until.IsZero() || !due.IsZero() && due.Before(until) {
		until = due
	}
	spec, now, err := c.spec(ctx, v, granted)
	if err != nil {
		c.yield(node.Name, asks)
		return reconcile.Result{}, err
	}
	err = c.write(ctx, node, store, spec)
	if err != nil {
		c.yield(node.Name, asks)
	}
	c.tell(ctx, v, now, err)
	if apierrors.IsConflict(err) {
		// It was deleted, or made anew: what is seen of it is old.
		return reconcile.Result{RequeueAfter: soon}, nil
	}
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("writing what node %s should hold: %w", node.Name, err)
	}
	if v.unlisted != nil {
		return reconcile.Result{}, v.unlisted
	}
	if v.waits {
		return reconcile.Result{RequeueAfter: settle}, nil
	}
	if now.unheard > 0 {
		return reconcile.Result{RequeueAfter: roomGap}, nil
	}
	if until.IsZero() {
		return reconcile.Result{}, nil
	}
	return reconcile.Result{RequeueAfter: max(time.Millisecond, time.Until(until))}, nil
}

// soon is when what is seen will have caught up with the API server.
const soon = 250 * time.Millisecond

// spec is all that the store should say, and what it has no room for.
func (c *Controller) spec(ctx context.Context, v *view, granted map[string]bool) (spec v1alpha1.ImageStoreSpec, now saying, err error) {
	spec.Runtime = v.node.Status.NodeInfo.ContainerRuntimeVersion
	spec.Images = v.images(granted)
	now.left, now.waiting = len(v.left), len(v.waiting)
	found := map[types.NamespacedName][]pullsecret.Secret{}
	for i := range v.caches {
		if len(v.caches[i].Images) > 0 {
			// What is wrong with a Secret is told in the status of its caches.
			found[v.caches[i].Key], _ = c.Secrets.For(ctx, pullsecret.Of(&v.caches[i]))
		}
	}
	if v.jobs, err = c.assigned(ctx, v.store, spec.Images); err != nil {
		return spec, now, err
	}
	now.unheard = v.jobs.left
	if spec.Credentials, now.unsealed, err = v.credentials(spec.Images, c.keys(ctx, v.jobs, found)); err != nil {
		return spec, now, err
	}
	spec.Jobs = v.jobs.entries
	needs, list := v.needsAfter(spec.Images)
	if list {
		needs, v.unlisted = listNeeds(ctx, c.Live, v.node.Name, v.store.Status.NeedsAsked, v.unresolved, time.Now())
	}
	if v.unlisted != nil {
		needs = v.store.Spec.Needs // It is dated: the agent removes nothing on the word of an old one.
	}
	spec.Needs = needs
	spec.WatchedUntil = v.watched(spec.Images)
	return spec, now, nil
}

// ready reports whether pulls may start on the node as far as it and its agent are concerned, and until when that holds if
// nothing happens; zero: for ever.
func (c *Controller) ready(ctx context.Context, node *corev1.Node) (bool, time.Time, error) {
	if !demand.NodeReady(node) {
		return false, time.Time{}, nil
	}
	return c.Agents.Expected(ctx, node.Name)
}

func (c *Controller) gone(node string) {
	c.yield(node, nil)
	c.told.forget(node)
	c.pace.forget(node)
}

// yield gives back the turns that the node got just now and cannot be told of; without asks, all that it has.
func (c *Controller) yield(node string, asks []ask) {
	_, wake, _ := c.turns.Update(node, nothingNew(asks), time.Now())
	c.enqueue(wake...)
}

// nothingNew are the asks of a node that is given nothing new.
func nothingNew(asks []ask) []ask {
	for a := range asks {
		if asks[a].need == needsTurn {
			asks[a].need = needsNone
		}
	}
	return asks
}

// seed reads off the stores who has a turn, before anybody is given one.
func (c *Controller) seed(ctx context.Context) error {
	c.seeding.Lock()
	defer c.seeding.Unlock()
	if c.seeded {
		return nil
	}
	var nodes corev1.NodeList
	var stores v1alpha1.ImageStoreList
	if err := c.Client.List(ctx, &nodes, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("listing nodes: %w", err)
	}
	if err := c.Client.List(ctx, &stores, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("listing ImageStores: %w", err)
	}
	standing := map[string]*v1alpha1.ImageStore{}
	for i := range stores.Items {
		standing[stores.Items[i].Name] = &stores.Items[i]
	}
	for i := range nodes.Items {
		node := &nodes.Items[i]
		store := standing[node.Name]
		if store == nil {
			store = &v1alpha1.ImageStore{}
		}
		ready, _, err := c.ready(ctx, node)
		if err != nil {
			return err
		}
		caches, keepers, err := c.demands.on(ctx, c.Client, node)
		if err != nil {
			return err
		}
		asks := look(input{node: node, ready: ready, caches: caches, keepers: keepers, facts: c.Catalog.Get, store: store}).asks()
		c.turns.Update(node.Name, nothingNew(asks), time.Now())
	}
	c.seeded = true
	return nil
}
