// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package enginetest

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
)

// Containerd is an in-memory containerd: it pins, marks, removes in batches, measures, tells times, progress and
// changes, and lets images go that are in use.
type Containerd struct{ *Runtime }

// NewContainerd is a containerd without images.
func NewContainerd(registry *Registry) *Containerd {
	return &Containerd{newRuntime(registry, kind{
		name: "containerd", version: "2.4.2", endpoint: "unix:///run/containerd/containerd.sock",
		id:     func(c Content) string { return c.Config().String() },
		oneTag: true, movesTags: true, progress: true, layers: true, measures: true, times: true, pullBytes: true,
	})}
}

// Pin is part of engine.Pinner.
func (c *Containerd) Pin(ctx context.Context, ref oci.Ref, pinned bool) error {
	return c.pin(ctx, ref, func(img *image) { img.ours = pinned })
}

// PinByHand is Pin for a person on the machine, who lifts both.
func (c *Containerd) PinByHand(ctx context.Context, ref oci.Ref, pinned bool) error {
	return c.pin(ctx, ref, func(img *image) { img.byHand, img.ours = pinned, img.ours && pinned })
}

func (c *Containerd) pin(ctx context.Context, ref oci.Ref, set func(*image)) error {
	if err := c.begin(ctx, Call{Op: OpPin, Ref: ref}); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	img := c.find(ref)
	if img == nil {
		return engine.Becausef(engine.NotFound, "pinning %s: not found", ref)
	}
	c.changing()
	set(img)
	return nil
}

// Measure is part of engine.Measurer.
func (c *Containerd) Measure(ctx context.Context, images []engine.Image) error {
	if err := c.begin(ctx, Call{Op: OpMeasure}); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range images {
		if img := c.images[images[i].ID]; img != nil {
			images[i].DiskBytes, images[i].Layers = img.DiskBytes, slices.Clone(img.Layers)
		}
	}
	return nil
}

// found is an image that is here, or whose content a batch holds.
func (r *Runtime) found(id string) *image {
	img := r.images[id]
	for _, b := range r.held {
		img = cmp.Or(img, b.removed[id])
	}
	return img
}

// Batch is part of engine.Batcher.
func (c *Containerd) Batch(ctx context.Context) (engine.Batch, error) {
	if err := c.begin(ctx, Call{Op: OpBatch}); err != nil {
		return nil, err
	}
	b := &batch{rt: c.Runtime, removed: map[string]*image{}}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = append(c.held, b)
	return b, nil
}

type batch struct {
	rt      *Runtime
	removed map[string]*image
}

// Hold has nothing to do: content stays wherever a batch is open that removed its names.
func (b *batch) Hold(context.Context, ...engine.Image) error { return nil }

// MeasureLater is part of engine.LateMeasurer. What no batch holds any more has lost its sizes.
func (b *batch) MeasureLater(ctx context.Context, images []engine.Image) (func(context.Context, ...string) error, error) {
	if err := b.rt.begin(ctx, Call{Op: OpMeasure}); err != nil {
		return nil, err
	}
	return func(ctx context.Context, ids ...string) error {
		if err := b.rt.begin(ctx, Call{Op: OpMeasure}); err != nil {
			return err
		}
		b.rt.mu.Lock()
		defer b.rt.mu.Unlock()
		for i := range images {
			img := b.rt.found(images[i].ID)
			switch {
			case img == nil:
			case slices.Contains(ids, images[i].ID):
				images[i].DiskBytes, images[i].Layers = img.DiskBytes, slices.Clone(img.Layers)
			default:
				images[i].Layers = withoutSizes(img.Layers)
			}
		}
		return nil
	}, nil
}

func withoutSizes(layers []engine.Layer) []engine.Layer {
	var bare []engine.Layer
	for _, layer := range layers {
		bare = append(bare, engine.Layer{ID: layer.ID})
	}
	return bare
}

func (b *batch) Remove(ctx context.Context, req engine.RemoveRequest) error {
	b.rt.mu.Lock()
	if img := b.rt.images[req.Image.ID]; img != nil && b.removed[req.Image.ID] == nil {
		was := *img
		b.removed[req.Image.ID] = &was
	}
	b.rt.mu.Unlock()
	return b.rt.Remove(ctx, req)
}

// Settle has nothing to wait for: a list that lags shows by itself.
func (b *batch) Settle(context.Context) (map[string]error, error) { return nil, nil }

func (b *batch) Restore(ctx context.Context, imageID string) error {
	if err := b.rt.begin(ctx, Call{Op: OpRestore, ImageID: imageID}); err != nil {
		return err
	}
	b.rt.mu.Lock()
	defer b.rt.mu.Unlock()
	was := b.removed[imageID]
	if was == nil {
		return fmt.Errorf("restoring %s: this batch did not remove it", imageID)
	}
	b.rt.changing()
	img := b.rt.images[imageID]
	if img == nil {
		back := *was
		back.Tags, back.Digests = nil, nil
		img = &back
		b.rt.images[imageID] = img
	}
	for _, tag := range was.Tags {
		if b.rt.find(tag) == nil {
			img.Tags = append(img.Tags, tag)
		}
	}
	img.Digests = slices.Clone(was.Digests)
	img.ours = was.ours && !b.rt.Traps.RestoreLosesPin
	return nil
}

func (b *batch) Close(ctx context.Context) error {
	err := b.rt.begin(ctx, Call{Op: OpClose})
	b.rt.mu.Lock()
	defer b.rt.mu.Unlock()
	if err == nil && !b.rt.Traps.CloseKeepsContent {
		b.rt.held = slices.DeleteFunc(b.rt.held, func(other *batch) bool { return other == b })
		b.rt.collect()
	}
	return err
}
