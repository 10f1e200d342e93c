// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package containerd

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
)

// List is CRI's list, with what containerd knows of each image beside: since when its names are here, and which parts
// of the disk it takes. Detail that cannot be had is an error: a plan made of half the truth frees the wrong bytes.
func (r *Runtime) List(ctx context.Context, ids ...string) ([]engine.Image, error) {
	if len(ids) > 0 {
		return r.listSome(ctx, ids)
	}
	var (
		images  []engine.Image
		records []*record
		seen    *store
	)
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() (err error) { images, err = r.cri.List(groupCtx); return err })
	group.Go(func() (err error) { records, err = r.records(groupCtx); return err })
	group.Go(func() (err error) { seen, err = r.look(groupCtx); return err })
	if err := group.Wait(); err != nil {
		return nil, err
	}
	byName := index(records)
	details := make(map[string]detail, len(images))
	for n := range images {
		image := &images[n]
		own := byName.of(*image)
		image.FirstSeen = oldest(own)
		details[image.ID] = seen.under(targetsOf(own))
		image.Layers, image.DiskBytes = details[image.ID].layers, details[image.ID].bytes
	}
	r.mu.Lock()
	r.detail, r.usage = details, seen.used
	r.mu.Unlock()
	return images, nil
}

// listSome is asked before each removal, and so makes do with what the last whole list knew of the disk: an id fixes
// the content.
func (r *Runtime) listSome(ctx context.Context, ids []string) ([]engine.Image, error) {
	images, err := r.cri.List(ctx, ids...)
	if err != nil || len(images) == 0 {
		return images, err
	}
	var filters []string
	for _, image := range images {
		filters = append(filters, nameFilters(image)...)
	}
	records, err := r.records(ctx, filters...)
	if err != nil {
		return nil, err
	}
	byName := index(records)
	var seen *store
	for n := range images {
		image := &images[n]
		own := byName.of(*image)
		image.FirstSeen = oldest(own)
		r.mu.Lock()
		known, ok := r.detail[image.ID]
		r.mu.Unlock()
		if !ok {
			if seen == nil {
				if seen, err = r.look(ctx); err != nil {
					return nil, err
				}
			}
			known = seen.under(targetsOf(own))
		}
		image.Layers, image.DiskBytes = known.layers, known.bytes
	}
	return images, nil
}

// names finds records by what their name means: others than the CRI plugin write docker.io/library/nginx as nginx.
type names struct {
	byID  map[string][]*record
	byRef map[oci.Ref][]*record
}

func index(records []*record) names {
	n := names{byID: map[string][]*record{}, byRef: map[oci.Ref][]*record{}}
	for _, i := range records {
		if ref := parsed(i.Name); ref.IsZero() {
			n.byID[i.Name] = append(n.byID[i.Name], i)
		} else {
			n.byRef[ref] = append(n.byRef[ref], i)
		}
	}
	return n
}

func (n names) of(image engine.Image) []*record {
	found := slices.Clone(n.byID[image.ID])
	for _, ref := range slices.Concat(image.Tags, image.Digests) {
		found = append(found, n.byRef[ref]...)
	}
	return found
}

func nameFilters(image engine.Image) []string {
	filters := []string{fmt.Sprintf("name==%q", image.ID)}
	for _, ref := range slices.Concat(image.Tags, image.Digests) {
		filters = append(filters, fmt.Sprintf("name==%q", ref))
	}
	return filters
}

func targetsOf(records []*record) []string {
	var targets []string
	for _, i := range records {
		targets = append(targets, i.Target.Digest)
	}
	slices.Sort(targets)
	return slices.Compact(targets)
}

func oldest(records []*record) time.Time {
	var first time.Time
	for _, i := range records {
		if at := i.CreatedAt.AsTime(); i.CreatedAt != nil && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	return first
}
