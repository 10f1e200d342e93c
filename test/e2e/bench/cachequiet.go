// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/test/lab"
)

const (
	quietRefresh = "10s"
	quietWatch   = time.Minute
	quickWatch   = 25 * time.Second
	// afterRestart is how long a new leader is watched.
	afterRestart = 15 * time.Second
	renewals     = 10 * time.Second
	// timersMiss is how much too early a renewal may be: it is the time of an answer that is compared.
	timersMiss = 100 * time.Millisecond
)

// cacheQuiet counts what is written when nothing changes.
func (b *bench) cacheQuiet(ctx context.Context) error {
	if err := b.operator(ctx); err != nil {
		return err
	}
	images, err := b.pushSet(ctx, "cache", cacheImages)
	if err != nil {
		return err
	}
	c := newCache(names(images))
	c.Spec.RefreshInterval = quietRefresh
	for i := range c.Spec.Images {
		c.Spec.Images[i].ImagePullPolicy = corev1.PullAlways
	}
	if _, err := b.rollOut(ctx, c, b.workers(), images); err != nil {
		return err
	}
	if err := b.hush(ctx); err != nil {
		return err
	}
	return errors.Join(b.quietRefresh(ctx), b.onDemand(ctx), b.restarted(ctx), b.emptied(ctx))
}

// quietRefresh watches while the registry is asked again and again, and the lease is renewed.
func (b *bench) quietRefresh(ctx context.Context) error {
	watch := quietWatch
	if b.quick {
		watch = quickWatch
	}
	b.say("watching for %s", watch)
	if err := b.lab.ResetCounts(ctx); err != nil {
		return err
	}
	writes, err := b.during(ctx, watch, func() error { return nil })
	if err != nil {
		return err
	}
	asked, err := b.asked(ctx)
	if err != nil {
		return err
	}
	leases, rest := apart(writes)
	what := fmt.Sprintf("API writes in %s with a refresh each %s, nothing changed", watch, quietRefresh)
	b.report.atMost(what, []int{tallyOf(rest).writes + tallyOf(rest).inventories}, 0)
	b.report.told("requests to the registry meanwhile", fmt.Sprintf("%d, of which there should be %d at each refresh", asked, cacheImages), verdictOf(asked >= cacheImages))
	if len(rest) > 0 {
		b.report.told("these writes by kind", tallyOf(rest).String(), none)
	}
	b.reportRenewals(leases)
	return nil
}

func (b *bench) reportRenewals(leases []lab.Write) {
	if len(leases) < 2 {
		b.report.told("time between renewals of the lease", fmt.Sprintf("%d renewals seen", len(leases)), verdictOf(b.quick))
		return
	}
	var between []taken
	for i := range leases[1:] {
		between = append(between, taken{Done: leases[i+1].Time.Sub(leases[i].Time)})
	}
	shortest := sorted(between)[0]
	b.report.rows = append(b.report.rows, row{what: "time between renewals of the lease", value: spread(between),
		limit: "not below " + short(renewals), kept: verdictOf(shortest >= renewals-timersMiss)})
}

// onDemand asks for a refresh.
func (b *bench) onDemand(ctx context.Context) error {
	value := time.Now().Format(time.RFC3339Nano)
	patch, err := annotatePatch(v1alpha1.AnnotationRefresh, value)
	if err != nil {
		return err
	}
	writes, err := b.during(ctx, calm, func() error {
		f, err := b.follow(ctx, &v1alpha1.ImageCacheList{}, cacheName)
		if err != nil {
			return err
		}
		defer f.stop()
		if err := b.api.Patch(ctx, newCache(nil), client.RawPatch("application/merge-patch+json", patch)); err != nil {
			return err
		}
		_, _, err = until(ctx, f, "the refresh", func(c *v1alpha1.ImageCache) bool { return c.Status.Refresh == value })
		return err
	})
	if err != nil {
		return err
	}
	_, rest := apart(writes)
	t := tallyOf(rest)
	b.report.atMost("API writes of a refresh on demand, nothing changed, with the person's own", []int{t.writes + t.inventories}, 2)
	b.report.told("these writes by kind", t.String(), none)
	return nil
}

// restarted deletes the controller's pod, and counts until the next one has led for a while.
func (b *bench) restarted(ctx context.Context) error {
	old, err := b.controllerPod(ctx)
	if err != nil {
		return err
	}
	before, err := b.holder(ctx)
	if err != nil {
		return err
	}
	var away time.Duration
	writes, err := b.during(ctx, afterRestart, func() error {
		start := monotonic()
		if err := b.api.Delete(ctx, &old); err != nil {
			return err
		}
		defer func() { away = monotonic() - start }()
		return eventually(ctx, "another controller leads", func() (bool, error) {
			now, err := b.holder(ctx)
			return now != "" && now != before, err
		})
	})
	if err != nil {
		return err
	}
	_, rest := apart(writes)
	t := tallyOf(rest)
	b.report.atMost(fmt.Sprintf("API writes of a controller's restart, and %s after it leads, without the lease and inventories", afterRestart), []int{t.writes}, 0)
	b.report.told("from the end of one controller until the next one leads", short(away), none)
	if t.writes+t.inventories > 0 { // The controller's image may have come to another node.
		b.report.told("these writes by kind", t.String(), none)
	}
	return nil
}

// holder is who has the controller's lease.
func (b *bench) holder(ctx context.Context) (string, error) {
	var leases coordinationv1.LeaseList
	if err := b.api.List(ctx, &leases, client.InNamespace(system)); err != nil {
		return "", err
	}
	if len(leases.Items) != 1 {
		return "", fmt.Errorf("there are %d leases in %s, not one", len(leases.Items), system)
	}
	if leases.Items[0].Spec.HolderIdentity == nil {
		return "", nil
	}
	return *leases.Items[0].Spec.HolderIdentity, nil
}

// during does something, waits, and gives Orlop's writes of all that time.
func (b *bench) during(ctx context.Context, watch time.Duration, act func() error) ([]lab.Write, error) {
	mark, err := b.lab.AuditMark()
	if err != nil {
		return nil, err
	}
	if err := act(); err != nil {
		return nil, err
	}
	if err := pause(ctx, watch); err != nil {
		return nil, err
	}
	return b.lab.Writes(mark)
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// apart are Orlop's leases, and the rest that concerns it.
func apart(writes []lab.Write) (leases, rest []lab.Write) {
	for _, w := range writes {
		switch {
		case !concerns(w):
		case isLease(w):
			leases = append(leases, w)
		default:
			rest = append(rest, w)
		}
	}
	return leases, rest
}

// asked is how often manifests were asked for since the counts were reset.
func (b *bench) asked(ctx context.Context) (int, error) {
	counts, err := b.lab.Counts(ctx)
	sum := 0
	for _, c := range counts {
		if c.Kind == "manifests" {
			sum += c.Requests
		}
	}
	return sum, err
}
