// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

const (
	// maxFiles and maxBytes bound what an archive may hold: those of a release have some 30 files of less than 100 MB.
	maxFiles = 1000
	maxBytes = 4 << 30
)

// Named is an image with the name that the archive gives it.
type Named struct {
	Name  string
	Index v1.ImageIndex
}

var allowed = regexp.MustCompile(`^(oci-layout|index\.json|manifest\.json|blobs/sha256/[0-9a-f]{64})$`)

// Read unpacks an archive into a folder, and gives the images in it. They are read from the folder as they are used.
func Read(path, folder string) ([]Named, error) {
	if err := unpack(path, folder); err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	all, err := namedIn(folder)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return all, nil
}

func namedIn(folder string) ([]Named, error) {
	top, err := layout.ImageIndexFromPath(folder)
	if err != nil {
		return nil, err
	}
	manifest, err := top.IndexManifest()
	if err != nil {
		return nil, err
	}
	var all []Named
	for _, d := range manifest.Manifests {
		name := d.Annotations[nameAnnotation]
		if name == "" || !d.MediaType.IsIndex() {
			return nil, fmt.Errorf("%s is no index of images with a name", d.Digest)
		}
		index, err := top.ImageIndex(d.Digest)
		if err != nil {
			return nil, err
		}
		all = append(all, Named{name, index})
	}
	if len(all) == 0 {
		return nil, errors.New("there is no image in it")
	}
	return all, nil
}

func unpack(path, folder string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	if err := os.MkdirAll(filepath.Join(folder, filepath.FromSlash(blobFolder)), 0o755); err != nil {
		return err
	}
	files, bytes := 0, int64(0)
	for archive := tar.NewReader(file); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("it is no archive of an image: %w", err)
		}
		files, bytes = files+1, bytes+header.Size
		switch {
		case files > maxFiles || bytes > maxBytes:
			return fmt.Errorf("it has more than %d files, or is larger than %d bytes", maxFiles, int64(maxBytes))
		case header.Typeflag != tar.TypeReg || !allowed.MatchString(header.Name):
			return fmt.Errorf("%q is no part of an image's layout", header.Name)
		}
		if err := put(filepath.Join(folder, filepath.FromSlash(header.Name)), archive); err != nil {
			return err
		}
	}
}

func put(path string, content io.Reader) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, content)
	return errors.Join(err, file.Close())
}
