// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package imagecache looks after ImageCaches: it asks registries what their images stand for, tells the nodes' reconciler when
// that has changed, and sums up what the nodes say.
package imagecache

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/opencontainers/go-digest"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/catalog"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/pullsecret"
	"orlop.dev/orlop/internal/registry"
)

const (
	// grace is how long new images wait for each other, so that the nodes' objects are written once for a usual cache.
	grace = 300 * time.Millisecond
	// A sum is made no oftener than each leastPause, and takes no more than a twentieth of the time; mostPause bounds that.
	leastPause, mostPause, sumShare = 100 * time.Millisecond, time.Second, 20
	// settle is how long progress is gathered before it is written, and the least time between two such writes.
	settle = time.Second
	// Secrets are not watched: they are looked at again after this, sooner if something is wrong with one.
	lookGood, lookBad = time.Minute, 10 * time.Second
)

// Registry is what registries are asked through.
type Registry interface {
	Digest(ctx context.Context, ref oci.Ref, chains ...authn.Keychain) (digest.Digest, error)
	Describe(ctx context.Context, ref oci.Ref, platforms []string, chains ...authn.Keychain) (registry.Description, error)
}

// Config is what a Controller works with. All fields are required.
type Config struct {
	// Client reads from informers and writes status.
	Client  client.Client
	Secrets *pullsecret.Source
	// Registry is a *registry.Resolver.
	Registry Registry
	Catalog  *catalog.Catalog
	// AgentReady reports whether the agent of the node with this name is.
	AgentReady func(node string) bool
	// Refusal is why the node's store could not be written; empty: it could. Who learns of one calls Wake.
	Refusal func(node string) string
	// LeftOut are the images for which the node's store has no room, by their normalised names without digest, once that is known. Who
	// learns of others than before calls Wake.
	LeftOut func(node string) (images map[string]bool, known bool)
	// Changed is sent each cache about whose images something new is known.
	Changed  chan<- event.GenericEvent
	Recorder events.EventRecorder
	// DriftSeries is how many tags have a series in orlop_tag_drift_nodes; 0: none has.
	DriftSeries int
}

// Controller reconciles ImageCaches.
type Controller struct {
	cfg    Config
	memory *memory
	asker  *asker
	wakes  chan event.GenericEvent

	seeding sync.Mutex
	seeded  bool
}

// New makes a Controller; SetupWithManager starts it.
func New(cfg Config) *Controller {
	drifts.bound(cfg.DriftSeries)
	c := &Controller{cfg: cfg, memory: newMemory(), wakes: make(chan event.GenericEvent)}
	ctx, cancel := context.WithCancel(context.Background())
	c.asker = &asker{
		registry: cfg.Registry, secrets: cfg.Secrets, catalog: cfg.Catalog, who: c.memory.who, wake: c.wake, ctx: ctx, cancel: cancel,
		inquiries: map[oci.Ref]*inquiry{}, pending: map[types.NamespacedName]int{},
	}
	return c
}

// Wake has a cache summed up again.
func (c *Controller) Wake(ctx context.Context, key types.NamespacedName) { c.wake(ctx, key) }

func (c *Controller) wake(ctx context.Context, key types.NamespacedName) { send(ctx, c.wakes, key) }

func send(ctx context.Context, to chan<- event.GenericEvent, key types.NamespacedName) {
	var cache v1alpha1.ImageCache
	cache.Namespace, cache.Name = key.Namespace, key.Name
	select {
	case to <- event.GenericEvent{Object: &cache}:
	case <-ctx.Done():
	}
}

// Reconcile asks for what is due, tells the nodes' reconciler, sums up, and writes the status if it is another.
func (c *Controller) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	if err := c.Seed(ctx); err != nil {
		return reconcile.Result{}, err
	}
	var cache v1alpha1.ImageCache
	switch err := c.cfg.Client.Get(ctx, req.NamespacedName, &cache); {
	case apierrors.IsNotFound(err):
		c.asker.wakeAll(c.memory.drop(req.NamespacedName))
		c.tidy()
		unmeasure(req.NamespacedName)
		return reconcile.Result{}, nil
	case err != nil:
		return reconcile.Result{}, fmt.Errorf("reading ImageCache %s: %w", req, err)
	}
	p := pass{Controller: c, cache: &cache, now: time.Now()}
	p.read()
	if p.dropped {
		c.tidy()
	}
	return p.run(ctx)
}

// tidy forgets images that no cache wants any more.
func (c *Controller) tidy() {
	c.cfg.Catalog.Retain(c.memory.wanted)
	c.asker.forget(c.memory.wanted)
}
