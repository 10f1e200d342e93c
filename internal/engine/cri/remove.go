// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cri

import (
	"context"
	"fmt"
	"slices"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/engine/socket"
	"orlop.dev/orlop/internal/oci"
)

// Remove takes single names where the runtime can: on CRI-O alone. containerd takes every name of the image for any
// of them, and cri-dockerd answers OK and does nothing; there only the whole image goes.
func (r *Runtime) Remove(ctx context.Context, req engine.RemoveRequest) error {
	switch {
	case req.Whole():
		return r.remove(ctx, r.asked(req.Image.ID))
	case r.name == nameCRIO:
		return r.removeNames(ctx, req)
	}
	// The list may be older than a name that has come since, and removal by id would take that as well.
	now, err := r.byID(ctx, req.Image.ID)
	if err != nil || now == nil {
		return err
	}
	if left := namesLeft(r.convert(now, oci.Ref{}), req.Tags); len(left) > 0 {
		return engine.Becausef(engine.Unsupported, "%s cannot remove one name through CRI: %s would go as well", r.name, left[0])
	}
	return r.remove(ctx, req.Image.ID)
}

// removeNames takes tags, and then the digest names of repositories that have none left: CRI-O keeps those by which the
// image was pulled, and makes up the rest, which removing does not touch.
func (r *Runtime) removeNames(ctx context.Context, req engine.RemoveRequest) error {
	for _, tag := range req.Tags {
		if err := r.removeName(ctx, req.Image.ID, tag); err != nil {
			return err
		}
	}
	now, err := r.byID(ctx, req.Image.ID)
	if err != nil || now == nil {
		return err
	}
	image := r.convert(now, oci.Ref{})
	left := namesLeft(image, req.Tags)
	for _, digest := range image.Digests {
		tagged := slices.ContainsFunc(image.Tags, func(t oci.Ref) bool { return t.Repository() == digest.Repository() })
		if tagged || slices.Contains(left, digest) {
			continue
		}
		if err := r.removeName(ctx, req.Image.ID, digest); err != nil {
			return err
		}
	}
	return nil
}

// removeName removes a name if it still means this image: the kubelet may have moved it since.
func (r *Runtime) removeName(ctx context.Context, id string, name oci.Ref) error {
	now, err := r.status(ctx, name.String())
	if err != nil || now == nil || now.Id != id {
		return err
	}
	return r.remove(ctx, name.String())
}

func (r *Runtime) remove(ctx context.Context, name string) error {
	_, err := r.images.RemoveImage(ctx, &cri.RemoveImageRequest{Image: &cri.ImageSpec{Image: name}})
	if err != nil {
		return fmt.Errorf("removing %s: %w", name, socket.Why(err))
	}
	return nil
}

// namesLeft is what an image is still called when tags are gone. The digest name of a repository goes with its last
// tag; one of a repository that has no tag stays.
func namesLeft(image engine.Image, tags []oci.Ref) []oci.Ref {
	left := slices.DeleteFunc(slices.Clone(image.Tags), func(t oci.Ref) bool { return slices.Contains(tags, t) })
	for _, d := range image.Digests {
		if !slices.ContainsFunc(tags, func(t oci.Ref) bool { return t.Repository() == d.Repository() }) {
			left = append(left, d)
		}
	}
	return left
}
