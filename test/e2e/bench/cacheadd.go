// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"orlop.dev/orlop/api/v1alpha1"
)

const (
	addRounds = 3
	addWithin = 500 * time.Millisecond
	addWrites = 12
)

// cacheAdd compares one image more in a cache that is Ready with the raw pull of it.
func (b *bench) cacheAdd(ctx context.Context) error {
	if err := b.operator(ctx); err != nil {
		return err
	}
	images, err := b.pushSet(ctx, "cache", cacheImages)
	if err != nil {
		return err
	}
	more, err := b.pushSet(ctx, "more", 1)
	if err != nil {
		return err
	}
	// Whatever an earlier part left would be taken for pulled, or for found.
	if _, err := b.bases(ctx, b.workers()); err != nil {
		return err
	}
	if _, err := b.rollOut(ctx, newCache(names(images)), b.workers(), images); err != nil {
		return err
	}
	bases, err := b.stocks(ctx, b.workers())
	if err != nil {
		return err
	}
	var floors []taken
	var ours []rollout
	for round := range addRounds + 1 {
		floor, r, err := b.addRound(ctx, bases, names(images), more, round%2 == 0)
		if err != nil {
			return fmt.Errorf("round %d: %w", round, err)
		}
		if round == 0 {
			continue
		}
		b.say("round %d: one more %s, %d writes; raw pull %s", round, short(r.present), r.writes.writes, short(floor.Done))
		floors, ours = append(floors, floor), append(ours, r)
	}
	b.report.after(comparison{
		what:    fmt.Sprintf("one image of 20 MB added to a cache of %d, until it is on %d nodes", cacheImages, nodes),
		against: "its raw CRI pull on all nodes",
	}, presents(ours), floors, addWithin)
	b.reportReady("the cache with one image more", ours)
	for i := range ours {
		ours[i].writes = ours[i].writes.withoutLease()
	}
	b.reportWrites("one image added to a Ready cache, without the lease", ours, addWrites)
	return b.emptied(ctx)
}

func (b *bench) addRound(ctx context.Context, bases map[string]stock, images []string, more map[string]string, mineFirst bool) (floor taken, r rollout, err error) {
	for _, mine := range []bool{mineFirst, !mineFirst} {
		if mine {
			r, err = b.addAndTake(ctx, images, more)
		} else {
			floor, err = b.floor(ctx, b.workers(), more)
			err = errors.Join(err, b.removeAll(ctx, names(more)))
		}
		if err != nil {
			return floor, r, err
		}
		if err := b.atLast(ctx, bases); err != nil {
			return floor, r, err
		}
	}
	return floor, r, nil
}

// addAndTake adds an image to the cache, sees it come, and takes it away again.
func (b *bench) addAndTake(ctx context.Context, images []string, more map[string]string) (rollout, error) {
	if err := b.hush(ctx); err != nil {
		return rollout{}, err
	}
	want := append(names(more), images...)
	var generation int64
	r, err := b.watched(ctx, cacheName, b.workers(), more, func() (err error) {
		generation, err = b.setImages(ctx, want)
		return err
	}, func(c *v1alpha1.ImageCache) bool {
		return c.Generation >= generation && int(c.Status.ImageCount) == len(want) && isReady(c)
	})
	if err != nil {
		return r, err
	}
	mark, err := b.lab.AuditMark()
	if err != nil {
		return r, err
	}
	p, err := b.gather(ctx, b.workers(), order{Images: more, Gone: true})
	if err != nil {
		return r, err
	}
	if _, err := p.begin(); err != nil {
		return r, err
	}
	if _, err := b.setImages(ctx, images); err != nil {
		return r, p.leave(err)
	}
	if _, err := p.finish(); err != nil {
		return r, fmt.Errorf("taking the image out of the cache again: %w", err)
	}
	_, err = b.settled(ctx, mark, nodes)
	return r, err
}

// setImages changes the list of the cache by one request, and gives the generation which that made.
func (b *bench) setImages(ctx context.Context, images []string) (int64, error) {
	c := newCache(nil)
	body := newCache(images)
	patch, err := imagesPatch(body.Spec.Images)
	if err != nil {
		return 0, err
	}
	err = b.api.Patch(ctx, c, client.RawPatch("application/merge-patch+json", patch))
	return c.Generation, err
}

// removeAll takes images away on every node, by crictl.
func (b *bench) removeAll(ctx context.Context, images []string) error {
	var problems []error
	for _, node := range b.workers() {
		_, err := b.lab.Crictl(ctx, node, append([]string{"rmi"}, images...)...)
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}

// stocks are what each node holds.
func (b *bench) stocks(ctx context.Context, nodes []string) (map[string]stock, error) {
	held := map[string]stock{}
	for _, node := range nodes {
		now, err := b.clockOn(ctx, node, task{Argv: []string{"true"}})
		if err != nil {
			return nil, err
		}
		held[node] = now.Stock
	}
	return held, nil
}

// atLast waits until each node holds no more than it should.
func (b *bench) atLast(ctx context.Context, bases map[string]stock) error {
	for node, base := range bases {
		if _, err := b.clockOn(ctx, node, task{Argv: []string{"true"}, Until: &base}); err != nil {
			return err
		}
	}
	return nil
}
