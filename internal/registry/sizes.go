// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// maxManifests bounds how many manifests of one index are read: variants of one architecture each have their own.
const maxManifests = 8

// sizes are the compressed sizes by platform, as far as they can be had: they help to look after disks, and hold up nothing.
func sizes(ctx context.Context, puller *remote.Puller, repository name.Repository, top *remote.Descriptor, platforms []string) map[string]int64 {
	found := map[string]int64{}
	if !top.MediaType.IsIndex() {
		// Which platform an image without an index is for stands in another blob; a node of another one will refuse it.
		if size := manifestSize(top); size > 0 {
			for _, platform := range platforms {
				found[platform] = size
			}
		}
		return found
	}
	index, err := top.ImageIndex()
	if err != nil {
		return found
	}
	list, err := index.IndexManifest()
	if err != nil {
		return found
	}
	read := 0
	for _, entry := range list.Manifests {
		platform, wanted := among(entry.Platform, platforms)
		if !wanted || !entry.MediaType.IsImage() || read == maxManifests {
			continue
		}
		read++
		manifest, err := puller.Get(ctx, repository.Digest(entry.Digest.String()))
		if err != nil {
			continue
		}
		found[platform] = max(found[platform], manifestSize(manifest))
	}
	return found
}

// among finds the platform among those wanted. Variants count as one: the biggest is what a node may have to hold.
func among(p *v1.Platform, wanted []string) (string, bool) {
	if p == nil {
		return "", false
	}
	for _, platform := range wanted {
		system, architecture, _ := strings.Cut(platform, "/")
		architecture, _, _ = strings.Cut(architecture, "/")
		if p.OS == system && p.Architecture == architecture {
			return platform, true
		}
	}
	return "", false
}

func manifestSize(d *remote.Descriptor) (size int64) {
	image, err := d.Image()
	if err != nil {
		return 0
	}
	manifest, err := image.Manifest()
	if err != nil {
		return 0
	}
	size = manifest.Config.Size
	for _, layer := range manifest.Layers {
		size += layer.Size
	}
	return size
}
