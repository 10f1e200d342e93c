// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"os"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// Who waits for the lease looks every retryPeriod, up to 1.2 of it later: one that ends as it should gives it back, and that long at
// most nobody works. Who has it would be called on as often to write; it does so no oftener than each renewEvery. It gives up, at the
// latest, after renewEvery, a retryPeriod and renewDeadline without a write, which must be before others take the lease for free.
const (
	leaseName     = "orlop-controller"
	leaseDuration = 30 * time.Second
	renewDeadline = 15 * time.Second
	retryPeriod   = 2 * time.Second
	renewEvery    = 10 * time.Second
)

// lock is the lease, without a recorder of events: a restart writes nothing but the lease.
func lock(cfg *rest.Config, namespace string) (resourcelock.Interface, error) {
	cfg = rest.CopyConfig(cfg)
	// One request that hangs must not cost the lease.
	cfg.Timeout = renewDeadline / 2
	leases, err := coordinationclient.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("building the client of leases: %w", err)
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("asking for the host's name: %w", err)
	}
	return &sparing{Interface: &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: namespace, Name: leaseName},
		Client:     leases,
		LockConfig: resourcelock.ResourceLockConfig{Identity: host + "_" + string(uuid.NewUUID())},
	}}, nil
}

// sparing renews a lease no oftener than it must be. It is called by one goroutine.
type sparing struct {
	resourcelock.Interface
	// written is when the last write began by which the lease is this process's; zero: it is not.
	written time.Time
}

// Create is part of resourcelock.Interface.
func (s *sparing) Create(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	begun := time.Now()
	return s.note(record, begun, s.Interface.Create(ctx, record))
}

// Update is part of resourcelock.Interface.
func (s *sparing) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	begun := time.Now()
	if record.HolderIdentity == s.Identity() && !s.written.IsZero() && begun.Sub(s.written) < renewEvery {
		return nil
	}
	return s.note(record, begun, s.Interface.Update(ctx, record))
}

func (s *sparing) note(record resourcelock.LeaderElectionRecord, begun time.Time, err error) error {
	switch {
	case err != nil:
	case record.HolderIdentity == s.Identity():
		s.written = begun
	default:
		s.written = time.Time{}
	}
	return err
}
