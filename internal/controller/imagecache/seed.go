// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagecache

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/opencontainers/go-digest"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/catalog"
	"orlop.dev/orlop/internal/demand"
	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
)

// Seed fills the catalog, once, with what stands in the caches and on the nodes, so that a new process goes on where another
// left off. Both reconcilers may call it before they act.
func (c *Controller) Seed(ctx context.Context) error {
	c.seeding.Lock()
	defer c.seeding.Unlock()
	if c.seeded {
		return nil
	}
	var caches v1alpha1.ImageCacheList
	if err := c.cfg.Client.List(ctx, &caches, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("listing ImageCaches: %w", err)
	}
	nodes, err := c.views(ctx)
	if err != nil {
		return err
	}
	for i := range caches.Items {
		c.seed(&caches.Items[i])
	}
	byName := c.memory.names()
	for _, v := range nodes {
		if v.store != nil {
			c.seedSizes(v.store, platformOf(v.node), byName)
		}
	}
	c.seeded = true
	return nil
}

func (c *Controller) seed(cache *v1alpha1.ImageCache) {
	w, _, _ := c.memory.put(cache)
	written := make(map[string]oci.Ref, len(w.demand.Images))
	for _, img := range w.demand.Images {
		written[img.Written] = img.Ref
	}
	for _, img := range cache.Status.Images {
		ref, wanted := written[img.Image]
		if !wanted || img.Digest == "" || ref.Digest() != "" {
			continue
		}
		if found, err := digest.Parse(img.Digest); err == nil {
			adopt(c.cfg.Catalog, ref, found)
		}
	}
	for _, f := range cache.Status.Failures {
		if ref, wanted := written[f.Image]; wanted && f.Node == "" {
			c.remember(ref, f.Reason, f.Message)
		}
	}
	for _, img := range cache.Status.Images {
		if ref, wanted := written[img.Image]; wanted && img.Digest == "" && img.Reason != "" {
			c.remember(ref, img.Reason, img.Message)
		}
	}
}

// remember is that the registry refused, until it is asked again.
func (c *Controller) remember(ref oci.Ref, reason, message string) {
	c.cfg.Catalog.Update(ref, func(e catalog.Entry) catalog.Entry {
		if e.Digest == "" && e.Refusal == nil && ref.Digest() == "" {
			e.Refusal = &catalog.Refusal{Reason: engine.Reason(reason), Message: message}
		}
		return e
	})
}

// seedSizes takes from a node what found no room in the caches: sizes, and digests of images that were left out.
func (c *Controller) seedSizes(store *v1alpha1.ImageStore, platform string, byName map[string][]oci.Ref) {
	rechecked := map[string]string{}
	for i := range store.Status.Images {
		rechecked[store.Status.Images[i].Image] = store.Status.Images[i].Rechecked
	}
	for _, img := range store.Spec.Images {
		if img.Released || img.Digest == "" {
			continue
		}
		found, err := digest.Parse(img.Digest)
		if err != nil {
			continue
		}
		for _, ref := range byName[img.Image] {
			c.cfg.Catalog.Update(ref, func(e catalog.Entry) catalog.Entry {
				return reasked(seeded(e, ref, found, platform, img.Size), img.Recheck, rechecked[img.Image])
			})
		}
	}
}

func seeded(e catalog.Entry, ref oci.Ref, found digest.Digest, platform string, size int64) catalog.Entry {
	if e.Digest == "" && e.Refusal == nil && ref.Digest() == "" {
		e.Digest, e.Known = found, time.Now()
	}
	if (e.Digest == found || ref.Digest() == found) && size > 0 && e.Sizes[platform] == 0 {
		sizes := map[string]int64{platform: size} // A new map: others may be reading the old one.
		maps.Copy(sizes, e.Sizes)
		e.Sizes = sizes
	}
	return e
}

// reasked goes on with the newest question to a node.
func reasked(e catalog.Entry, token, answered string) catalog.Entry {
	if token > e.Recheck.Token {
		e.Recheck.Token, e.Recheck.Answered = token, false
	}
	e.Recheck.Answered = e.Recheck.Answered || token != "" && token == e.Recheck.Token && token == answered
	e.Recheck.Followed = e.Recheck.Followed || answered != "" // A node that fails now will be heard.
	return e
}

// names are the images that caches want, by the name that nodes call them.
func (m *memory) names() map[string][]oci.Ref {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make(map[string][]oci.Ref, len(m.wanting))
	for ref := range m.wanting {
		name := ref.WithoutDigest().String()
		all[name] = append(all[name], ref)
	}
	return all
}

// views are all nodes as they are seen at the moment. They are the informers' own objects, and not to be changed.
func (c *Controller) views(ctx context.Context) ([]view, error) {
	var nodes nodeList
	var stores v1alpha1.ImageStoreList
	if err := c.cfg.Client.List(ctx, &nodes, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("listing Nodes: %w", err)
	}
	if err := c.cfg.Client.List(ctx, &stores, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("listing ImageStores: %w", err)
	}
	byNode := make(map[string]*v1alpha1.ImageStore, len(stores.Items))
	for i := range stores.Items {
		byNode[stores.Items[i].Name] = &stores.Items[i]
	}
	all := make([]view, len(nodes.Items))
	for i := range nodes.Items {
		node := &nodes.Items[i]
		all[i] = view{node: node, store: byNode[node.Name], ready: demand.NodeReady(node) && c.cfg.AgentReady(node.Name), refusal: c.cfg.Refusal(node.Name)}
		all[i].leftOut, all[i].leftKnown = c.cfg.LeftOut(node.Name)
		if s := all[i].store; s != nil && !ownedBy(s, node.UID) {
			all[i].store = nil // It is that of a node which is gone and had the same name.
		}
	}
	return all, nil
}

func ownedBy(store *v1alpha1.ImageStore, uid types.UID) bool {
	for _, owner := range store.OwnerReferences {
		if owner.Kind == "Node" {
			return owner.UID == uid
		}
	}
	return true
}
