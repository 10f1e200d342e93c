// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package images makes images of any shape and pushes them to the lab's registries.
package images

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"runtime"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"orlop.dev/orlop/test/lab/internal/registry"
)

// Spec is the shape of an image; the same shape under the same name is always the same image.
type Spec struct {
	// Program is a static binary of the host that becomes /guest.
	Program string
	// Entrypoint is what the image runs; /guest waits when it is given nothing else.
	Entrypoint []string
	Cmd        []string
	// Layers come after that of the program.
	Layers []Layer
	// Platforms make it an index of several images; one image for this machine unless set.
	Platforms []string
	// Annotations are those of the manifest, Labels those of the config.
	Annotations map[string]string
	Labels      map[string]string
	Env         []string
	User        string
	// Seed tells apart images that are otherwise the same: push another seed to move a tag.
	Seed string
	// Created is when the image says it was made, one and the same day unless set.
	Created time.Time
	// Docker gives manifest, config and layers the media types of Docker, not of OCI.
	Docker bool
}

// Layer is incompressible content.
type Layer struct {
	Size int64
	// Shared names content that several images have in common.
	Shared string
}

// Target is a registry as it is reached from where the caller is.
type Target struct {
	address  string
	combined bool
	options  []remote.Option
}

// Plain is the registry that holds the images of all hosts.
func Plain(address string) Target { return Target{address: address, combined: true} }

// Private is a registry with TLS and a password.
func Private(address string, ca []byte, user, password string) Target {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	transport := remote.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	return Target{address: address, options: []remote.Option{
		remote.WithTransport(transport), remote.WithAuth(&authn.Basic{Username: user, Password: password}),
	}}
}

// Push makes the image and pushes it under its name; the digest is that of the index where there is one.
func Push(ctx context.Context, target Target, image string, spec Spec) (string, error) {
	ref, err := target.locate(image)
	if err != nil {
		return "", err
	}
	options := append([]remote.Option{remote.WithContext(ctx)}, target.options...)
	platforms := spec.Platforms
	if len(platforms) == 0 {
		platforms = []string{"linux/" + runtime.GOARCH}
	}
	var index v1.ImageIndex = empty.Index
	if spec.Docker {
		index = mutate.IndexMediaType(index, types.DockerManifestList)
	}
	var digest v1.Hash
	for _, platform := range platforms {
		img, p, err := build(image, spec, platform)
		if err != nil {
			return "", fmt.Errorf("making %s for %s: %w", image, platform, err)
		}
		if len(spec.Platforms) == 0 {
			if err := remote.Write(ref, img, options...); err != nil {
				return "", fmt.Errorf("pushing %s: %w", image, err)
			}
			digest, err = img.Digest()
			return digest.String(), err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: p}})
	}
	if err := remote.WriteIndex(ref, index, options...); err != nil {
		return "", fmt.Errorf("pushing %s: %w", image, err)
	}
	digest, err = index.Digest()
	return digest.String(), err
}

// Delete removes a tag, or the manifest of a digest, from the registry.
func Delete(ctx context.Context, target Target, image string) error {
	ref, err := target.locate(image)
	if err != nil {
		return err
	}
	if err := remote.Delete(ref, append([]remote.Option{remote.WithContext(ctx)}, target.options...)...); err != nil {
		return fmt.Errorf("deleting %s: %w", image, err)
	}
	return nil
}

// Host is the registry host of an image's name, docker.io where it names none.
func Host(image string) (string, error) {
	ref, err := name.ParseReference(image)
	if err != nil {
		return "", err
	}
	return host(ref), nil
}

func host(ref name.Reference) string {
	if h := ref.Context().RegistryStr(); h != name.DefaultRegistry {
		return h
	}
	return "docker.io"
}

func (t Target) locate(image string) (name.Reference, error) {
	ref, err := name.ParseReference(image)
	if err != nil {
		return nil, err
	}
	repository := ref.Context().RepositoryStr()
	options := []name.Option{}
	if t.combined {
		repository = registry.StoredAs(host(ref), repository)
		options = append(options, name.Insecure)
	}
	separator := ":"
	if _, ok := ref.(name.Digest); ok {
		separator = "@"
	}
	return name.ParseReference(t.address+"/"+repository+separator+ref.Identifier(), options...)
}

func build(image string, spec Spec, platform string) (v1.Image, *v1.Platform, error) {
	p, err := v1.ParsePlatform(platform)
	if err != nil {
		return nil, nil, err
	}
	layerType := types.OCILayer
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	if spec.Docker {
		layerType = types.DockerLayer
		img = empty.Image
	}
	layers, err := layersOf(image, spec, platform, layerType)
	if err != nil {
		return nil, nil, err
	}
	if img, err = mutate.AppendLayers(img, layers...); err != nil {
		return nil, nil, err
	}
	if img, err = configure(img, spec, p); err != nil {
		return nil, nil, err
	}
	if len(spec.Annotations) > 0 {
		img = mutate.Annotations(img, spec.Annotations).(v1.Image)
	}
	return img, p, nil
}

func configure(img v1.Image, spec Spec, p *v1.Platform) (v1.Image, error) {
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Variant = p.OS, p.Architecture, p.Variant
	config.Config.Entrypoint, config.Config.Cmd = spec.Entrypoint, spec.Cmd
	if len(spec.Entrypoint) == 0 && spec.Program != "" {
		config.Config.Entrypoint = []string{"/guest"}
	}
	config.Config.Env = append([]string{"PATH=/"}, spec.Env...)
	config.Config.Labels, config.Config.User = spec.Labels, spec.User
	// The config, and so the image, differs with the seed even where the layers do not.
	config.Author = spec.Seed
	if config.Created = (v1.Time{Time: spec.Created}); spec.Created.IsZero() {
		config.Created = v1.Time{Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	}
	return mutate.ConfigFile(img, config)
}

func layersOf(image string, spec Spec, platform string, mediaType types.MediaType) ([]v1.Layer, error) {
	var layers []v1.Layer
	if spec.Program != "" {
		program, err := os.ReadFile(spec.Program)
		if err != nil {
			return nil, err
		}
		layer, err := newLayer("guest", program, mediaType)
		if err != nil {
			return nil, err
		}
		layers = append(layers, layer)
	}
	for i, l := range spec.Layers {
		seed := fmt.Sprint(image, spec.Seed, platform, i)
		if l.Shared != "" {
			seed = l.Shared
		}
		content := make([]byte, l.Size)
		// Reading from a ChaCha8 never ends and never fails.
		_, _ = rand.NewChaCha8(sha256.Sum256([]byte(seed))).Read(content)
		layer, err := newLayer("data/"+fmt.Sprintf("%x", sha256.Sum256([]byte(seed)))[:12], content, mediaType)
		if err != nil {
			return nil, err
		}
		layers = append(layers, layer)
	}
	return layers, nil
}

func newLayer(path string, content []byte, mediaType types.MediaType) (v1.Layer, error) {
	var archive bytes.Buffer
	writer := tar.NewWriter(&archive)
	if err := writer.WriteHeader(&tar.Header{Name: path, Mode: 0o755, Size: int64(len(content))}); err != nil {
		return nil, err
	}
	if _, err := writer.Write(content); err != nil {
		return nil, err
	}
	if err := writer.Close(); err != nil {
		return nil, err
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive.Bytes())), nil }
	// Random bytes do not get smaller: trying to would only cost the tests time.
	return tarball.LayerFromOpener(open, tarball.WithMediaType(mediaType), tarball.WithCompressionLevel(gzip.NoCompression))
}
