// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/intstr"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/test/e2e/bench/hollow"
	"orlop.dev/orlop/test/lab"
)

// hollowSize is how large the fleet of hollow agents is, and its cache.
type hollowSize struct {
	nodes, held, images int
	pull                time.Duration
	parallel            string
}

// flags lets each be set.
func (s *hollowSize) flags() {
	flag.IntVar(&s.nodes, "hollow-nodes", 500, "how many hollow nodes, each with a real agent")
	flag.IntVar(&s.held, "hollow-held", 100, "how many images each of them holds from the start")
	flag.IntVar(&s.images, "hollow-images", 50, "how many images the cache for them has")
	flag.DurationVar(&s.pull, "hollow-pull", 100*time.Millisecond, "how long one pull takes there")
	flag.StringVar(&s.parallel, "hollow-parallel", "50", "maxParallelNodes of the cache: one cache after the other, with commas between")
}

const (
	// extrapolated is the size that is told of and not measured.
	extrapolated = 5000
	// hollowPatience is how long anything of a fleet may take.
	hollowPatience = 15 * time.Minute
)

// hollow measures what many agents cost the API server and the controller.
func (b *bench) hollow(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, hollowPatience)
	defer cancel()
	if err := b.operator(ctx); err != nil {
		return err
	}
	images, err := b.pushTo(ctx, lab.PlainHost+"/bench/hollow", b.size.images, lab.ImageSpec{Program: lab.NoProgram, Layers: []lab.Layer{{Size: 4 << 10}}})
	if err != nil {
		return err
	}
	before, err := b.weigh(ctx)
	if err != nil {
		return err
	}
	b.say("making %d hollow nodes", b.size.nodes)
	start := time.Now()
	fleet, err := hollow.Start(ctx, hollow.Options{
		API: b.api, Config: b.config, Namespace: system, Nodes: b.size.nodes, Held: b.size.held, Images: images, Pull: b.size.pull,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.dismiss(context.WithoutCancel(ctx), fleet)) }()
	if err := b.inventoried(ctx); err != nil {
		return err
	}
	b.say("all are there after %s", short(time.Since(start)))
	b.report.told(fmt.Sprintf("%d hollow nodes with %d images each, until all have a ready agent and a whole inventory", b.size.nodes, b.size.held), short(time.Since(start)), none)
	for parallel := range strings.SplitSeq(b.size.parallel, ",") {
		if err := b.hollowRound(ctx, fleet, images, before, parallel); err != nil {
			return fmt.Errorf("maxParallelNodes %s: %w", parallel, err)
		}
	}
	return nil
}

// inventoried waits until each hollow node's inventory has what the node holds.
func (b *bench) inventoried(ctx context.Context) error {
	return eventually(ctx, "all inventories are whole", func() (bool, error) {
		var list v1alpha1.ImageInventoryList
		if err := b.api.List(ctx, &list); err != nil {
			return false, err
		}
		whole := 0
		for _, inventory := range list.Items {
			if strings.HasPrefix(inventory.Name, "hollow") && int(inventory.Status.ImageCount) == b.size.held {
				whole++
			}
		}
		if err := pause(ctx, time.Second); err != nil { // Such a list is some work for the API server.
			return false, err
		}
		return whole == b.size.nodes, fmt.Errorf("%d of %d are", whole, b.size.nodes)
	})
}

// reach is one cache on its way to all hollow nodes.
type reach struct {
	pulled, ready time.Duration
	pulls         int64
	writes        tally
	rest, most    weight
	objects       objects
}

func (b *bench) hollowRound(ctx context.Context, fleet *hollow.Fleet, images map[string]string, before weight, parallel string) error {
	if err := b.emptied(ctx); err != nil {
		return err
	}
	if err := b.hush(ctx); err != nil {
		return err
	}
	r, err := b.reachAll(ctx, fleet, images, parallel)
	if err != nil {
		return err
	}
	lacking, err := fleet.Without(ctx, images)
	if err != nil {
		return err
	}
	if lacking > 0 {
		return fmt.Errorf("the cache says Ready, and %d of %d nodes lack an image", lacking, b.size.nodes)
	}
	b.say("maxParallelNodes %s: pulled after %s, Ready after %s, %d writes", parallel, short(r.pulled), short(r.ready), r.writes.writes)
	b.reportReach(r, before, parallel)
	if revived := fleet.Revived(); revived > 0 {
		b.report.told("hollow nodes that were taken for dead for a moment", fmt.Sprintf("%d so far: this machine was too busy", revived), none)
	}
	if count, first := fleet.Warnings(); count > 0 {
		b.report.told("warnings of hollow agents so far", fmt.Sprintf("%d, the first: %s", count, first), none)
	}
	return nil
}

