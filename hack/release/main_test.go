// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// testPlatform is the one whose nodes the tests make a release for: others take minutes each.
var testPlatform = platform{"linux", runtime.GOARCH}

func TestMain(m *testing.M) {
	code := m.Run()
	for _, folder := range folders {
		_ = os.RemoveAll(folder)
	}
	os.Exit(code)
}

// folders are removed at the end.
var folders []string

// made is a release, which the tests share.
type made struct{ folder, version string }

var makeOnce = sync.OnceValues(func() (made, error) { return makeFrom(context.Background(), "../..") })

func makeFrom(ctx context.Context, root string) (made, error) {
	top, err := os.MkdirTemp("", "orlop-release-test-")
	if err != nil {
		return made{}, err
	}
	folders = append(folders, top)
	m := made{folder: filepath.Join(top, "release")}
	say := func(format string, args ...any) {
		m.version, _, _ = strings.Cut(strings.TrimPrefix(fmt.Sprintf(format, args...), "release "), ": ")
	}
	return m, run(ctx, options{root: root, out: m.folder, platforms: []platform{testPlatform}, say: say})
}

func theRelease(t *testing.T) made {
	t.Helper()
	m, err := makeOnce()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// path is that of a file of the release; VERSION in its name is replaced.
func (m made) path(name string) string {
	return filepath.Join(m.folder, strings.ReplaceAll(name, "VERSION", m.version))
}

func (m made) read(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(m.path(name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// unpacked is what is in a tar.gz or a zip, by name.
func unpacked(t *testing.T, path string) map[string][]byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(path, ".zip") {
		return unzipped(t, data)
	}
	unpressed, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	have := map[string][]byte{}
	for r := tar.NewReader(unpressed); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return have
		}
		if err != nil {
			t.Fatal(err)
		}
		if have[header.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

func unzipped(t *testing.T, data []byte) map[string][]byte {
	t.Helper()
	archive, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	have := map[string][]byte{}
	for _, file := range archive.File {
		content, err := file.Open()
		if err != nil {
			t.Fatal(err)
		}
		if have[file.Name], err = io.ReadAll(content); err != nil {
			t.Fatal(err)
		}
	}
	return have
}
