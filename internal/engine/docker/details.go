// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package docker

import (
	"context"
	"fmt"
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
	known map[string]*detail
}

type detail struct {
	firstSeen time.Time
	diffs     []string       // the layers' digests, where Docker tells what they take on disk
	layers    []engine.Layer // nil: not yet asked for
}

func (d *details) get(id string) *detail {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.known[id]
}

func (d *details) put(id string, found *detail) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.known == nil {
		d.known = map[string]*detail{}
	}
	d.known[id] = found
}

func (d *details) keepOnly(images []engine.Image) {
	d.mu.Lock()
	defer d.mu.Unlock()
	kept := make(map[string]*detail, len(images))
	for _, image := range images {
		if found := d.known[image.ID]; found != nil {
			kept[image.ID] = found
		}
	}
	d.known = kept
}

// Measure is part of engine.Measurer. It also tells since when images are here. With the containerd store it takes
// Docker twice as long as the list itself.
func (r *Runtime) Measure(ctx context.Context, images []engine.Image) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := r.eachDetail(ctx, images, r.measured); err != nil {
		return foreign(fmt.Errorf("measuring images: %w", err))
	}
	return nil
}

// eachDetail completes images by what look finds. One that cannot be inspected, since it is just being removed or is
// broken, stays as it is, and holds up no other.
func (r *Runtime) eachDetail(ctx context.Context, images []engine.Image, look func(context.Context, string) (*detail, error)) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelInspects)
	for i := range images {
		group.Go(func() error {
			found, err := look(ctx, images[i].ID)
			if err != nil {
				return onlyIfDown(ctx, err)
			}
			images[i].FirstSeen, images[i].Layers = found.firstSeen, slices.Clone(found.layers)
			return nil
		})
	}
	return group.Wait()
}

// inspected is what is known of an image, by inspecting it if need be.
func (r *Runtime) inspected(ctx context.Context, id string) (*detail, error) {
	if found := r.details.get(id); found != nil {
		return found, nil
	}
	answer, err := r.api.ImageInspect(ctx, id)
	if err != nil {
		return nil, err
	}
	return r.learn(answer.InspectResponse), nil
}

func (r *Runtime) learn(answer dockerimage.InspectResponse) *detail {
	if found := r.details.get(answer.ID); found != nil {
		return found
	}
	// The time of the youngest tag is never before the image came, so it errs on the side of keeping.
	found := &detail{firstSeen: answer.Metadata.LastTagTime.UTC()}
	if answer.Descriptor == nil {
		found.diffs = answer.RootFS.Layers
	}
	r.details.put(answer.ID, found)
	return found
}

// measured adds what a graph driver holds of an image. The containerd store keeps the compressed layers too and does
// not tell their sizes, so that for it this would be half of the truth.
func (r *Runtime) measured(ctx context.Context, id string) (*detail, error) {
	found, err := r.inspected(ctx, id)
	if err != nil || len(found.diffs) == 0 || found.layers != nil {
		return found, err
	}
	history, err := r.api.ImageHistory(ctx, id)
	if err != nil {
		return nil, err
	}
	whole := *found
	whole.layers = chain(found.diffs, history.Items)
	r.details.put(id, &whole)
	return &whole, nil
}

// onlyIfDown passes over what is wrong with one image, not over a daemon that does not answer.
func onlyIfDown(ctx context.Context, err error) error {
	if ctx.Err() != nil || client.IsErrConnectionFailed(err) || errdefs.IsUnavailable(err) {
		return err
	}
	return nil
}

// chain gives each layer the digest of the chain up to it, by which images share it, and its size from the history, the youngest of which comes first. Steps that made no layer have
// size 0 there, and so have layers without files: where that leaves it open which is which, the sizes are unknown.
func chain(diffs []string, history []dockerimage.HistoryResponseItem) []engine.Layer {
	var sizes []int64
	for _, step := range slices.Backward(history) {
		if step.Size > 0 || len(history) == len(diffs) {
			sizes = append(sizes, step.Size)
		}
	}
	if len(sizes) != len(diffs) {
		return []engine.Layer{}
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
