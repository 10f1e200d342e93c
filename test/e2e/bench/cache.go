// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"orlop.dev/orlop/api/v1alpha1"
)

const (
	cacheImages = 20
	cacheRounds = 3
	cacheLimit  = 1.15
	cacheWrites = 24
	readyWithin = 500 * time.Millisecond
)

// rollout is one cache on its way.
type rollout struct {
	// present is from the request until every image was there on every node, as watchers on the nodes saw it; ready, until a watch
	// of the cache told that it is Ready.
	present, ready time.Duration
	seen           map[string]sight
	start          time.Duration
	writes         tally
}

// late is how long after the last image was there the cache said that it is Ready; less than nothing: before.
func (r rollout) late() time.Duration { return r.ready - r.present }

// cache compares a new cache with raw pulls of the same images on the same nodes.
func (b *bench) cache(ctx context.Context) error {
	if err := b.operator(ctx); err != nil {
		return err
	}
	images, err := b.pushSet(ctx, "cache", cacheImages)
	if err != nil {
		return err
	}
	bases, err := b.bases(ctx, b.workers())
	if err != nil {
		return err
	}
	var floors []taken
	var ours []rollout
	for round := range cacheRounds + 1 {
		floor, r, err := b.cacheRound(ctx, bases, images, round%2 == 0)
		if err != nil {
			return fmt.Errorf("round %d: %w", round, err)
		}
		if round == 0 {
			continue // It counts for nothing, as in every contest here.
		}
		b.say("round %d: the cache %s, Ready %s later, %d writes; raw pulls %s", round, short(r.present), short(r.late()), r.writes.writes, short(floor.Done))
		floors, ours = append(floors, floor), append(ours, r)
	}
	what := fmt.Sprintf("a new cache, %d images of 20 MB on %d empty nodes, until all are really there", cacheImages, nodes)
	b.report.compare(comparison{what: what, against: fmt.Sprintf("raw CRI pulls on all nodes, %d at once on each", agentWorkers), limit: cacheLimit}, presents(ours), floors)
	b.reportReady("the cache", ours)
	b.reportWrites("a new cache, from its creation until nothing more is written, with the lease's until it is Ready", ours, cacheWrites)
	return nil
}

// cacheRound does both, one after the other, each on empty nodes.
func (b *bench) cacheRound(ctx context.Context, bases map[string]stock, images map[string]string, mineFirst bool) (floor taken, r rollout, err error) {
	for _, mine := range []bool{mineFirst, !mineFirst} {
		if mine {
			if err = b.hush(ctx); err == nil {
				r, err = b.rollOut(ctx, newCache(names(images)), b.workers(), images)
			}
			err = errors.Join(err, b.emptied(ctx))
		} else {
			floor, err = b.floor(ctx, b.workers(), images)
		}
		if err != nil {
			return floor, r, err
		}
		if err := b.clearAll(ctx, bases); err != nil {
			return floor, r, err
		}
	}
	return floor, r, nil
}

// rollOut creates a cache, and waits until its images are there, it says so, and nothing more is written.
func (b *bench) rollOut(ctx context.Context, c *v1alpha1.ImageCache, nodes []string, images map[string]string) (rollout, error) {
	return b.watched(ctx, c.Name, nodes, images, func() error { return b.api.Create(ctx, c) }, isReady)
}

// watched does something to a cache, and waits as rollOut does.
func (b *bench) watched(ctx context.Context, name string, nodes []string, images map[string]string, act func() error, done func(*v1alpha1.ImageCache) bool) (rollout, error) {
	var r rollout
	p, err := b.gather(ctx, nodes, order{Images: images})
	if err != nil {
		return r, err
	}
	if p.early() > 0 {
		return r, p.leave(fmt.Errorf("%d images were there before anybody asked for them", p.early()))
	}
	mark, err := b.lab.AuditMark()
	if err != nil {
		return r, p.leave(err)
	}
	f, err := b.follow(ctx, &v1alpha1.ImageCacheList{}, name)
	if err != nil {
		return r, p.leave(err)
	}
	defer f.stop()
	if r.start, err = p.begin(); err != nil {
		return r, err
	}
	if err := act(); err != nil {
		return r, p.leave(err)
	}
	if r.seen, err = p.finish(); err != nil {
		return r, err
	}
	r.present = latest(r.seen) - r.start
	at, _, err := until(ctx, f, "the end", done)
	if err != nil {
		return r, err
	}
	r.ready = at - r.start
	end := time.Now()
	writes, err := b.settled(ctx, mark, len(nodes))
	r.writes = tallyOf(beforehand(writes, end))
	return r, err
}

func presents(all []rollout) []taken {
	var times []taken
	for _, r := range all {
		times = append(times, taken{Done: r.present})
	}
	return times
}

// early is how much sooner than the watchers on the nodes anyone may know that an image is there: they look every few milliseconds,
// and wait for each other's answers on a busy machine.
const early = 100 * time.Millisecond

func (b *bench) reportReady(what string, all []rollout) {
	var times []taken
	for _, r := range all {
		times = append(times, taken{Done: max(r.late(), 0)})
		if r.late() < -early {
			b.report.told(what+" said Ready too early", short(-r.late())+" before the last image was there", missed)
		}
	}
	b.report.bound(what+" says Ready, after the last image is really there", times, readyWithin)
}

func (b *bench) reportWrites(what string, all []rollout, limit int) {
	var writes, inventories, pods []int
	for _, r := range all {
		writes, inventories, pods = append(writes, r.writes.writes), append(inventories, r.writes.inventories), append(pods, r.writes.pods)
	}
	b.report.atMost("API writes of "+what+", without inventories", writes, limit)
	b.report.atMost("inventories written meanwhile", inventories, nodes)
	b.report.atMost("pods made meanwhile", pods, 0)
	b.report.told("these writes by kind, in the last round", last(all).writes.String(), none)
}
