// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package retire takes Orlop's hold off the nodes before it is taken out of a cluster: every agent unpins what it pinned and
// forgets what it pulled, and no image is removed.
package retire

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"orlop.dev/orlop/api/v1alpha1"
)

// Owner is the field manager of spec.retire, which the controller leaves alone.
const Owner = "orlop-retire"

// Result tells which nodes let go, and which did not answer: what they pinned stays pinned until their agent starts anew, or
// the runtime's pins are lifted by hand.
type Result struct {
	Answered, Silent []string
}

const (
	lookEvery = 500 * time.Millisecond
	atOnce    = 16
)

// Run asks every node to let go, waits for the answers as long as the time given, and deletes every ImageStore and
// ImageInventory. A node that does not answer is no error. Where the kinds are not there, there is nothing to do.
func Run(ctx context.Context, c client.Client, wait time.Duration) (Result, error) {
	var stores v1alpha1.ImageStoreList
	if err := c.List(ctx, &stores); apierrors.IsNotFound(err) || meta.IsNoMatchError(err) {
		return Result{}, nil
	} else if err != nil {
		return Result{}, fmt.Errorf("listing ImageStores: %w", err)
	}
	if err := ask(ctx, c, stores.Items); err != nil {
		return Result{}, err
	}
	result, err := answers(ctx, c, wait)
	if err != nil {
		return result, err
	}
	return result, clear(ctx, c)
}

// ask sets spec.retire where it is not set.
func ask(ctx context.Context, c client.Client, stores []v1alpha1.ImageStore) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for i := range stores {
		store := &stores[i]
		if store.Spec.Retire {
			continue
		}
		group.Go(func() error {
			patch := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"retire":true}}`))
			if err := client.IgnoreNotFound(c.Patch(ctx, store, patch, client.FieldOwner(Owner))); err != nil {
				return fmt.Errorf("asking node %s to let go: %w", store.Name, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// answers looks until every node has answered, or the time is up.
func answers(ctx context.Context, c client.Client, wait time.Duration) (Result, error) {
	waiting, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		var stores v1alpha1.ImageStoreList
		// Not bounded by the wait: the last look must be an answer.
		if err := c.List(ctx, &stores); err != nil {
			return Result{}, fmt.Errorf("listing ImageStores: %w", err)
		}
		result := sort(stores.Items)
		if len(result.Silent) == 0 {
			return result, nil
		}
		select {
		case <-waiting.Done():
			return result, ctx.Err()
		case <-tick.C:
		}
	}
}

func sort(stores []v1alpha1.ImageStore) (r Result) {
	for i := range stores {
		if meta.IsStatusConditionTrue(stores[i].Status.Conditions, v1alpha1.ConditionRetired) {
			r.Answered = append(r.Answered, stores[i].Name)
		} else {
			r.Silent = append(r.Silent, stores[i].Name)
		}
	}
	slices.Sort(r.Answered)
	slices.Sort(r.Silent)
	return r
}

func clear(ctx context.Context, c client.Client) error {
	var wrong error
	for what, object := range map[string]client.Object{"ImageStores": &v1alpha1.ImageStore{}, "ImageInventories": &v1alpha1.ImageInventory{}} {
		if err := c.DeleteAllOf(ctx, object); client.IgnoreNotFound(err) != nil {
			wrong = errors.Join(wrong, fmt.Errorf("deleting the %s: %w", what, err))
		}
	}
	return wrong
}
