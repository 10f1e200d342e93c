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

// List is CRI's list. Images asked for by id come with the time since when they are here, and with whose their pins are; to
// look for that of all takes longer than to list them, and is left to Measure, which reads their records anyway.
func (r *Runtime) List(ctx context.Context, ids ...string) ([]engine.Image, error) {
	images, err := r.cri.List(ctx, ids...)
	if err != nil || len(ids) == 0 {
		return images, err
	}
	var known map[string]*record
	if r.dearEach(len(images)) {
		if known, err = r.idRecords(ctx, images); err != nil {
			return nil, err
		}
	}
	for n := range images {
		if err := r.date(ctx, &images[n], known[images[n].ID]); err != nil {
			return nil, err
		}
		if err := r.tellPin(ctx, &images[n]); err != nil {
			return nil, err
		}
	}
	return images, nil
}

// maxRecordCalls is how many records are read one by one; above it, one list costs less, as it does where recordCost
// times as many as are read would be all: that is what one call costs, measured in records of a list.
const (
	maxRecordCalls = 32
	recordCost     = 8
)

// dearEach reports whether one list costs less than so many calls.
func (r *Runtime) dearEach(calls int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return calls > maxRecordCalls || r.measured > 0 && calls*recordCost >= r.measured
}

// idRecords are the records of the images' ids, by name, and perhaps others. containerd holds each record against each
// filter, and a pattern is compiled anew for each: it takes longer than to send them all.
func (r *Runtime) idRecords(ctx context.Context, images []engine.Image) (map[string]*record, error) {
	var filters []string
	if len(images) <= maxRecordCalls {
		for _, image := range images {
			filters = append(filters, fmt.Sprintf("name==%q", image.ID))
		}
	}
	records, err := r.records(ctx, filters...)
	known := make(map[string]*record, len(records))
	for _, i := range records {
		known[i.Name] = i
	}
	return known, err
}

// firstSeen is when the record of the id was made: the CRI plugin makes it at the first pull, and no later one touches
// it.
func (r *Runtime) firstSeen(ctx context.Context, image engine.Image) (time.Time, error) {
	id, err := r.get(ctx, image.ID)
	if err != nil {
		return time.Time{}, err
	}
	if id != nil {
		return createdAt(id), nil
	}
	records, err := r.recordsOf(ctx, image)
	return oldest(records), err
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
	group.Go(func() (err error) { seen, err = r.newStore(groupCtx); return err })
	if err := group.Wait(); err != nil {
		return fmt.Errorf("measuring images: %w", err)
	}
	targets, err := r.describe(ctx, index(records), images)
	if err != nil {
		return err
	}
	if err := r.unpacked(ctx, seen, slices.Concat(targets...)); err != nil {
		return fmt.Errorf("measuring images: %w", err)
	}
	seen.size(images, targets)
	leads := map[string][]string{}
	for n, image := range images {
		if len(targets[n]) == 1 && seen.leadsTo(targets[n][0], image.ID) {
			leads[targets[n][0]] = append(leads[targets[n][0]], image.ID)
		}
	}
	r.mu.Lock()
	r.leads, r.usage = leads, seen.used // No more than what is there.
	r.mu.Unlock()
	return nil
}

// size fills in what each image holds, and what that takes on disk where it was asked for.
func (s *store) size(images []engine.Image, targets [][]string) {
	for n := range images {
		images[n].Layers, images[n].DiskBytes = s.under(targets[n])
	}
}

// describe tells of images what their records tell, and gives the targets of each.
func (r *Runtime) describe(ctx context.Context, known names, images []engine.Image) (targets [][]string, err error) {
	targets = make([][]string, len(images))
	for n := range images {
		image := &images[n]
		if err := r.date(ctx, image, known.byName[image.ID]); err != nil {
			return nil, err
		}
		named := known.of(*image)
		targets[n] = targetsOf(named)
		image.PinnedByOthers = image.Pinned && othersPin(named)
	}
	r.mu.Lock()
	r.measured = len(images)
	r.mu.Unlock()
	return targets, nil
}

// date is for an image whose record of the id has been read already, and may be lacking.
func (r *Runtime) date(ctx context.Context, image *engine.Image, id *record) (err error) {
	switch {
	case !image.FirstSeen.IsZero():
	case id != nil:
		image.FirstSeen = createdAt(id)
	default:
		image.FirstSeen, err = r.firstSeen(ctx, *image)
	}
	return err
}

// names finds records by what their name means: others than the CRI plugin write docker.io/library/nginx as nginx.
type names struct {
	byID     map[string][]*record
	byRef    map[oci.Ref][]*record
	byTarget map[string][]*record
	byName   map[string]*record
}

func index(records []*record) names {
	n := names{byID: map[string][]*record{}, byRef: map[oci.Ref][]*record{}, byTarget: map[string][]*record{}, byName: map[string]*record{}}
	for _, i := range records {
		n.byName[i.Name] = i
		n.byTarget[i.Target.Digest] = append(n.byTarget[i.Target.Digest], i)
		if ref := parsed(i.Name); ref.IsZero() {
			n.byID[i.Name] = append(n.byID[i.Name], i)
		} else {
			n.byRef[ref] = append(n.byRef[ref], i)
		}
	}
	return n
}

// agree reports whether the record of an image's id has this target, and that of another of its names: the CRI plugin, which lists the image under both, has
// read then what is there.
func (n names) agree(image engine.Image, target string) bool {
	same := func(i *record) bool { return i.Target.Digest == target }
	named := func(ref oci.Ref) bool { return slices.ContainsFunc(n.byRef[ref], same) }
	return slices.ContainsFunc(n.byID[image.ID], same) && (slices.ContainsFunc(image.Tags, named) || slices.ContainsFunc(image.Digests, named))
}

func (n names) of(image engine.Image) []*record {
	found := slices.Clone(n.byID[image.ID])
	for _, ref := range slices.Concat(image.Tags, image.Digests) {
		found = append(found, n.byRef[ref]...)
	}
	return found
}

func targetsOf(records []*record) []string {
	var targets []string
	for _, i := range records {
		targets = append(targets, i.Target.Digest)
	}
	slices.Sort(targets)
	return slices.Compact(targets)
}

// oldest is for an image without the record of its id. A tag's own time tells little, since the tag may have meant
// another image then; when it was last changed is the latest at which it can have come to this one.
func oldest(records []*record) time.Time {
	var first time.Time
	for _, i := range records {
		at := createdAt(i)
		if parsed(i.Name).Tag() != "" && i.UpdatedAt != nil {
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
