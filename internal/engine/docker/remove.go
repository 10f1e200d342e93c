// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package docker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
)

// Remove is part of engine.Interface. Docker takes names away one by one, and refuses the last one of an image in use;
// so that this is not found out half-way, who uses the image is asked before the first.
func (r *Runtime) Remove(ctx context.Context, req engine.RemoveRequest) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := r.remove(ctx, req); err != nil {
		return foreign(fmt.Errorf("removing %s: %w", nameOfRemoval(req), err))
	}
	return nil
}

func nameOfRemoval(req engine.RemoveRequest) string {
	if req.Whole() {
		return req.Image.ID
	}
	names := make([]string, len(req.Tags))
	for i, tag := range req.Tags {
		names[i] = tag.String()
	}
	return strings.Join(names, ", ")
}

func (r *Runtime) remove(ctx context.Context, req engine.RemoveRequest) error {
	found, err := r.api.ImageInspect(ctx, req.Image.ID)
	if errdefs.IsNotFound(err) || err == nil && found.ID != req.Image.ID {
		return nil
	}
	if err != nil {
		return err
	}
	tags, digests := tagged(found.RepoTags), refs(found.RepoDigests)
	asked := func(tag oci.Ref) bool { return slices.Contains(req.Tags, tag) }
	// By digest alone it may be somebody else's, from another repository.
	rest := slices.DeleteFunc(slices.Concat(tags, untagged(digests, tags)), asked)
	if req.Whole() || len(tags) > 0 && len(rest) == 0 {
		return r.removeWhole(ctx, req, tags, digests)
	}
	for _, tag := range tags {
		if asked(tag) {
			if err := r.delete(ctx, tag.String(), false); err != nil {
				return err
			}
		}
	}
	return nil
}

// untagged are the digests of repositories of which the image has no tag.
func untagged(digests, tags []oci.Ref) []oci.Ref {
	return slices.DeleteFunc(slices.Clone(digests), func(d oci.Ref) bool {
		return slices.ContainsFunc(tags, func(t oci.Ref) bool { return t.Repository() == d.Repository() })
	})
}

// removeWhole takes every name and the image. Force is only for what exited containers alone use: with it, a name goes
// even while a container runs, and leaves a nameless image behind.
func (r *Runtime) removeWhole(ctx context.Context, req engine.RemoveRequest, tags, digests []oci.Ref) error {
	id := req.Image.ID
	holding, err := r.users(ctx, id, req.Force)
	if err != nil {
		return err
	}
	if len(holding) > 0 {
		return inUse(holding)
	}
	if req.Force {
		// By id it is all or nothing, and a container that has been started since still stops it.
		return r.delete(ctx, id, true)
	}
	// By id goes what has one tag, or names in one repository only; the rest is said to need force.
	removed, err := r.removeNames(ctx, tags, digests)
	if err == nil {
		err = r.delete(ctx, id, false)
	}
	if err == nil {
		return nil
	}
	return errors.Join(err, r.giveBack(ctx, id, removed))
}

// removeNames takes names away until those are left that removing by id takes along: one tag, and its repository's
// digest.
func (r *Runtime) removeNames(ctx context.Context, tags, digests []oci.Ref) (removed []oci.Ref, err error) {
	var last oci.Ref
	names := slices.Clone(tags)
	if len(names) > 0 {
		last, names = names[len(names)-1], names[:len(names)-1]
	}
	alone := untagged(digests, tags)
	if last.IsZero() && len(alone) > 0 {
		alone = alone[1:]
	}
	names = append(names, alone...)
	for _, name := range names {
		if err := r.delete(ctx, name.String(), false); err != nil {
			return removed, err
		}
		removed = append(removed, name)
	}
	return removed, nil
}

// giveBack names an image again that turned out to be in use after its first names had gone. Docker can tag, but
// cannot give back a digest's name.
func (r *Runtime) giveBack(ctx context.Context, id string, removed []oci.Ref) error {
	var errs []error
	for _, name := range removed {
		if name.Tag() == "" {
			errs = append(errs, fmt.Errorf("%s is gone and cannot be given back", name))
			continue
		}
		if _, err := r.api.ImageTag(ctx, client.ImageTagOptions{Source: id, Target: name.String()}); err != nil {
			errs = append(errs, fmt.Errorf("giving back %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// delete removes a name or an id; what is gone is no error. Nameless parents, which only builds leave, go with their
// image: no list shows them, and without it they would appear as images of their own.
func (r *Runtime) delete(ctx context.Context, name string, force bool) error {
	_, err := r.api.ImageRemove(ctx, name, client.ImageRemoveOptions{Force: force, PruneChildren: true})
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}

// maxHolders is how many users an error names: enough to see whose they are.
const maxHolders = 5

func inUse(holding []engine.Use) error {
	var who []string
	for _, use := range holding[:min(len(holding), maxHolders)] {
		name := fmt.Sprintf("%s %s", use.Kind, use.Container)
		if use.Pod != "" {
			name += " of pod " + use.Pod
		}
		who = append(who, name)
	}
	if more := len(holding) - len(who); more > 0 {
		who = append(who, fmt.Sprintf("%d more", more))
	}
	return engine.Becausef(engine.InUse, "image is in use by %s", strings.Join(who, ", "))
}
