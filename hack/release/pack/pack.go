// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package pack writes archives whose bytes depend on nothing but the content of their files.
package pack

import (
	"archive/tar"
	"archive/zip"
	"cmp"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"
)

// File is one of an archive.
type File struct {
	Name string
	// From is the file with the content, unless Text is.
	From, Text string
	// Program: it can be run.
	Program bool
}

func (f File) mode() fs.FileMode {
	if f.Program {
		return 0o755
	}
	return 0o644
}

// open gives the content and its size.
func (f File) open() (io.ReadCloser, int64, error) {
	if f.From == "" {
		return io.NopCloser(strings.NewReader(f.Text)), int64(len(f.Text)), nil
	}
	file, err := os.Open(f.From)
	if err != nil {
		return nil, 0, err
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return nil, 0, err
	}
	return file, info.Size(), nil
}

// Write makes a tar.gz, or where the path ends so a zip, of files sorted by name, all of the same time.
func Write(path string, at time.Time, files []File) error {
	files = slices.SortedFunc(slices.Values(files), func(a, b File) int { return cmp.Compare(a.Name, b.Name) })
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	write := writeTar
	if strings.HasSuffix(path, ".zip") {
		write = writeZip
	}
	if err = errors.Join(write(out, at, files), out.Close()); err != nil {
		return fmt.Errorf("packing %s: %w", path, err)
	}
	return nil
}

func writeTar(out io.Writer, at time.Time, files []File) error {
	compressed := gzip.NewWriter(out)
	archive := tar.NewWriter(compressed)
	for _, f := range files {
		content, size, err := f.open()
		if err != nil {
			return err
		}
		// Whoever unpacks it as root gets files of root.
		header := &tar.Header{Name: f.Name, Mode: int64(f.mode()), Size: size, ModTime: at, Format: tar.FormatPAX}
		if err := copied(archive.WriteHeader(header), archive, content); err != nil {
			return err
		}
	}
	return errors.Join(archive.Close(), compressed.Close())
}

func writeZip(out io.Writer, at time.Time, files []File) error {
	archive := zip.NewWriter(out)
	for _, f := range files {
		content, _, err := f.open()
		if err != nil {
			return err
		}
		header := &zip.FileHeader{Name: f.Name, Method: zip.Deflate, Modified: at.UTC()}
		header.SetMode(f.mode())
		to, err := archive.CreateHeader(header)
		if err := copied(err, to, content); err != nil {
			return err
		}
	}
	return archive.Close()
}

// copied copies the content unless there was an error before, and closes it either way.
func copied(before error, to io.Writer, content io.ReadCloser) error {
	defer content.Close()
	if before != nil {
		return before
	}
	_, err := io.Copy(to, content)
	return err
}
