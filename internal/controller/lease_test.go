// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// cluster holds one lease.
type cluster struct {
	mu     sync.Mutex
	record *resourcelock.LeaderElectionRecord
	writes int
	cut    map[string]bool // who does not reach it
}

// seat is the cluster as one candidate sees it.
type seat struct {
	*cluster
	name string
}

var errAway = errors.New("no route to host")

func (s *seat) do(write bool, f func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cut[s.name] {
		return errAway
	}
	if write {
		s.writes++
	}
	return f()
}

func (s *seat) Get(context.Context) (found *resourcelock.LeaderElectionRecord, raw []byte, err error) {
	err = s.do(false, func() error {
		if s.record == nil {
			return apierrors.NewNotFound(schema.GroupResource{Resource: "leases"}, leaseName)
		}
		found = new(*s.record)
		return nil
	})
	if err == nil {
		raw = []byte(found.HolderIdentity + found.RenewTime.String())
	}
	return found, raw, err
}

func (s *seat) Create(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	return s.Update(ctx, r)
}

func (s *seat) Update(_ context.Context, r resourcelock.LeaderElectionRecord) error {
	return s.do(true, func() error { s.record = &r; return nil })
}

func (s *seat) RecordEvent(string) {}
func (s *seat) Identity() string   { return s.name }
func (s *seat) Describe() string   { return s.name }

// candidate runs for the lease as the controller does, until it is stopped.
type candidate struct {
	mu           sync.Mutex
	began, ended time.Time
	stop         func()
}

func (c *candidate) times() (began, ended time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.began, c.ended
}

func (c *cluster) run(t *testing.T, all *sync.WaitGroup, name string) *candidate {
	one := &candidate{}
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: &sparing{Interface: &seat{c, name}}, LeaseDuration: leaseDuration, RenewDeadline: renewDeadline, RetryPeriod: retryPeriod, ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) { one.mu.Lock(); one.began = time.Now(); one.mu.Unlock() },
			OnStoppedLeading: func() { one.mu.Lock(); one.ended = time.Now(); one.mu.Unlock() },
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	one.stop = cancel
	all.Go(func() { elector.Run(ctx) })
	return one
}

// inTurn starts one candidate, and another a minute later.
func inTurn(t *testing.T, test func(c *cluster, first, second *candidate)) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{cut: map[string]bool{}}
		var all sync.WaitGroup
		first := c.run(t, &all, "first")
		time.Sleep(time.Minute)
		second := c.run(t, &all, "second")
		time.Sleep(7 * time.Second)
		test(c, first, second)
		first.stop()
		second.stop()
		all.Wait()
	})
}

func TestALeaseThatIsGivenBackIsTakenSoon(t *testing.T) {
	inTurn(t, func(_ *cluster, first, second *candidate) {
		first.stop()
		time.Sleep(5 * time.Second)
		_, ended := first.times()
		if began, _ := second.times(); began.IsZero() || began.Sub(ended) > 5*time.Second {
			t.Errorf("the first ended %s, the second began %s", ended, began)
		}
	})
}

func TestALeaseIsRenewedNoOftenerThanItMustBe(t *testing.T) {
	inTurn(t, func(c *cluster, first, _ *candidate) {
		c.mu.Lock()
		before := c.writes
		c.mu.Unlock()
		time.Sleep(10 * time.Minute)
		c.mu.Lock()
		defer c.mu.Unlock()
		if n := c.writes - before; n < 30 || n > 60 {
			t.Errorf("%d writes in ten minutes", n)
		}
		if began, ended := first.times(); began.IsZero() || !ended.IsZero() {
			t.Errorf("it began %s and ended %s", began, ended)
		}
	})
}

// TestNeverTwo: who cannot renew gives up before anybody else begins, whenever it is cut off between two of its writes.
func TestNeverTwo(t *testing.T) {
	for cut := range 12 {
		inTurn(t, func(c *cluster, first, second *candidate) {
			time.Sleep(time.Duration(cut) * time.Second)
			c.mu.Lock()
			c.cut["first"] = true
			c.mu.Unlock()
			time.Sleep(time.Minute)
			_, ended := first.times()
			began, _ := second.times()
			if ended.IsZero() || began.IsZero() || !ended.Before(began) {
				t.Errorf("cut off after %d s: the first ended %s, the second began %s", cut, ended, began)
			}
		})
	}
}
