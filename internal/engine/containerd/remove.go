// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package containerd

import (
	"context"
	"slices"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
)

// Remove deletes records, and waits for the garbage collection where the image's last one goes.
func (r *Runtime) Remove(ctx context.Context, req engine.RemoveRequest) error {
	compared, err := r.compares(ctx)
	if err != nil {
		return err
	}
	all, err := r.recordsOf(ctx, req.Image)
	if err != nil {
		return err
	}
	going := taken(all, req)
	for n, record := range going {
		if _, err := r.delete(ctx, record, deletion{compared: compared, sync: n == len(going)-1}); err != nil {
			return err
		}
	}
	if len(going) == 0 {
		return nil
	}
	return r.settle(ctx, req.Image.ID, without(req.Image.ID, going))
}

// taken is which of an image's records a request takes.
func taken(all []*record, req engine.RemoveRequest) []*record {
	if req.Whole() {
		return all
	}
	return split(all, req.Tags)
}

// split takes the records of tags; with the last tag of a repository its digest names; and with the last name the
// record of the id, which nobody would see otherwise, and which would hold the content for ever.
func split(all []*record, tags []oci.Ref) []*record {
	var going, staying []*record
	kept := map[string]bool{}
	for _, record := range all {
		if ref := parsed(record.Name); ref.Tag() != "" && !slices.Contains(tags, ref) {
			kept[ref.Repository()] = true
		}
	}
	goes := func(ref oci.Ref) bool {
		if ref.Tag() != "" {
			return slices.Contains(tags, ref)
		}
		named := func(tag oci.Ref) bool { return tag.Repository() == ref.Repository() }
		return !ref.IsZero() && !kept[ref.Repository()] && slices.ContainsFunc(tags, named)
	}
	for _, record := range all {
		if goes(parsed(record.Name)) {
			going = append(going, record)
		} else {
			staying = append(staying, record)
		}
	}
	onlyID := !slices.ContainsFunc(staying, func(i *record) bool { return !isID(i.Name) })
	if len(going) > 0 && onlyID {
		going = append(going, staying...)
		slices.SortFunc(going, inOrder)
	}
	return going
}

// without is what CRI shows of an image when these names are gone. Names that came meanwhile are for the caller to see.
func without(id string, gone []*record) func(*engine.Image) bool {
	names := map[oci.Ref]bool{}
	whole := false
	for _, record := range gone {
		names[parsed(record.Name)] = true
		whole = whole || record.Name == id
	}
	return func(image *engine.Image) bool {
		if image == nil {
			return true
		}
		left := slices.Concat(image.Tags, image.Digests)
		return !slices.ContainsFunc(left, func(ref oci.Ref) bool { return names[ref] }) && (!whole || len(left) > 0)
	}
}
