// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package docker

import (
	"context"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"

	"orlop.dev/orlop/internal/engine"
)

// parallelInspects is how many images are inspected at once: enough to hide the latency of a socket, few enough to
// leave the daemon to others.
const parallelInspects = 8

// details remembers what inspecting an image tells and its list does not, since a list of 500 images would ask 500
// times each time. It forgets images that are gone.
type details struct {
	mu    sync.Mutex
	known map[string]detail
}

type detail struct{ firstSeen time.Time }

// add completes a list of all images.
func (d *details) add(ctx context.Context, api *client.Client, images []engine.Image) ([]engine.Image, error) {
	complete, err := d.look(ctx, api, images)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	kept := make(map[string]detail, len(images))
	for _, image := range images {
		if found, ok := d.known[image.ID]; ok {
			kept[image.ID] = found
		}
	}
	d.known = kept
	return complete, nil
}

// look completes some images.
func (d *details) look(ctx context.Context, api *client.Client, images []engine.Image) ([]engine.Image, error) {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelInspects)
	for i := range images {
		group.Go(func() error {
			found, err := d.of(ctx, api, images[i].ID)
			images[i].FirstSeen = found.firstSeen
			return err
		})
	}
	return images, group.Wait()
}

// of is what is known of an image. One that cannot be inspected, as it is just being removed, or broken, stays unknown
// and holds up no other.
func (d *details) of(ctx context.Context, api *client.Client, id string) (detail, error) {
	d.mu.Lock()
	found, ok := d.known[id]
	d.mu.Unlock()
	if ok {
		return found, nil
	}
	answer, err := api.ImageInspect(ctx, id)
	if err != nil {
		if ctx.Err() != nil || errdefs.IsUnavailable(err) || client.IsErrConnectionFailed(err) {
			return detail{}, err
		}
		return detail{}, nil
	}
	// The youngest tag's time is never before the image came, so it errs on the side of keeping.
	found = detail{firstSeen: answer.Metadata.LastTagTime.UTC()}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.known == nil {
		d.known = map[string]detail{}
	}
	d.known[id] = found
	return found, nil
}
