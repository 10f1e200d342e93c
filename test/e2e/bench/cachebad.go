// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/test/lab"
)

const (
	badImages = 5
	badRounds = 3
	badWithin = 5 * time.Second
	// badLimit is what may be between two runs of the same: the good images are not to be delayed.
	badLimit = 1.15
	missing  = lab.PlainHost + "/bench/nowhere:1"
)

// cacheBad compares good images beside one that no registry has with the same images alone.
func (b *bench) cacheBad(ctx context.Context) error {
	if err := b.operator(ctx); err != nil {
		return err
	}
	images, err := b.pushSet(ctx, "good", badImages)
	if err != nil {
		return err
	}
	bases, err := b.bases(ctx, b.workers())
	if err != nil {
		return err
	}
	var with, without, named, stalled []taken
	for round := range badRounds + 1 {
		var r rollout
		var told verdicts
		for _, bad := range []bool{round%2 == 0, round%2 != 0} {
			if bad {
				r, told, err = b.badRound(ctx, images)
				with = append(with, taken{Done: r.present})
				named, stalled = append(named, taken{Done: told.named}), append(stalled, taken{Done: told.stalled})
			} else {
				r, err = b.rollOut(ctx, newCache(names(images)), b.workers(), images)
				without = append(without, taken{Done: r.present})
			}
			if err = errors.Join(err, b.emptied(ctx)); err == nil {
				err = b.clearAll(ctx, bases)
			}
			if err != nil {
				return fmt.Errorf("round %d: %w", round, err)
			}
		}
		b.say("round %d: with a missing image %s, without %s; named after %s", round, short(last(with).Done), short(last(without).Done), short(last(named).Done))
	}
	what := fmt.Sprintf("%d images beside one that does not exist, until they are on %d nodes", badImages, nodes)
	b.report.compare(comparison{what: what, against: "the same without it", limit: badLimit}, with[1:], without[1:])
	b.report.bound("the missing image is in the cache's status with a reason", named[1:], badWithin)
	b.report.bound("the cache says Stalled", stalled[1:], badWithin)
	return nil
}

// verdicts are when a cache told of its missing image.
type verdicts struct{ named, stalled time.Duration }

func (b *bench) badRound(ctx context.Context, images map[string]string) (rollout, verdicts, error) {
	var told verdicts
	c := newCache(append(names(images), missing))
	f, err := b.follow(ctx, &v1alpha1.ImageCacheList{}, c.Name)
	if err != nil {
		return rollout{}, told, err
	}
	defer f.stop()
	r, err := b.watched(ctx, c.Name, b.workers(), images, func() error { return b.api.Create(ctx, c) }, isStalled)
	if err != nil {
		return r, told, err
	}
	at, _, err := until(ctx, f, "the missing image's reason", namesMissing)
	if err != nil {
		return r, told, err
	}
	told.named, told.stalled = max(0, at-r.start), r.ready
	return r, told, nil
}

func isStalled(c *v1alpha1.ImageCache) bool {
	stalled := meta.FindStatusCondition(c.Status.Conditions, v1alpha1.ConditionStalled)
	return stalled != nil && stalled.Status == "True" && stalled.ObservedGeneration == c.Generation
}

func namesMissing(c *v1alpha1.ImageCache) bool {
	return slices.ContainsFunc(c.Status.Failures, func(f v1alpha1.CacheFailure) bool {
		return f.Reason != "" && f.Message != "" && (f.Image == missing)
	}) || slices.ContainsFunc(c.Status.Images, func(i v1alpha1.CachedImageStatus) bool {
		return i.Image == missing && i.Reason != "" && i.Message != ""
	})
}
