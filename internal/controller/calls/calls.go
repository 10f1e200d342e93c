// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package calls says how reconcilers are called.
package calls

import (
	"time"

	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

const (
	firstRetry = 5 * time.Millisecond

	// lastRetry is the longest pause after an error. What is due by the clock, as the start of a NodeCronJob or the end of a deadline, is
	// not noticed before: an error takes the place of the time at which a reconciler wanted to be called again.
	lastRetry = 30 * time.Second

	// mostTime is how long one call may take. A read waits until the cache has what was written before, and would wait for ever for a
	// write that the cache is never to see, such as that of a pod which has lost the label by which it is cached.
	mostTime = 5 * time.Minute
)

// Options are those of a controller that works on so many objects at once.
func Options(parallel int) controller.Options {
	return controller.Options{
		MaxConcurrentReconciles: parallel,
		RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](firstRetry, lastRetry),
		ReconciliationTimeout:   mostTime,
	}
}
