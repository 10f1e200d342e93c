// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package containerd

import (
	"context"
	"fmt"
	"slices"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
)

// Pull goes through CRI, so that the node's own mirrors and certificates count. With a tag and a digest both it pulls
// by digest, whatever the tag means at the registry now, and then sets the tag.
func (r *Runtime) Pull(ctx context.Context, req engine.PullRequest) (engine.Image, error) {
	finish := r.watch(ctx, req)
	image, err := r.pull(ctx, req)
	if err != nil {
		finish(nil)
		return engine.Image{}, err
	}
	finish(&image)
	return image, nil
}

func (r *Runtime) pull(ctx context.Context, req engine.PullRequest) (engine.Image, error) {
	asked := req.Ref
	req.Ref = asked.WithoutTag()
	image, err := r.cri.Pull(ctx, req)
	if err != nil {
		return engine.Image{}, err
	}
	if asked.Digest() != "" && asked.Tag() != "" {
		if err := r.setTag(ctx, asked, image.ID); err != nil {
			return engine.Image{}, fmt.Errorf("naming %s: %w", asked, err)
		}
	}
	now, err := r.List(ctx, image.ID)
	if err != nil {
		return engine.Image{}, err
	}
	if len(now) == 0 {
		return engine.Image{}, engine.Becausef(engine.NoEffect, "pulling %s: the runtime said OK, but the image is not there", asked)
	}
	return now[0], nil
}

// setTag makes the tag mean the digest, which is here under its digest name.
func (r *Runtime) setTag(ctx context.Context, ref oci.Ref, id string) error {
	found, err := r.get(ctx, ref.WithoutTag().String())
	if err != nil {
		return err
	}
	if found == nil {
		return engine.Becausef(engine.NoEffect, "the runtime said OK, but %s is not there", ref.WithoutTag())
	}
	tag, target := ref.WithoutDigest(), found.Target
	managed := map[string]string{labelManaged: valueManaged}
	created, err := r.create(ctx, tag.String(), target, managed, nil)
	if err == nil && !created {
		// Only the target and this label: a pin that the name has stays.
		err = r.update(ctx, &record{Name: tag.String(), Target: target, Labels: managed}, "target", "labels."+labelManaged)
	}
	if err != nil {
		return err
	}
	return r.settle(ctx, id, func(image *engine.Image) bool { return image != nil && slices.Contains(image.Tags, tag) })
}
