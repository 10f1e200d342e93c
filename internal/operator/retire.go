// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"orlop.dev/orlop/api/v1alpha1"
)

const (
	// retirer owns spec.retire, which the controller leaves alone.
	retirer = "orlop-retire"
	// retireParallel is how many stores are written at once.
	retireParallel = 20
	// lookAgain is how often the agents' answers are looked at.
	lookAgain = 500 * time.Millisecond
)

// Retire makes every agent let go of all that it holds, and waits for those that can answer until the context ends. It
// gives the nodes that have, and those that have not. Only what keeps it from asking is an error.
func (c *Client) Retire(ctx context.Context, canAnswer func(node string) bool) (answered, silent []string, err error) {
	all, err := c.Stores(ctx, nil)
	if err != nil {
		return nil, nil, err
	}
	if err := c.askToRetire(ctx, slices.Sorted(maps.Keys(all))); err != nil {
		return nil, nil, err
	}
	for {
		answered, silent = nil, nil
		waiting := false
		for _, node := range slices.Sorted(maps.Keys(all)) {
			if retired(all[node]) {
				answered = append(answered, node)
				continue
			}
			silent = append(silent, node)
			waiting = waiting || canAnswer(node)
		}
		if !waiting {
			return answered, silent, nil
		}
		select {
		case <-time.After(lookAgain):
		case <-ctx.Done():
			return answered, silent, nil
		}
		if now, err := c.Stores(ctx, nil); err == nil {
			all = now
		}
	}
}

// retired reports whether the agent has answered, and did so after it was asked.
func retired(store *v1alpha1.ImageStore) bool {
	condition := meta.FindStatusCondition(store.Status.Conditions, v1alpha1.ConditionRetired)
	return store.Spec.Retire && condition != nil && condition.Status == metav1.ConditionTrue && condition.ObservedGeneration >= store.Generation
}

func (c *Client) askToRetire(ctx context.Context, nodes []string) error {
	errs := make([]error, len(nodes))
	slots := make(chan struct{}, retireParallel)
	var all sync.WaitGroup
	for i, node := range nodes {
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			errs[i] = c.orlop.Patch(types.MergePatchType).Resource(stores).Name(node).
				VersionedParams(&metav1.PatchOptions{FieldManager: retirer}, c.params).Body([]byte(`{"spec":{"retire":true}}`)).Do(ctx).Error()
		})
	}
	all.Wait()
	for i, err := range errs {
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("telling node %s to let go of its images: %w", nodes[i], err)
		}
	}
	return nil
}

// DeleteNodeObjects deletes every ImageStore and ImageInventory. The controller must be gone, or it makes them anew.
func (c *Client) DeleteNodeObjects(ctx context.Context) error {
	for _, resource := range []string{stores, inventories} {
		if err := c.orlop.Delete().Resource(resource).VersionedParams(&metav1.ListOptions{}, c.params).Do(ctx).Error(); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("deleting the %s: %w", resource, err)
		}
	}
	return nil
}
