// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"orlop.dev/orlop/api/v1alpha1"
)

// watchFor is how far ahead a watch is announced, and renewWatch how often: what is renewed costs a write on every node that
// pulls, and what is not goes on until it is over.
const watchFor, renewWatch = time.Minute, 30 * time.Second

// WatchUntil is what the annotation of whoever begins to look on now says.
func WatchUntil(now time.Time) string { return now.Add(watchFor).UTC().Format(time.RFC3339) }

// keepWatching says through annotate, until the context ends, that somebody looks on. It ends sooner where that may not be
// said, or there is nothing left to say it to: progress is nice to have.
func keepWatching(ctx context.Context, annotate func(ctx context.Context, key, value string) error) {
	tick := time.NewTicker(renewWatch)
	defer tick.Stop()
	for {
		if err := annotate(ctx, v1alpha1.AnnotationWatchedUntil, WatchUntil(time.Now())); apierrors.IsForbidden(err) || apierrors.IsNotFound(err) {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// KeepWatchingCache is keepWatching for an ImageCache.
func (c *Client) KeepWatchingCache(ctx context.Context, namespace, name string) {
	keepWatching(ctx, func(ctx context.Context, key, value string) error {
		_, err := c.AnnotateCache(ctx, namespace, name, key, value)
		return err
	})
}

// KeepWatchingJob is keepWatching for a NodeJob.
func (c *Client) KeepWatchingJob(ctx context.Context, namespace, name string) {
	keepWatching(ctx, func(ctx context.Context, key, value string) error {
		_, err := c.AnnotateJob(ctx, namespace, name, key, value)
		return err
	})
}
