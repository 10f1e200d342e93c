// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"

	"orlop.dev/orlop/api/v1alpha1"
)

// ErrDeleted ends the following of an object that was deleted.
var ErrDeleted = errors.New("it was deleted")

// again is how long to wait before a watch that has ended is begun anew.
const again = time.Second

// FollowCache shows every state of an ImageCache to see, from now on, until that has seen enough.
func (c *Client) FollowCache(ctx context.Context, namespace, name string, see func(*v1alpha1.ImageCache) (enough bool)) error {
	return follow(ctx, c, one{caches, "ImageCache", namespace, name}, func() (*v1alpha1.ImageCache, error) { return c.Cache(ctx, namespace, name) }, see)
}

// FollowJob is the same of a NodeJob.
func (c *Client) FollowJob(ctx context.Context, namespace, name string, see func(*v1alpha1.NodeJob) (enough bool)) error {
	return follow(ctx, c, one{jobKind.resource, jobKind.name, namespace, name}, func() (*v1alpha1.NodeJob, error) { return c.Job(ctx, namespace, name) }, see)
}

// followStore shows every state of one ImageStore to see, from now on. One that does not exist yet is waited for.
func (c *Client) followStore(ctx context.Context, name string, see func(*v1alpha1.ImageStore)) error {
	get := func() (*v1alpha1.ImageStore, error) {
		found := &v1alpha1.ImageStore{}
		if err := c.orlop.Get().Resource(stores).Name(name).Do(ctx).Into(found); err != nil {
			return nil, fmt.Errorf("getting ImageStore %s: %w", name, err)
		}
		return found, nil
	}
	for {
		err := follow(ctx, c, one{stores, "ImageStore", "", name}, get, func(s *v1alpha1.ImageStore) bool { see(s); return false })
		if !errors.Is(err, ErrDeleted) && !apierrors.IsNotFound(err) {
			return err
		}
		select {
		case <-time.After(again):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// one names one object of ours; without a namespace, it is the cluster's.
type one struct{ resource, kind, namespace, name string }

func (o one) String() string {
	if o.namespace == "" {
		return o.kind + " " + o.name
	}
	return o.kind + " " + o.namespace + "/" + o.name
}

// follow shows every state of an object to see, from now on, until that has seen enough.
func follow[PT interface {
	runtime.Object
	metav1.Object
}](ctx context.Context, c *Client, o one, get func() (PT, error), see func(PT) (enough bool)) error {
	for first := true; ; first = false {
		now, err := get()
		switch {
		case err == nil:
			if see(now) {
				return nil
			}
			err = followFrom(ctx, c, o, now.GetResourceVersion(), see)
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
func followFrom[PT runtime.Object](ctx context.Context, c *Client, o one, version string, see func(PT) bool) error {
	options := metav1.ListOptions{Watch: true, ResourceVersion: version, FieldSelector: fields.OneTermEqualSelector("metadata.name", o.name).String()}
	w, err := c.orlop.Get().NamespaceIfScoped(o.namespace, o.namespace != "").Resource(o.resource).VersionedParams(&options, c.params).Watch(ctx)
	if err != nil {
		return fmt.Errorf("watching %s: %w", o, err)
	}
	defer w.Stop()
	for {
		select {
		case event, more := <-w.ResultChan():
			found, ok := event.Object.(PT)
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

// FollowStores shows the ImageStores of nodes to see, as they are and as they become, until the context ends. Few are watched one by
// one, many among all.
func (c *Client) FollowStores(ctx context.Context, nodes []string, see func(*v1alpha1.ImageStore)) error {
	if len(nodes) > byName {
		return c.followAllStores(ctx, see)
	}
	var all sync.WaitGroup
	errs := make([]error, len(nodes))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for i, node := range nodes {
		all.Go(func() {
			errs[i] = c.followStore(ctx, node, see)
			cancel()
		})
	}
	all.Wait()
	for _, err := range errs {
		if err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
	}
	return ctx.Err()
}

func (c *Client) followAllStores(ctx context.Context, see func(*v1alpha1.ImageStore)) error {
	for {
		version, err := c.seeStores(ctx, see)
		if err == nil {
			err = c.watchStores(ctx, version, see)
		}
		if apierrors.IsForbidden(err) {
			return err
		}
		select {
		case <-time.After(again):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// seeStores shows all ImageStores once, and gives from where a watch can go on.
func (c *Client) seeStores(ctx context.Context, see func(*v1alpha1.ImageStore)) (version string, err error) {
	options := metav1.ListOptions{Limit: pageSize}
	for {
		page := &v1alpha1.ImageStoreList{}
		if err := c.orlop.Get().Resource(stores).VersionedParams(&options, c.params).Do(ctx).Into(page); err != nil {
			return "", fmt.Errorf("listing the %s: %w", stores, err)
		}
		for i := range page.Items {
			see(&page.Items[i])
		}
		if options.Continue = page.Continue; options.Continue == "" {
			return page.ResourceVersion, nil
		}
	}
}

func (c *Client) watchStores(ctx context.Context, version string, see func(*v1alpha1.ImageStore)) error {
	options := metav1.ListOptions{Watch: true, ResourceVersion: version}
	w, err := c.orlop.Get().Resource(stores).VersionedParams(&options, c.params).Watch(ctx)
	if err != nil {
		return fmt.Errorf("watching the %s: %w", stores, err)
	}
	defer w.Stop()
	for {
		select {
		case event, more := <-w.ResultChan():
			found, ok := event.Object.(*v1alpha1.ImageStore)
			if !more || !ok {
				return nil
			}
			if event.Type != watch.Deleted {
				see(found)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
