// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagecache

import (
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/demand"
	"orlop.dev/orlop/internal/oci"
)

// memory is what is kept of caches between calls. All of it may be lost.
type memory struct {
	mu     sync.Mutex
	caches map[types.NamespacedName]*work
	// wanting are the caches that want an image.
	wanting map[oci.Ref]map[types.NamespacedName]bool
	// naming are the caches that want an image by this tag, and the digests to which they fix it.
	naming map[oci.Ref]map[types.NamespacedName][]digest.Digest
}

// work is what is kept of one cache. Its reconciler alone uses it, but for demand, which memory guards.
type work struct {
	demand  demand.Cache
	invalid error // what of the spec cannot be used
	// uid, generation and purged are of the object that demand was read from.
	uid                types.UID
	generation, purged int64

	began     time.Time     // when the present round of new images began; zero: none is under way
	signalled string        // the facts of which the nodes' reconciler was told
	forced    time.Time     // since when all tags are to be asked again
	forcedFor string        // the annotation that asked for it
	summed    time.Time     // when the last sum was made
	summing   time.Duration // how long it took
	sum       sum
	dirty     time.Time // since when the status that stands there is another; zero: it is not
	wrote     time.Time
	// basis is the version of the object on which status was written: as long as it is read, status is newer.
	basis  string
	status *v1alpha1.ImageCacheStatus
}

func newMemory() *memory {
	return &memory{
		caches: map[types.NamespacedName]*work{}, wanting: map[oci.Ref]map[types.NamespacedName]bool{}, naming: map[oci.Ref]map[types.NamespacedName][]digest.Digest{},
	}
}

// put keeps what a cache wants, and reports whether it no longer wants something, and for which caches that may change something.
func (m *memory) put(cache *v1alpha1.ImageCache) (kept *work, dropped bool, rivals []types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := types.NamespacedName{Namespace: cache.Namespace, Name: cache.Name}
	kept = m.caches[key]
	if kept != nil && kept.uid == cache.UID && kept.generation == cache.Generation && kept.purged == cache.Status.PurgedGeneration {
		return kept, false, nil
	}
	var before []demand.Image
	if kept != nil {
		before = kept.demand.Images
	}
	if kept == nil || kept.uid != cache.UID {
		kept = &work{uid: cache.UID}
		m.caches[key] = kept
	}
	kept.generation, kept.purged = cache.Generation, cache.Status.PurgedGeneration
	kept.demand, kept.invalid = demand.Of(cache)
	dropped = m.unwant(key, before, kept.demand.Images)
	for _, img := range kept.demand.Images {
		if m.wanting[img.Ref] == nil {
			m.wanting[img.Ref] = map[types.NamespacedName]bool{}
		}
		m.wanting[img.Ref][key] = true
	}
	m.name(key, before, kept.demand.Images)
	return kept, dropped, m.rivals(key, slices.Concat(before, kept.demand.Images))
}

// drop forgets a cache that is gone.
func (m *memory) drop(key types.NamespacedName) (rivals []types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	gone := m.caches[key]
	if gone == nil {
		return nil
	}
	m.unwant(key, gone.demand.Images, nil)
	m.name(key, gone.demand.Images, nil)
	delete(m.caches, key)
	return m.rivals(key, gone.demand.Images)
}

func (m *memory) unwant(key types.NamespacedName, before, after []demand.Image) (dropped bool) {
	still := make(map[oci.Ref]bool, len(after))
	for _, img := range after {
		still[img.Ref] = true
	}
	for _, img := range before {
		if still[img.Ref] {
			continue
		}
		dropped = true
		delete(m.wanting[img.Ref], key)
		if len(m.wanting[img.Ref]) == 0 {
			delete(m.wanting, img.Ref)
		}
	}
	return dropped
}

func (m *memory) wanted(ref oci.Ref) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.wanting[ref]) > 0
}

// who are the caches that want an image.
func (m *memory) who(ref oci.Ref) (caches []demand.Cache) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key := range m.wanting[ref] {
		caches = append(caches, m.caches[key].demand)
	}
	return caches
}

// selecting are the caches that select a node.
func (m *memory) selecting(node *corev1.Node) (keys []types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, w := range m.caches {
		if w.demand.Selects(node) {
			keys = append(keys, key)
		}
	}
	return keys
}
