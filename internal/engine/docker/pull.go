// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package docker

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/pkg/authconfig"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/client"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
)

// Pull is part of engine.Interface.
func (r *Runtime) Pull(ctx context.Context, req engine.PullRequest) (engine.Image, error) {
	id, err := r.pull(ctx, req)
	if err != nil {
		return engine.Image{}, req.Credentials.Hide(foreign(fmt.Errorf("pulling %s: %w", req.Ref, err)))
	}
	images, err := r.List(ctx, id)
	if err != nil {
		return engine.Image{}, err
	}
	if len(images) == 0 {
		return engine.Image{}, engine.Becausef(engine.NoEffect, "pulling %s: Docker said OK, but the image is not there", req.Ref)
	}
	return images[0], nil
}

// pull returns the id of the image, which the stream does not tell.
func (r *Runtime) pull(ctx context.Context, req engine.PullRequest) (string, error) {
	options := client.ImagePullOptions{}
	if req.Credentials != nil {
		auth, err := encode(req.Ref, *req.Credentials)
		if err != nil {
			return "", err
		}
		options.RegistryAuth = auth
	}
	// A reference without tag and digest would bring every tag of the repository; oci.Ref always has one. With both,
	// Docker pulls by digest and sets no tag.
	wanted := req.Ref
	if wanted.Digest() != "" {
		wanted = wanted.WithoutTag()
	}
	if err := r.transfer(ctx, wanted, options, req.Progress); err != nil {
		return "", err
	}
	id, err := r.idOf(ctx, wanted.String())
	if errdefs.IsNotFound(err) {
		return "", engine.Becausef(engine.NoEffect, "Docker said OK, but there is no %s", wanted)
	}
	if err != nil || wanted == req.Ref {
		return id, err
	}
	_, err = r.api.ImageTag(ctx, client.ImageTagOptions{Source: id, Target: req.Ref.WithoutDigest().String()})
	return id, err
}

// transfer runs the pull to the end of its stream, in which its errors are: the status was OK before it began.
func (r *Runtime) transfer(ctx context.Context, ref oci.Ref, options client.ImagePullOptions, report func(engine.Progress)) error {
	progress := newProgress(report)
	progress.tell()
	stream, err := r.api.ImagePull(ctx, ref.String(), options)
	if err != nil {
		return err
	}
	defer func() { _ = stream.Close() }()
	for message, err := range stream.JSONMessages(ctx) {
		if err != nil {
			return err
		}
		if message.Error != nil {
			return message.Error
		}
		progress.hear(message)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	progress.end()
	return nil
}

func (r *Runtime) idOf(ctx context.Context, name string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	found, err := r.api.ImageInspect(ctx, name)
	return found.ID, err
}

func encode(ref oci.Ref, c engine.Credentials) (string, error) {
	return authconfig.Encode(registry.AuthConfig{
		Username: c.Username, Password: c.Password, IdentityToken: c.IdentityToken, ServerAddress: ref.Registry(),
	})
}
