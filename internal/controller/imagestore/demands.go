// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagestore

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/demand"
	"orlop.dev/orlop/internal/oci"
)

// demands reads each cache once for each state of it.
type demands struct {
	mu   sync.Mutex
	read map[types.NamespacedName]demandAt
}

type demandAt struct {
	uid                types.UID
	generation, purged int64
	cache              demand.Cache
	// since is when this state of it was first seen.
	since time.Time
}

// settle is how long the new images of a cache wait for each other, once the cache is seen: a little longer than its own
// reconciler gives registries to answer, so that a node is told once for a usual cache.
const settle = 400 * time.Millisecond

// settling is until when the images of a cache may wait for each other.
func (d *demands) settling(key types.NamespacedName) time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.read[key].since.Add(settle)
}

func newDemands() *demands { return &demands{read: map[types.NamespacedName]demandAt{}} }

// of is what the cache asks for. What is wrong with it is told in its status: the rest goes on.
func (d *demands) of(c *v1alpha1.ImageCache) demand.Cache {
	cache := d.spec(c)
	cache.WatchedUntil = demand.WatchedUntil(c.Annotations, time.Now()) // It is no part of the spec, and lasts but a moment.
	return cache
}

func (d *demands) spec(c *v1alpha1.ImageCache) demand.Cache {
	key := client.ObjectKeyFromObject(c)
	d.mu.Lock()
	defer d.mu.Unlock()
	at, ok := d.read[key]
	if ok && at.uid == c.UID && at.generation == c.Generation && at.purged == c.Status.PurgedGeneration && c.Generation != 0 {
		return at.cache
	}
	at = demandAt{uid: c.UID, generation: c.Generation, purged: c.Status.PurgedGeneration, since: time.Now()}
	at.cache, _ = demand.Of(c)
	if at.cache.Key != key {
		// Its interval cannot be read, which is no reason to let its images go.
		sound := *c
		sound.Spec.RefreshInterval = ""
		at.cache, _ = demand.Of(&sound)
	}
	d.read[key] = at
	return at.cache
}

func (d *demands) forget(key types.NamespacedName) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.read, key)
}

// all are the demands of every cache, by key.
func (d *demands) all(ctx context.Context, reader client.Reader) ([]demand.Cache, error) {
	var list v1alpha1.ImageCacheList
	if err := reader.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("listing ImageCaches: %w", err)
	}
	caches := make([]demand.Cache, 0, len(list.Items))
	for i := range list.Items {
		if list.Items[i].DeletionTimestamp == nil {
			caches = append(caches, d.of(&list.Items[i]))
		}
	}
	slices.SortFunc(caches, func(a, b demand.Cache) int { return strings.Compare(a.Key.String(), b.Key.String()) })
	return caches, nil
}

// on are the demands of the caches that select the node; keepers are those of all caches that leave behind what they let go.
func (d *demands) on(ctx context.Context, reader client.Reader, node *corev1.Node) (caches []demand.Cache, keepers map[string]bool, err error) {
	caches, err = d.all(ctx, reader)
	if err != nil {
		return nil, nil, err
	}
	keepers = keepersOf(caches)
	return slices.DeleteFunc(caches, func(c demand.Cache) bool { return !c.Selects(node) }), keepers, nil
}

func keepersOf(caches []demand.Cache) map[string]bool {
	keepers := map[string]bool{}
	for i := range caches {
		if caches[i].Policy == v1alpha1.RemovalPolicyKeep {
			keepers[caches[i].Key.String()] = true
		}
	}
	return keepers
}

// sharing are the caches that ask for an image of this one, itself too.
func (d *demands) sharing(ctx context.Context, reader client.Reader, c demand.Cache) ([]demand.Cache, error) {
	caches, err := d.all(ctx, reader)
	if err != nil {
		return nil, err
	}
	refs := make(map[oci.Ref]bool, len(c.Images))
	for i := range c.Images {
		refs[c.Images[i].Ref] = true
	}
	return slices.DeleteFunc(caches, func(other demand.Cache) bool {
		return other.Key != c.Key && !slices.ContainsFunc(other.Images, func(i demand.Image) bool { return refs[i.Ref] })
	}), nil
}

// nodesOf are the names of the nodes that any of the caches selects.
func nodesOf(ctx context.Context, reader client.Reader, caches ...demand.Cache) ([]string, error) {
	var nodes corev1.NodeList
	if err := reader.List(ctx, &nodes, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("listing nodes: %w", err)
	}
	var names []string
	for i := range nodes.Items {
		if slices.ContainsFunc(caches, func(c demand.Cache) bool { return c.Selects(&nodes.Items[i]) }) {
			names = append(names, nodes.Items[i].Name)
		}
	}
	return names, nil
}
