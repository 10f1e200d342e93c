// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"

	"orlop.dev/orlop/api/v1alpha1"
)

// ErrDeleted ends the following of an ImageCache that was deleted.
var ErrDeleted = errors.New("it was deleted")

// again is how long to wait before a watch that has ended is begun anew.
const again = time.Second

// FollowCache shows every state of an ImageCache to see, from now on, until that has seen enough.
func (c *Client) FollowCache(ctx context.Context, namespace, name string, see func(*v1alpha1.ImageCache) (enough bool)) error {
	for first := true; ; first = false {
		now, err := c.Cache(ctx, namespace, name)
		switch {
		case err == nil:
			if see(now) {
				return nil
			}
			err = c.followFrom(ctx, now, see)
		case apierrors.IsNotFound(err) && !first:
			return ErrDeleted
		case first || apierrors.IsForbidden(err):
			return err
		}
		if errors.Is(err, errEnough) {
			return nil
		}
		if errors.Is(err, ErrDeleted) || apierrors.IsForbidden(err) {
			return err
		}
		select {
		case <-time.After(again):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// errEnough ends a watch that has shown what was waited for.
var errEnough = errors.New("enough")

// followFrom follows one watch to its end.
func (c *Client) followFrom(ctx context.Context, now *v1alpha1.ImageCache, see func(*v1alpha1.ImageCache) bool) error {
	options := metav1.ListOptions{
		Watch: true, ResourceVersion: now.ResourceVersion,
		FieldSelector: fields.OneTermEqualSelector("metadata.name", now.Name).String(),
	}
	w, err := c.orlop.Get().Namespace(now.Namespace).Resource(caches).VersionedParams(&options, c.params).Watch(ctx)
	if err != nil {
		return fmt.Errorf("watching ImageCache %s/%s: %w", now.Namespace, now.Name, err)
	}
	defer w.Stop()
	for {
		select {
		case event, more := <-w.ResultChan():
			found, ok := event.Object.(*v1alpha1.ImageCache)
			switch {
			case !more || !ok: // It ended, or was too old to go on from.
				return nil
			case event.Type == watch.Deleted:
				return ErrDeleted
			case see(found):
				return errEnough
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
