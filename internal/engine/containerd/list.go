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

// List is CRI's list, with the time since when each image is here.
func (r *Runtime) List(ctx context.Context, ids ...string) ([]engine.Image, error) {
	if len(ids) > 0 {
		images, err := r.cri.List(ctx, ids...)
		if err != nil {
			return nil, err
		}
		return images, r.date(ctx, images)
	}
	var (
		images  []engine.Image
		records []*record
	)
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() (err error) { images, err = r.cri.List(groupCtx); return err })
	group.Go(func() (err error) { records, err = r.records(groupCtx); return err })
	if err := group.Wait(); err != nil {
		return nil, err
	}
	created := make(map[string]time.Time, len(records))
	for _, i := range records {
		created[i.Name] = createdAt(i)
	}
	var undated []int
	for n := range images {
		if images[n].FirstSeen = created[images[n].ID]; images[n].FirstSeen.IsZero() {
			undated = append(undated, n)
		}
	}
	return images, r.dateRest(ctx, images, undated)
}

// dateRest is for images that lack the record of their id, which the CRI plugin makes at the first pull and no later
// one touches.
func (r *Runtime) dateRest(ctx context.Context, images []engine.Image, undated []int) error {
	rest := make([]engine.Image, len(undated))
	for n, at := range undated {
		rest[n] = images[at]
	}
	if err := r.date(ctx, rest); err != nil {
		return err
	}
	for n, at := range undated {
		images[at].FirstSeen = rest[n].FirstSeen
	}
	return nil
}

func (r *Runtime) date(ctx context.Context, images []engine.Image) error {
	if len(images) == 0 {
		return nil
	}
	records, err := r.records(ctx, nameFilters(images...)...)
	if err != nil {
		return err
	}
	byName := index(records)
	for n := range images {
		images[n].FirstSeen = firstSeen(byName.of(images[n]), images[n].ID)
	}
	return nil
}

// Measure walks from each image's records through everything that they hold: blobs and snapshots, each of which other
// images may hold too.
func (r *Runtime) Measure(ctx context.Context, images []engine.Image) error {
	var (
		records []*record
		seen    *store
	)
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() (err error) { records, err = r.records(groupCtx); return err })
	group.Go(func() (err error) { seen, err = r.look(groupCtx); return err })
	if err := group.Wait(); err != nil {
		return fmt.Errorf("measuring images: %w", err)
	}
	byName := index(records)
	for n := range images {
		images[n].Layers, images[n].DiskBytes = seen.under(targetsOf(byName.of(images[n])))
	}
	return nil
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

func nameFilters(images ...engine.Image) []string {
	var filters []string
	for _, image := range images {
		filters = append(filters, fmt.Sprintf("name==%q", image.ID))
		for _, ref := range slices.Concat(image.Tags, image.Digests) {
			filters = append(filters, fmt.Sprintf("name==%q", ref))
		}
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

// firstSeen is when the record of the id was made, else the first of the others. A tag's own time tells little, since
// the tag may have meant another image then; when it was last changed is the latest at which it can have come to this.
func firstSeen(records []*record, id string) time.Time {
	var first time.Time
	for _, i := range records {
		at := createdAt(i)
		switch {
		case i.Name == id:
			return at
		case parsed(i.Name).Tag() != "" && i.UpdatedAt != nil:
			at = i.UpdatedAt.AsTime()
		}
		if first.IsZero() || at.Before(first) {
			first = at
		}
	}
	return first
}

func createdAt(i *record) time.Time {
	if i.CreatedAt == nil {
		return time.Time{}
	}
	return i.CreatedAt.AsTime()
}
