// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package containerd

import (
	"context"
	"fmt"
	"time"

	leasesapi "github.com/containerd/containerd/api/services/leases/v1"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/engine/socket"
)

const (
	// leaseLife is after how long containerd forgets the lease of a batch whose owner was killed: until then nobody gets
	// that space back. A batch takes a minute, and one that was opened ahead waits for another's removals.
	leaseLife = 10 * time.Minute

	// leaseMargin is how long before the end of a lease the last name may go. What follows has to come before the end: the look
	// after the batch before, which may take minutes where the runtime is away, then that after this one, and the way back.
	leaseMargin = 5 * time.Minute

	labelExpire = "containerd.io/gc.expire"
	labelBatch  = "orlop.dev/batch" // by which our leases are found
)

// lease is containerd's promise to collect nothing that is held under it before it expires.
type lease struct {
	id      string
	expires time.Time
}

func (r *Runtime) newLease(ctx context.Context) (lease, error) {
	// containerd compares with the wall clock, and so do we: Truncate takes the monotonic reading away.
	expires := time.Now().Add(leaseLife).UTC().Truncate(time.Second)
	created, err := r.leases.Create(ctx, &leasesapi.CreateRequest{Labels: map[string]string{
		labelExpire: expires.Format(time.RFC3339), labelBatch: "true",
	}})
	if err != nil {
		return lease{}, fmt.Errorf("leasing content for a batch of removals: %w", socket.Why(err))
	}
	return lease{created.Lease.ID, expires}, nil
}

// current is an error when the lease is too near its end for another removal.
func (l lease) current() error {
	if time.Until(l.expires) < leaseMargin {
		return engine.Becausef(engine.Timeout, "this row of removals has taken too long: what it holds is held until %s alone",
			l.expires.Format(time.TimeOnly))
	}
	return nil
}

// endOrphans ends the leases of batches whose owners were killed: those of ours that are older than any batch lives. What
// cannot be ended now is in nobody's way here, and expires by itself, though containerd looks only when it collects.
func (r *Runtime) endOrphans(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	list, err := r.leases.List(ctx, &leasesapi.ListRequest{Filters: []string{fmt.Sprintf("labels.%q", labelBatch)}})
	if err != nil {
		return
	}
	for _, l := range list.Leases {
		_, ours := l.Labels[labelBatch]
		if ours && l.CreatedAt != nil && time.Since(l.CreatedAt.AsTime()) > leaseLife {
			_, _ = r.leases.Delete(ctx, &leasesapi.DeleteRequest{ID: l.ID})
		}
	}
}
