// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package docker

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	dockerimage "github.com/moby/moby/api/types/image"
	"github.com/moby/moby/client"
	"github.com/moby/moby/client/pkg/versions"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
)

// manifestsVersion is the API's first that tells the manifests of one image, and with them its compressed size.
const manifestsVersion = "1.48"

// List is part of engine.Interface.
func (r *Runtime) List(ctx context.Context, ids ...string) ([]engine.Image, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	look := r.all
	if len(ids) > 0 {
		look = func(ctx context.Context) ([]engine.Image, error) { return r.byID(ctx, ids) }
	}
	images, err := look(ctx)
	if err != nil {
		return nil, foreign(fmt.Errorf("listing images: %w", err))
	}
	return images, nil
}

func (r *Runtime) all(ctx context.Context) ([]engine.Image, error) {
	// Never with All: that also gives the hidden steps of local builds.
	answer, err := r.api.ImageList(ctx, client.ImageListOptions{Manifests: r.tellsManifests()})
	if err != nil {
		return nil, err
	}
	images := make([]engine.Image, len(answer.Items))
	quick := true
	for i, item := range answer.Items {
		images[i] = image(item.ID, item.RepoTags, item.RepoDigests, item.Size, item.Manifests)
		if found := r.details.get(item.ID); found != nil {
			images[i].FirstSeen = found.firstSeen
		}
		quick = quick && item.Descriptor == nil
	}
	r.details.keepOnly(images)
	if quick { // A graph driver inspects in a fraction of a millisecond, the containerd store in twenty.
		err = r.eachDetail(ctx, images, r.inspected)
	}
	return images, err
}

// byID inspects, since no filter of Docker's list knows ids.
func (r *Runtime) byID(ctx context.Context, ids []string) ([]engine.Image, error) {
	images := make([]engine.Image, 0, len(ids))
	for _, id := range ids {
		found, err := r.api.ImageInspect(ctx, id, client.ImageInspectWithManifests(r.tellsManifests()))
		if errdefs.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if found.ID != id { // The beginning of an id finds an image too, and so does a config's digest.
			continue
		}
		one := image(found.ID, found.RepoTags, found.RepoDigests, found.Size, found.Manifests)
		one.FirstSeen = r.learn(found.InspectResponse).firstSeen
		images = append(images, one)
	}
	return images, nil
}

func (r *Runtime) tellsManifests() bool {
	return versions.GreaterThanOrEqualTo(r.api.ClientVersion(), manifestsVersion)
}

func image(id string, tags, digests []string, size int64, manifests []dockerimage.ManifestSummary) engine.Image {
	found := engine.Image{ID: id, Tags: tagged(tags), Digests: refs(digests), DiskBytes: size}
	found.Sandbox = slices.ContainsFunc(slices.Concat(found.Tags, found.Digests), isPause)
	for _, m := range manifests { // Of several platforms, what is here; the graph drivers tell none.
		if m.Available && m.Kind == dockerimage.ManifestKindImage {
			found.PullBytes += m.Size.Content
		}
	}
	return found
}

// tagged are the tags: the containerd store also lists among them the digest by which an image was pulled.
func tagged(names []string) []oci.Ref {
	return slices.DeleteFunc(refs(names), func(ref oci.Ref) bool { return ref.Tag() == "" })
}

// refs are the names that are names: Docker calls what has none <none>:<none> and <none>@<none>.
func refs(names []string) []oci.Ref {
	var parsed []oci.Ref
	for _, name := range names {
		if strings.Contains(name, "<none>") {
			continue
		}
		if ref, err := oci.ParseFound(name); err == nil {
			parsed = append(parsed, ref)
		}
	}
	slices.SortFunc(parsed, oci.Compare)
	return slices.Compact(parsed)
}

// isPause tells the image that pods start with. Docker does not know which one cri-dockerd is configured for, so every
// one that is called so counts.
func isPause(ref oci.Ref) bool {
	repository := ref.Repository()
	name := repository[strings.LastIndex(repository, "/")+1:]
	return name == "pause" || strings.HasSuffix(name, "-pause")
}
