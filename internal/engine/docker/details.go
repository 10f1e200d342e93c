// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package docker

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	dockerimage "github.com/moby/moby/api/types/image"
	"github.com/moby/moby/client"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"orlop.dev/orlop/internal/engine"
)

// parallelInspects is how many images are inspected at once: enough to hide the latency of a socket, few enough to
// leave the daemon to others.
const parallelInspects = 8

// details remembers what inspecting an image tells and its list does not: a list of 500 images would inspect 500 each
// time. None of it changes while the image is there, and what is gone from a list of all is forgotten.
type details struct {
	mu    sync.Mutex
	known map[string]detail
}

type detail struct {
	firstSeen time.Time
	layers    []engine.Layer
}

func (d *details) get(id string) (detail, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	found, ok := d.known[id]
	return found, ok
}

func (d *details) put(id string, found detail) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.known == nil {
		d.known = map[string]detail{}
	}
	d.known[id] = found
}

func (d *details) keepOnly(images []engine.Image) {
	d.mu.Lock()
	defer d.mu.Unlock()
	kept := make(map[string]detail, len(images))
	for _, image := range images {
		if found, ok := d.known[image.ID]; ok {
			kept[image.ID] = found
		}
	}
	d.known = kept
}

// addAll completes a list of all images. One that cannot be inspected, since it is just being removed or is broken,
// stays as it is, and holds up no other.
func (d *details) addAll(ctx context.Context, r *Runtime, images []engine.Image) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelInspects)
	for i := range images {
		if found, ok := d.get(images[i].ID); ok {
			found.complete(&images[i])
			continue
		}
		group.Go(func() error {
			found, err := r.api.ImageInspect(ctx, images[i].ID)
			if err != nil {
				return onlyIfDown(ctx, err)
			}
			return d.add(ctx, r, &images[i], found.InspectResponse)
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	d.keepOnly(images)
	return nil
}

// add completes one image that was inspected.
func (d *details) add(ctx context.Context, r *Runtime, image *engine.Image, inspected dockerimage.InspectResponse) error {
	found, ok := d.get(image.ID)
	if !ok {
		layers, err := r.layers(ctx, inspected)
		if err != nil {
			return onlyIfDown(ctx, err)
		}
		// The time of the youngest tag is never before the image came, so it errs on the side of keeping.
		found = detail{firstSeen: inspected.Metadata.LastTagTime.UTC(), layers: layers}
		d.put(image.ID, found)
	}
	found.complete(image)
	return nil
}

func (d detail) complete(image *engine.Image) {
	image.FirstSeen, image.Layers = d.firstSeen, slices.Clone(d.layers)
}

// onlyIfDown passes over what is wrong with one image, not over a daemon that does not answer.
func onlyIfDown(ctx context.Context, err error) error {
	if ctx.Err() != nil || client.IsErrConnectionFailed(err) || errdefs.IsUnavailable(err) {
		return err
	}
	return nil
}

// layers are what a graph driver holds of an image, each under the digest of the chain up to it, by which images share
// them. The containerd store keeps the compressed layers too and does not tell their sizes, so that for it this would
// be half of the truth.
func (r *Runtime) layers(ctx context.Context, inspected dockerimage.InspectResponse) ([]engine.Layer, error) {
	if inspected.Descriptor != nil || len(inspected.RootFS.Layers) == 0 {
		return nil, nil
	}
	history, err := r.api.ImageHistory(ctx, inspected.ID)
	if err != nil {
		return nil, err
	}
	return chain(inspected.RootFS.Layers, history.Items), nil
}

// chain gives each layer its size from the history, the youngest of which comes first. Steps that made no layer have
// size 0 there, and so have layers without files: where that leaves it open which is which, the sizes are unknown.
func chain(diffs []string, history []dockerimage.HistoryResponseItem) []engine.Layer {
	var sizes []int64
	for _, step := range slices.Backward(history) {
		if step.Size > 0 || len(history) == len(diffs) {
			sizes = append(sizes, step.Size)
		}
	}
	if len(sizes) != len(diffs) {
		return nil
	}
	layers := make([]engine.Layer, len(diffs))
	id := ""
	for i, diff := range diffs {
		if id == "" {
			id = diff
		} else {
			id = digest.FromString(id + " " + diff).String()
		}
		layers[i] = engine.Layer{ID: id, Bytes: sizes[i]}
	}
	return layers
}
