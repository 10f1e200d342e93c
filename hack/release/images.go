// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"orlop.dev/orlop/hack/image/archive"
	"orlop.dev/orlop/hack/image/static"
)

// image is one of the release, for every platform of its nodes.
type image struct {
	name, title, description string
	programs                 []string
	roots                    bool

	index v1.ImageIndex
	by    map[platform]v1.Image
}

// kinds are the images of a release.
func kinds() []image {
	return []image{
		{name: node, title: "Orlop on a node", description: "Sees, pulls, keeps and removes the container images of a node.", programs: []string{node}},
		{name: controller, title: "Orlop's controller", description: "Turns ImageCaches, NodeJobs and NodeCronJobs into what each node should hold and do.",
			programs: []string{controller}, roots: true}, // It asks registries, whose certificates it must be able to check.
		{name: "orlop-tools", title: "Orlop's tools", description: "crictl, for kubectl orlop shell.", programs: []string{node, crictl}},
	}
}

// makeImages writes each image, for all platforms at once, as an archive.
func (r *release) makeImages(context.Context) error {
	for _, img := range kinds() {
		img.by = map[platform]v1.Image{}
		for _, p := range r.nodes() {
			made, err := r.makeImage(img, p)
			if err != nil {
				return fmt.Errorf("making %s for %s: %w", img.name, p, err)
			}
			img.by[p] = made
		}
		var err error
		if img.index, err = r.index(img, r.nodes()); err != nil {
			return err
		}
		if err := archive.Write(r.path(r.imageFile(img)), registry+"/"+img.name, r.version, img.index); err != nil {
			return err
		}
		r.images = append(r.images, img)
	}
	return nil
}

func (r *release) makeImage(img image, p platform) (v1.Image, error) {
	content := static.Content{Platform: p.oci(), Roots: img.roots, Labels: r.labels(img), Created: r.time}
	for _, name := range img.programs {
		content.Binaries = append(content.Binaries, r.built(name, p))
	}
	return static.Image(content)
}

// index joins what was made for some platforms.
func (r *release) index(img image, platforms []platform) (v1.ImageIndex, error) {
	var images []v1.Image
	for _, p := range platforms {
		images = append(images, img.by[p])
	}
	return static.Index(images, r.labels(img))
}

// labels are those of the OCI's image specification.
func (r *release) labels(img image) map[string]string {
	labels := map[string]string{
		"title": img.title, "description": img.description, "version": r.version, "revision": r.commit, "created": r.time.Format(time.RFC3339),
		"url": home, "source": home, "documentation": home + "/tree/" + r.version + "/docs", "licenses": "Apache-2.0", "vendor": "The Orlop Authors",
	}
	out := map[string]string{}
	for key, value := range maps.All(labels) {
		out["org.opencontainers.image."+key] = value
	}
	return out
}

// imageFile is the archive of an image for all platforms.
func (r *release) imageFile(img image) string { return img.name + "_" + r.version + "_image.tar" }

// imageOf writes an image for some platforms into the folder of what is still to be packed.
func (r *release) imageOf(img image, platforms []platform, folder string) (string, error) {
	index, err := r.index(img, platforms)
	if err != nil {
		return "", err
	}
	path := filepath.Join(folder, img.name+".tar")
	return path, archive.Write(path, registry+"/"+img.name, r.version, index)
}
