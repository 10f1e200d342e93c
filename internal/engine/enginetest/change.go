// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package enginetest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
)

// Pull is part of engine.Interface.
func (r *Runtime) Pull(ctx context.Context, req engine.PullRequest) (engine.Image, error) {
	if err := r.begin(ctx, Call{Op: OpPull, Ref: req.Ref}); err != nil {
		return engine.Image{}, err
	}
	content, err := r.fetch(ctx, req)
	if err != nil {
		return engine.Image{}, fmt.Errorf("pulling %s: %w", req.Ref, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.changing()
	if r.Traps.PullNoEffect {
		return engine.Image{ID: r.kind.id(content), Tags: []oci.Ref{req.Ref}}, nil
	}
	name := req.Ref
	if r.Traps.PullDropsTag {
		name = name.WithoutTag()
	}
	return r.shown(r.add(content, name)), nil
}

// fetch moves an image from the registry, as far as it is not there.
func (r *Runtime) fetch(ctx context.Context, req engine.PullRequest) (Content, error) {
	report := func(p engine.Progress) {
		if req.Progress != nil && r.kind.progress {
			req.Progress(p)
		}
	}
	report(engine.Progress{Phase: engine.PhaseResolving})
	asked := req.Ref
	if r.Traps.PullIgnoresDigest || !r.kind.movesTags {
		asked = asked.WithoutDigest()
	}
	content, stalled, err := r.Registry.resolve(asked, req.Credentials)
	if err != nil {
		return Content{}, err
	}
	if want := req.Ref.Digest(); want != "" && want != content.Manifest() && !r.Traps.PullIgnoresDigest {
		return Content{}, engine.Becausef(engine.NoEffect, "the tag is now %s", content.Manifest())
	}
	if stalled {
		<-ctx.Done()
		return Content{}, ctx.Err()
	}
	return content, deliver(ctx, r.missing(content), r.pause, report)
}

func (r *Runtime) missing(content Content) []Blob {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(content.Layers), func(b Blob) bool { return r.content[b.ID()] })
}

func (r *Runtime) pause(ctx context.Context, bytes int64) error {
	if r.BytesPerSecond == 0 {
		return ctx.Err()
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Duration(float64(bytes) / float64(r.BytesPerSecond) * float64(time.Second))):
		return nil
	}
}

// add gives an image a name, which leaves the one that had it. Its caller holds the lock.
func (r *Runtime) add(content Content, name oci.Ref) *image {
	id := r.kind.id(content)
	img := r.images[id]
	if img == nil {
		img = r.created(id, content)
		r.images[id] = img
	}
	if name.IsZero() {
		return img
	}
	if name.Tag() != "" {
		r.moveTag(name.WithoutDigest(), img)
	}
	if byDigest := name.WithDigest(content.Manifest()).WithoutTag(); !slices.Contains(img.Digests, byDigest) {
		img.Digests = append(img.Digests, byDigest)
	}
	return img
}

func (r *Runtime) created(id string, content Content) *image {
	img := &image{content: content, Image: engine.Image{ID: id, DiskBytes: content.Size() * unpackFactor}}
	if r.kind.pullBytes {
		img.PullBytes = content.Size()
	}
	if r.kind.times {
		img.FirstSeen = r.now()
	}
	for _, layer := range content.Layers {
		r.content[layer.ID()] = true
		if r.kind.layers {
			img.Layers = append(img.Layers, engine.Layer{ID: layer.ID(), Bytes: layer.Size * unpackFactor})
		}
	}
	return img
}

func (r *Runtime) moveTag(tag oci.Ref, to *image) {
	old := r.find(tag)
	if old == to {
		if r.Traps.PinDropped {
			to.ours = false
		}
		return
	}
	if old != nil {
		old.Tags = slices.DeleteFunc(slices.Clone(old.Tags), func(t oci.Ref) bool { return t == tag })
		if r.Traps.PullForgetsOld && len(old.Tags) == 0 {
			delete(r.images, old.ID)
		}
	}
	to.Tags = append(to.Tags, tag)
}

// Remove is part of engine.Interface.
func (r *Runtime) Remove(ctx context.Context, req engine.RemoveRequest) error {
	if err := r.begin(ctx, Call{Op: OpRemove, ImageID: req.Image.ID}); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	img := r.images[req.Image.ID]
	if img == nil {
		if r.Traps.RemoveGoneFails {
			return engine.Becausef(engine.NotFound, "No such image: %s", req.Image.ID)
		}
		return nil
	}
	asked := func(tag oci.Ref) bool { return slices.Contains(req.Tags, tag) }
	rest := slices.DeleteFunc(slices.Clone(img.Tags), asked)
	if !req.Whole() && len(rest) == len(img.Tags) {
		return nil
	}
	whole := req.Whole() || len(rest) == 0 && !slices.ContainsFunc(img.Digests, func(d oci.Ref) bool { return !ofAny(img.Tags, d) })
	if err := r.refuse(img, whole, req.Force); err != nil || r.Traps.RemoveNoEffect {
		return err
	}
	r.changing()
	switch {
	case !whole && !r.Traps.RemoveTakesAll:
		img.setTags(rest)
	case r.Traps.RemoveLeavesUntagged:
		img.Tags, img.Digests = nil, nil
	default:
		delete(r.images, img.ID)
		r.collect()
	}
	return nil
}

// refuse says what the runtime cannot do, or who uses an image where the runtime itself would.
func (r *Runtime) refuse(img *image, whole, force bool) error {
	if !whole && !r.kind.oneTag {
		return engine.Becausef(engine.Unsupported, "this runtime cannot remove one name of several from image %s", img.ID)
	}
	if r.Traps.RemoveHalfWay && len(img.Tags) > 1 {
		img.setTags(slices.Clone(img.Tags[1:]))
		return engine.Becausef(engine.InUse, "conflict: unable to delete %s: image is being used by running container", img.ID)
	}
	if !r.kind.refusesUse || !whole || r.Traps.RemoveIgnoresUse {
		return nil
	}
	for _, c := range r.containers {
		lifted := force && r.kind.forceLiftsExited && c.State == Exited
		if c.imageID == img.ID && !lifted {
			return engine.Becausef(engine.InUse, "image is in use by a container: %s (%s)", c.Name, c.State)
		}
	}
	return nil
}

// setTags gives the image these tags, and takes the digest names of repositories that had a tag and have none now.
func (i *image) setTags(tags []oci.Ref) {
	i.Digests = slices.DeleteFunc(slices.Clone(i.Digests), func(d oci.Ref) bool {
		return ofAny(i.Tags, d) && !ofAny(tags, d)
	})
	i.Tags = tags
}

// ofAny reports whether a name is of the repository of any of the tags.
func ofAny(tags []oci.Ref, name oci.Ref) bool {
	return slices.ContainsFunc(tags, func(t oci.Ref) bool { return t.Repository() == name.Repository() })
}

// collect lets layers go that no image and no batch holds. Its caller holds the lock.
func (r *Runtime) collect() {
	needed := map[string]bool{}
	for _, img := range r.images {
		for _, layer := range img.content.Layers {
			needed[layer.ID()] = true
		}
	}
	for _, b := range r.held {
		for _, img := range b.removed {
			for _, layer := range img.content.Layers {
				needed[layer.ID()] = true
			}
		}
	}
	for layer := range r.content {
		if !needed[layer] {
			delete(r.content, layer)
		}
	}
}
