// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package docker

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
)

// List is part of engine.Interface.
func (r *Runtime) List(ctx context.Context, ids ...string) ([]engine.Image, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	images, err := r.list(ctx, ids)
	if err != nil {
		return nil, foreign(fmt.Errorf("listing images: %w", err))
	}
	return images, nil
}

func (r *Runtime) list(ctx context.Context, ids []string) ([]engine.Image, error) {
	if len(ids) > 0 {
		return r.byID(ctx, ids)
	}
	// Never with All: that also gives the hidden steps of local builds.
	answer, err := r.api.ImageList(ctx, client.ImageListOptions{})
	if err != nil {
		return nil, err
	}
	images := make([]engine.Image, len(answer.Items))
	for i, item := range answer.Items {
		images[i] = image(item.ID, item.RepoTags, item.RepoDigests, item.Size)
	}
	return r.details.add(ctx, r.api, images)
}

// byID inspects, since no filter of Docker's list knows ids.
func (r *Runtime) byID(ctx context.Context, ids []string) ([]engine.Image, error) {
	images := make([]engine.Image, 0, len(ids))
	for _, id := range ids {
		found, err := r.api.ImageInspect(ctx, id)
		if errdefs.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if found.ID == id { // The beginning of an id, or a config's digest with the containerd store, finds one too.
			images = append(images, image(found.ID, found.RepoTags, found.RepoDigests, found.Size))
		}
	}
	return r.details.look(ctx, r.api, images)
}

func image(id string, tags, digests []string, size int64) engine.Image {
	found := engine.Image{ID: id, Tags: refs(tags), Digests: refs(digests), DiskBytes: size}
	found.Sandbox = slices.ContainsFunc(slices.Concat(found.Tags, found.Digests), isPause)
	return found
}

// refs are the names that are names: Docker calls what has none <none>:<none> and <none>@<none>.
func refs(names []string) []oci.Ref {
	var parsed []oci.Ref
	for _, name := range names {
		if strings.Contains(name, "<none>") {
			continue
		}
		if ref, err := oci.Parse(name); err == nil {
			parsed = append(parsed, ref)
		}
	}
	slices.SortFunc(parsed, oci.Compare)
	return parsed
}

// isPause tells the image that pods start with. Docker does not know which one cri-dockerd is configured for, so every
// one that is called so counts.
func isPause(ref oci.Ref) bool {
	repository := ref.Repository()
	name := repository[strings.LastIndex(repository, "/")+1:]
	return name == "pause" || strings.HasSuffix(name, "-pause")
}