func (b *bench) reachAll(ctx context.Context, fleet *hollow.Fleet, images map[string]string, parallel string) (r reach, err error) {
	c := newCache(names(images))
	share := intstr.Parse(parallel)
	c.Spec.NodeSelector, c.Spec.MaxParallelNodes = map[string]string{hollow.Label: ""}, &share
	f, err := b.follow(ctx, &v1alpha1.ImageCacheList{}, c.Name)
	if err != nil {
		return r, err
	}
	defer f.stop()
	if r.rest, err = b.weigh(ctx); err != nil {
		return r, err
	}
	mark, err := b.lab.AuditMark()
	if err != nil {
		return r, err
	}
	pulls := fleet.Pulls()
	scale := b.startScale(ctx)
	wall, start := time.Now(), monotonic()
	err = b.api.Create(ctx, c)
	if err == nil {
		r.ready, _, err = until(ctx, f, "Ready", isReady)
	}
	r.ready, r.pulled, r.pulls = r.ready-start, fleet.LastPull().Sub(wall), fleet.Pulls()-pulls
	if err == nil {
		var writes []lab.Write
		writes, err = b.settled(ctx, mark, b.size.nodes)
		r.writes = tallyOf(writes)
	}
	var weighed error
	r.most, weighed = scale.stop()
	if err = errors.Join(err, weighed); err != nil {
		return r, err
	}
	r.objects, err = b.weighObjects(ctx)
	return r, err
}

func (b *bench) reportReach(r reach, before weight, parallel string) {
	n := b.size.nodes
	what := fmt.Sprintf("a cache of %d images, %d hollow nodes, maxParallelNodes %s: ", b.size.images, n, parallel)
	b.report.told(what+"until the last pull has ended", short(r.pulled), none)
	b.report.told(what+"until it says Ready", short(r.ready), none)
	b.report.atMost(what+"pulls", []int{int(r.pulls)}, n*b.size.images)
	b.report.told(what+"API writes, without inventories", fmt.Sprintf("%d, %.1f for each node", r.writes.writes, float64(r.writes.writes)/float64(n)), none)
	b.report.told("these writes by kind", r.writes.String(), none)
	b.report.told("bytes of the objects afterwards", r.objects.String(), none)
	b.report.told("resident memory before the nodes, with them at rest, and the most during the cache", before.beside(r.rest, r.most), none)
	b.report.told("CPU time of the cache, inventories included", r.most.cpu.since(r.rest.cpu).String(), none)
	b.report.told("how long "+fmt.Sprint(extrapolated)+" nodes would take, extrapolated", fmt.Sprintf("%s at this maxParallelNodes, if it grows as the nodes do", short(r.ready*extrapolated/time.Duration(n))), none)
	b.report.told(fmt.Sprintf("%d nodes, extrapolated in a straight line from %d", extrapolated, n), r.extrapolate(before, n), none)
}

// extrapolate is what would be if everything grew as the nodes do, from what there is without them.
func (r reach) extrapolate(before weight, n int) string {
	times := func(v int64) int64 { return v * extrapolated / int64(n) }
	line := func(without, with int64) string { return megabytes(without + times(with-without)) }
	return fmt.Sprintf("%d writes and %d inventories; %s of stores and %s of inventories; API server %s, controller %s, etcd %s",
		times(int64(r.writes.writes)), times(int64(r.writes.inventories)), megabytes(times(r.objects.stores)), megabytes(times(r.objects.inventories)),
		line(before.apiserver, r.most.apiserver), line(before.controller, r.most.controller), line(before.etcd, r.most.etcd))
}

// dismiss takes the fleet and its cache away, and waits until their objects are gone.
func (b *bench) dismiss(ctx context.Context, fleet *hollow.Fleet) error {
	b.say("taking the hollow nodes away")
	return errors.Join(fleet.Close(ctx), b.deleteCaches(ctx), eventually(ctx, "the hollow nodes' objects are gone", func() (bool, error) {
		var stores v1alpha1.ImageStoreList
		err := b.api.List(ctx, &stores)
		return err == nil && len(stores.Items) <= nodes, errors.Join(err, fmt.Errorf("there are %d stores", len(stores.Items)))
	}))
}
