// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"fmt"
	"slices"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/plan"
)

// KeptBy is what ImageCaches want on a store's node: each image by its name and by its digest.
func KeptBy(store *v1alpha1.ImageStore) []plan.Need {
	status := map[string]*v1alpha1.StoreImageStatus{}
	for i := range store.Status.Images {
		status[store.Status.Images[i].Image] = &store.Status.Images[i]
	}
	var kept []plan.Need
	for i := range store.Spec.Images {
		entry := &store.Spec.Images[i]
		ref, err := oci.ParseFound(entry.Image)
		if err != nil || entry.Released {
			continue
		}
		need := plan.Need{Ref: ref, Cache: true}
		digest := entry.Digest
		if s := status[entry.Image]; s != nil {
			need.Pinned = s.Pinned
			if digest == "" {
				digest = s.Digest
			}
		}
		names := []oci.Ref{ref}
		if exact, err := oci.ParseFound(ref.Repository() + "@" + digest); err == nil && exact != ref {
			names = append(names, exact)
		}
		by := entry.Caches
		if len(by) == 0 {
			by = []string{"of this cluster"}
		}
		for _, name := range names {
			for _, need.By = range by {
				need.Ref = name
				kept = append(kept, need)
			}
		}
	}
	return kept
}

// kept follows the ImageStores.
type kept struct {
	source *cache.ListWatch
	synced chan struct{}

	mu     sync.Mutex
	unseen error // why they cannot be seen now
}

func newKept(source *cache.ListWatch) *kept {
	if source == nil {
		return nil
	}
	return &kept{source: source, synced: make(chan struct{})}
}

func (k *kept) note(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.unseen = err
}

// storesUnseen reports whether the stores are not seen now: what is known of them grows old then.
func (n *needs) storesUnseen() bool {
	if n.stores == nil {
		return false
	}
	n.stores.mu.Lock()
	defer n.stores.mu.Unlock()
	return n.stores.unseen != nil
}

// storesReady waits until the stores are known.
func (n *needs) storesReady(ctx context.Context) error {
	if n.stores == nil {
		return nil
	}
	select {
	case <-n.stores.synced:
		return nil
	case <-ctx.Done():
	}
	n.stores.mu.Lock()
	defer n.stores.mu.Unlock()
	why := n.stores.unseen
	if why == nil {
		why = ctx.Err()
	}
	return fmt.Errorf("listing the ImageStores, which is needed to know what caches keep: %w", why)
}

func (n *needs) watchStores(ctx context.Context) {
	k := n.stores
	source := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			list, err := k.source.ListWithContextFunc(ctx, o)
			k.note(err)
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			w, err := k.source.WatchFuncWithContext(ctx, o)
			k.note(err)
			return w, err
		},
	}
	mirror(ctx, source, n.fleet, &v1alpha1.ImageStore{}, keeper[*v1alpha1.ImageStore]{
		set:     func(store *v1alpha1.ImageStore) { n.keep(store.Name, KeptBy(store)) },
		remove:  func(store *v1alpha1.ImageStore) { n.keep(store.Name, nil) },
		replace: n.keepAll,
	})
}

// keep notes what caches want on a node. The node is told when it is more, as for pods.
func (n *needs) keep(name string, wanted []plan.Need) {
	n.mu.Lock()
	defer n.mu.Unlock()
	node := n.node(name)
	if !slices.Equal(node.caches, wanted) {
		node.caches = wanted
		node.tell()
	}
}

func (n *needs) keepAll(stores []*v1alpha1.ImageStore) {
	there := map[string][]plan.Need{}
	for _, store := range stores {
		there[store.Name] = KeptBy(store)
	}
	n.mu.Lock()
	for name := range n.nodes {
		if _, ok := there[name]; !ok {
			there[name] = nil
		}
	}
	n.mu.Unlock()
	for name, wanted := range there {
		n.keep(name, wanted)
	}
	select {
	case <-n.stores.synced:
	default:
		close(n.stores.synced)
	}
}
