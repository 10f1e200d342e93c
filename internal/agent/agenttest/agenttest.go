// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package agenttest stands in for the API server of one agent.
package agenttest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/agent"
)

// API holds one node's objects in memory.
type API struct {
	mu        sync.Mutex
	name      string
	version   int
	made      int
	store     *v1alpha1.ImageStore
	inventory *v1alpha1.ImageInventory
	changed   chan struct{}
	err       error // of every write and read, while it is set
	refused   error // of MayRead
	unwritten error // of ApplyStore
	writes    []v1alpha1.ImageStoreStatus
	stocks    int
}

var _ agent.API = (*API)(nil)

// New is an API in which the node's objects exist, empty.
func New(node string) *API {
	a := &API{name: node, changed: make(chan struct{})}
	a.Create(v1alpha1.ImageStoreSpec{})
	return a
}

// Create makes the node's objects anew, with other uids.
func (a *API) Create(spec v1alpha1.ImageStoreSpec) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.made++
	a.store, a.inventory = &v1alpha1.ImageStore{Spec: spec}, &v1alpha1.ImageInventory{}
	a.store.Name, a.store.UID, a.store.Generation = a.name, types.UID(fmt.Sprintf("store-%d", a.made)), 1
	a.inventory.Name, a.inventory.UID = a.name, types.UID(fmt.Sprintf("inventory-%d", a.made))
	a.touch()
}

// Delete takes the node's objects away.
func (a *API) Delete() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.store, a.inventory = nil, nil
	a.touch()
}

// Change edits the store's spec, as the controller does.
func (a *API) Change(edit func(*v1alpha1.ImageStoreSpec)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	changed := a.store.DeepCopy() // Who was given the one before has it still.
	edit(&changed.Spec)
	changed.Generation++
	changed.Spec.Revision++
	a.store = changed
	a.touch()
}

// SetStatus puts a status there, as an earlier agent did.
func (a *API) SetStatus(status v1alpha1.ImageStoreStatus) {
	a.mu.Lock()
	defer a.mu.Unlock()
	changed := a.store.DeepCopy()
	changed.Status = status
	a.store = changed
	a.touch()
}

// SetInventory puts an inventory there, as an earlier agent did.
func (a *API) SetInventory(status v1alpha1.ImageInventoryStatus) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.inventory.Status = status
}

// Away makes everything fail, until err is nil. Watches hear of nothing meanwhile.
func (a *API) Away(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.err = err
	a.touch()
}

// Refuse is what MayRead answers.
func (a *API) Refuse(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refused = err
}

// RefuseWrites makes writes of the store's status fail, until err is nil.
func (a *API) RefuseWrites(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.unwritten = err
}

// Store is the store as it is; nil where there is none.
func (a *API) Store() *v1alpha1.ImageStore {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.store.DeepCopy()
}

// Stock is the inventory as it is, and how often it was written.
func (a *API) Stock() (v1alpha1.ImageInventoryStatus, int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return *a.inventory.Status.DeepCopy(), a.stocks
}

// Writes are the statuses of the store, in the order in which they were written.
func (a *API) Writes() []v1alpha1.ImageStoreStatus {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]v1alpha1.ImageStoreStatus(nil), a.writes...)
}

// touch tells those who watch. Its caller holds the lock.
func (a *API) touch() {
	a.version++
	if a.store != nil {
		a.store.ResourceVersion = strconv.Itoa(a.version)
	}
	close(a.changed)
	a.changed = make(chan struct{})
}

// Watch is part of agent.API.
func (a *API) Watch(ctx context.Context, _ string, seen func(store *v1alpha1.ImageStore, late bool)) {
	last, late := -1, true
	for {
		a.mu.Lock()
		version, changed, store, err := a.version, a.changed, a.store.DeepCopy(), a.err
		a.mu.Unlock()
		late = late || err != nil
		if version != last && err == nil {
			last = version
			seen(store, late)
			late = false
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

// MayRead is part of agent.API.
func (a *API) MayRead(context.Context, string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.store == nil {
		return agent.ErrGone
	}
	return errors.Join(a.refused, a.err)
}

// Inventory is part of agent.API.
func (a *API) Inventory(context.Context, string) (*v1alpha1.ImageInventory, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.err != nil:
		return nil, a.err
	case a.inventory == nil:
		return nil, errNotFound
	}
	return a.inventory.DeepCopy(), nil
}

var errNotFound = errors.New("not found")

// ApplyStore is part of agent.API.
func (a *API) ApplyStore(_ context.Context, store *v1alpha1.ImageStore) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.err != nil || a.unwritten != nil:
		return "", errors.Join(a.err, a.unwritten)
	case a.store == nil, a.store.UID != store.UID:
		return "", errNotFound
	}
	changed := a.store.DeepCopy()
	changed.Status = *store.Status.DeepCopy()
	a.store = changed
	a.writes = append(a.writes, *store.Status.DeepCopy())
	a.touch()
	return a.store.ResourceVersion, nil
}

// ApplyInventory is part of agent.API.
func (a *API) ApplyInventory(_ context.Context, inventory *v1alpha1.ImageInventory) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.err != nil:
		return a.err
	case a.inventory == nil, a.inventory.UID != inventory.UID:
		return errNotFound
	}
	a.inventory.Status = *inventory.Status.DeepCopy()
	a.stocks++
	return nil
}
