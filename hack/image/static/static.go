// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package static makes OCI images of static binaries and nothing else. The same binaries give the same digest.
package static

import (
	"archive/tar"
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// Folder is where the binaries are in an image.
const Folder = "/usr/local/bin"

// Content is what an image is made of.
type Content struct {
	// Binaries are files; the first one is the entry point.
	Binaries []string
	// Platform is what the binaries were built for.
	Platform v1.Platform
	// Roots adds the certificates of the public authorities, for a program that asks registries.
	Roots bool
	// Labels are the config's, and the manifest's annotations.
	Labels map[string]string
	// Created is when the image says it was made; the zero value leaves it out.
	Created time.Time
}

// Image puts each binary into Folder. The config's and the layers' media types are both OCI's: CRI-O refuses a mixture.
func Image(c Content) (v1.Image, error) {
	if len(c.Binaries) == 0 {
		return nil, errors.New("an image needs at least one binary")
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	layers, err := layers(c)
	if err != nil {
		return nil, err
	}
	if img, err = mutate.AppendLayers(img, layers...); err != nil {
		return nil, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Variant = c.Platform.OS, c.Platform.Architecture, c.Platform.Variant
	config.Created = v1.Time{Time: c.Created}
	config.Config.Entrypoint = []string{Folder + "/" + filepath.Base(c.Binaries[0])}
	config.Config.Env = []string{"PATH=" + Folder}
	config.Config.Labels = c.Labels
	if img, err = mutate.ConfigFile(img, config); err != nil {
		return nil, err
	}
	if len(c.Labels) > 0 {
		img = mutate.Annotations(img, c.Labels).(v1.Image)
	}
	return img, nil
}

// Index joins images of several platforms, in the order given.
func Index(images []v1.Image, annotations map[string]string) (v1.ImageIndex, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, img := range images {
		config, err := img.ConfigFile()
		if err != nil {
			return nil, err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: config.Platform()}})
	}
	if len(annotations) > 0 {
		index = mutate.Annotations(index, annotations).(v1.ImageIndex)
	}
	return index, nil
}

func layers(c Content) ([]v1.Layer, error) {
	var all []v1.Layer
	if c.Roots {
		layer, err := layerOf(rootsFile, 0o644, rootsPEM())
		if err != nil {
			return nil, fmt.Errorf("packing certificates: %w", err)
		}
		all = append(all, layer)
	}
	for _, path := range c.Binaries {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		layer, err := layerOf(Folder[1:]+"/"+filepath.Base(path), 0o755, data)
		if err != nil {
			return nil, fmt.Errorf("packing %s: %w", path, err)
		}
		all = append(all, layer)
	}
	return all, nil
}

// rootsFile is the first of the places where Go looks. A program started with SSL_CERT_DIR reads it and the folder.
const rootsFile = "etc/ssl/certs/ca-certificates.crt"

// rootsPEM are the authorities that Mozilla trusts without conditions; Go has no way to heed a condition in a file.
func rootsPEM() []byte {
	var out bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint != nil {
			continue
		}
		// Writing to a buffer does not fail.
		_ = pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate})
	}
	return out.Bytes()
}

// layerOf is one file, without anything that changes from build to build.
func layerOf(name string, mode int64, data []byte) (v1.Layer, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	header := &tar.Header{Name: name, Mode: mode, Size: int64(len(data)), ModTime: time.Unix(0, 0)}
	if err := w.WriteHeader(header); err != nil {
		return nil, err
	}
	if _, err := w.Write(data); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(out.Bytes())), nil },
		tarball.WithMediaType(types.OCILayer), tarball.WithCompressedCaching)
}
