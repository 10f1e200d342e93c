// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cri

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/engine/socket"
	"orlop.dev/orlop/internal/oci"
)

// Pull fetches an image, and looks what came. CRI knows no reference with a tag and a digest both: runtimes drop one
// of the two without a word. So it pulls by tag, and fails where that brought another digest.
func (r *Runtime) Pull(ctx context.Context, req engine.PullRequest) (engine.Image, error) {
	name := req.Ref.WithoutDigest()
	answer, err := r.images.PullImage(ctx, &cri.PullImageRequest{
		Image: &cri.ImageSpec{Image: name.String()},
		Auth:  authOf(req.Credentials),
	})
	if err != nil {
		return engine.Image{}, fmt.Errorf("pulling %s: %w", req.Ref, tidied(socket.Why(err), req))
	}
	image, err := r.pulled(ctx, answer.ImageRef)
	if err != nil {
		return engine.Image{}, err
	}
	if err := arrived(image, req.Ref); err != nil {
		return engine.Image{}, fmt.Errorf("pulling %s: %w", req.Ref, err)
	}
	return *image, nil
}

// authOf leaves the server's address out, as the kubelet does. containerd would use the credentials only where the address is a
// URL whose host is the one that it asks, which that of a mirror is not, nor is registry-1.docker.io the name that people
// write; CRI-O never reads it. See docs/adr/0009-credentials-without-an-address.md.
func authOf(c *engine.Credentials) *cri.AuthConfig {
	if c == nil {
		return nil
	}
	return &cri.AuthConfig{Username: c.Username, Password: c.Password, IdentityToken: c.IdentityToken}
}

// tidied keeps credentials out of an error, and the reference, which the error names already.
func tidied(err error, req engine.PullRequest) error {
	text := strings.TrimPrefix(err.Error(), req.Ref.WithoutDigest().String()+": ")
	if text != err.Error() && !errors.Is(err, context.Canceled) {
		err = engine.Because(engine.ReasonOf(err), errors.New(text))
	}
	return req.Credentials.Hide(err)
}

// pulled finds what a pull's answer names: the image's id on containerd and CRI-O since 1.36, repository@digest on
// older CRI-O and on cri-dockerd.
func (r *Runtime) pulled(ctx context.Context, answer string) (*engine.Image, error) {
	sandbox, err := r.sandboxRef(ctx)
	if err != nil {
		return nil, err
	}
	found, err := r.status(ctx, r.asked(answer))
	if err != nil || found == nil {
		return nil, err
	}
	image := r.convert(found, sandbox)
	return &image, nil
}

// arrived checks that the image is there as it was asked for.
func arrived(image *engine.Image, asked oci.Ref) error {
	if image == nil {
		return engine.Becausef(engine.NoEffect, "the runtime said OK, but the image is not there")
	}
	if asked.Digest() != "" && !hasDigest(image.Digests, asked) {
		return engine.Becausef(engine.NoEffect, "the registry serves %s under this tag, not %s", digestsOf(image.Digests, asked.Repository()), asked.Digest())
	}
	if asked.Tag() != "" && !slices.Contains(image.Tags, asked.WithoutDigest()) {
		return engine.Becausef(engine.NoEffect, "the runtime said OK, but the image %s does not have this name", image.ID)
	}
	return nil
}

func hasDigest(digests []oci.Ref, asked oci.Ref) bool {
	return slices.Contains(digests, asked.WithoutTag())
}

func digestsOf(digests []oci.Ref, repository string) string {
	var texts []string
	for _, d := range digests {
		if d.Repository() == repository {
			texts = append(texts, d.Digest().String())
		}
	}
	if len(texts) == 0 {
		return "no digest"
	}
	return strings.Join(texts, " and ")
}
