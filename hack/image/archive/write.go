// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package archive keeps images in one file: an OCI layout in a tar, as `ctr images import` takes it, and with one platform in it as
// `docker load` does.
package archive

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	// nameAnnotation is where containerd looks for an image's whole name, tagAnnotation where the layout's specification has its tag.
	nameAnnotation = "io.containerd.image.name"
	tagAnnotation  = "org.opencontainers.image.ref.name"

	layoutFile = "oci-layout"
	indexFile  = "index.json"
	// dockerFile is what a Docker without containerd's image store reads.
	dockerFile = "manifest.json"
	blobFolder = "blobs/sha256/"

	layoutVersion = `{"imageLayoutVersion":"1.0.0"}`
)

// Write puts the image under its name into a new file. The same image gives the same bytes.
func Write(path, name, tag string, index v1.ImageIndex) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	w := &writer{tar: tar.NewWriter(file), have: map[v1.Hash]bool{}}
	err = w.all(name+":"+tag, tag, index)
	if err = errors.Join(err, w.tar.Close(), file.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

type writer struct {
	tar  *tar.Writer
	have map[v1.Hash]bool
}

func (w *writer) all(name, tag string, index v1.ImageIndex) error {
	if err := w.file(layoutFile, []byte(layoutVersion)); err != nil {
		return err
	}
	raw, err := index.RawManifest()
	if err != nil {
		return err
	}
	digest, err := index.Digest()
	if err != nil {
		return err
	}
	top := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{{
		MediaType: types.OCIImageIndex, Digest: digest, Size: int64(len(raw)),
		Annotations: map[string]string{nameAnnotation: name, tagAnnotation: tag},
	}}}
	if err := w.json(indexFile, top); err != nil {
		return err
	}
	images, err := images(index)
	if err != nil {
		return err
	}
	if len(images) == 1 {
		if err := w.docker(name, images[0]); err != nil {
			return err
		}
	}
	if err := w.blob(digest, raw); err != nil {
		return err
	}
	for _, img := range images {
		if err := w.image(img); err != nil {
			return err
		}
	}
	return nil
}

func images(index v1.ImageIndex) ([]v1.Image, error) {
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	var all []v1.Image
	for _, d := range manifest.Manifests {
		img, err := index.Image(d.Digest)
		if err != nil {
			return nil, err
		}
		all = append(all, img)
	}
	return all, nil
}

// docker describes the one image in the words of `docker save`.
func (w *writer) docker(name string, img v1.Image) error {
	manifest, err := img.Manifest()
	if err != nil {
		return err
	}
	entry := struct {
		Config   string
		RepoTags []string
		Layers   []string
	}{blobFolder + manifest.Config.Digest.Hex, []string{name}, nil}
	for _, layer := range manifest.Layers {
		entry.Layers = append(entry.Layers, blobFolder+layer.Digest.Hex)
	}
	return w.json(dockerFile, []any{entry})
}

func (w *writer) image(img v1.Image) error {
	digest, err := img.Digest()
	if err != nil {
		return err
	}
	raw, err := img.RawManifest()
	if err != nil {
		return err
	}
	if err := w.blob(digest, raw); err != nil {
		return err
	}
	if digest, err = img.ConfigName(); err != nil {
		return err
	}
	if raw, err = img.RawConfigFile(); err != nil {
		return err
	}
	if err := w.blob(digest, raw); err != nil {
		return err
	}
	layers, err := img.Layers()
	if err != nil {
		return err
	}
	for _, layer := range layers {
		if err := w.layer(layer); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) layer(layer v1.Layer) error {
	digest, err := layer.Digest()
	if err != nil || w.have[digest] {
		return err
	}
	content, err := layer.Compressed()
	if err != nil {
		return err
	}
	defer func() { _ = content.Close() }()
	var data bytes.Buffer
	if _, err := io.Copy(&data, content); err != nil {
		return err
	}
	return w.blob(digest, data.Bytes())
}

func (w *writer) blob(digest v1.Hash, data []byte) error {
	if w.have[digest] {
		return nil
	}
	w.have[digest] = true
	return w.file(blobFolder+digest.Hex, data)
}

func (w *writer) json(name string, content any) error {
	data, err := json.Marshal(content)
	if err != nil {
		return err
	}
	return w.file(name, data)
}

func (w *writer) file(name string, data []byte) error {
	header := &tar.Header{Name: name, Mode: 0o644, Size: int64(len(data)), ModTime: time.Unix(0, 0)}
	if err := w.tar.WriteHeader(header); err != nil {
		return err
	}
	_, err := w.tar.Write(data)
	return err
}
