// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package archive_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"orlop.dev/orlop/hack/image/archive"
	"orlop.dev/orlop/hack/image/static"
)

// imageOf is an image for some architectures, of a program that differs between them.
func imageOf(t *testing.T, architectures ...string) v1.ImageIndex {
	t.Helper()
	var images []v1.Image
	for _, arch := range architectures {
		path := filepath.Join(t.TempDir(), "program")
		if err := os.WriteFile(path, []byte("built for "+arch), 0o755); err != nil {
			t.Fatal(err)
		}
		img, err := static.Image(static.Content{Binaries: []string{path}, Platform: v1.Platform{OS: "linux", Architecture: arch}, Labels: map[string]string{"a": "b"}})
		if err != nil {
			t.Fatal(err)
		}
		images = append(images, img)
	}
	index, err := static.Index(images, map[string]string{"a": "b"})
	if err != nil {
		t.Fatal(err)
	}
	return index
}

func written(t *testing.T, index v1.ImageIndex) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image.tar")
	if err := archive.Write(path, "example.com/acme/program", "v1", index); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestRoundTrip: what is read is what was written, and writing it twice gives the same bytes.
func TestRoundTrip(t *testing.T) {
	index := imageOf(t, "amd64", "arm64")
	first, second := written(t, index), written(t, imageOf(t, "amd64", "arm64"))
	a, errA := os.ReadFile(first)
	b, errB := os.ReadFile(second)
	if err := errors.Join(errA, errB); err != nil || !bytes.Equal(a, b) {
		t.Errorf("the same image gives other bytes (%v)", err)
	}
	got, err := archive.Read(first, t.TempDir())
	if err != nil || len(got) != 1 {
		t.Fatalf("%d images: %v", len(got), err)
	}
	want, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if digest, err := got[0].Index.Digest(); err != nil || digest != want || got[0].Name != "example.com/acme/program:v1" {
		t.Errorf("%s is %s, want %s (%v)", got[0].Name, digest, want, err)
	}
}

// TestDockerReadsOnePlatform: what Docker without containerd's image store needs is there for one platform, and for several it
// would be a lie.
func TestDockerReadsOnePlatform(t *testing.T) {
	have := namesIn(t, written(t, imageOf(t, "amd64", "arm64")))
	if _, ok := have["manifest.json"]; ok {
		t.Error("several platforms are given to Docker as one")
	}
	have = namesIn(t, written(t, imageOf(t, "arm64")))
	var entries []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	if err := json.Unmarshal(have["manifest.json"], &entries); err != nil || len(entries) != 1 {
		t.Fatalf("%d entries: %v", len(entries), err)
	}
	if diff := cmp.Diff([]string{"example.com/acme/program:v1"}, entries[0].RepoTags); diff != "" {
		t.Error(diff)
	}
	for _, blob := range append(entries[0].Layers, entries[0].Config) {
		if len(have[blob]) == 0 {
			t.Errorf("%s is not in the archive", blob)
		}
	}
}

func namesIn(t *testing.T, path string) map[string][]byte {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	have := map[string][]byte{}
	for r := tar.NewReader(file); ; {
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

// TestNoArchive: what is no archive of ours is refused, and writes nothing outside the folder.
func TestNoArchive(t *testing.T) {
	cases := map[string]struct {
		files []tar.Header
		says  string
	}{
		"nothing":       {nil, "no such file"},
		"leads outside": {[]tar.Header{{Name: "../evil", Typeflag: tar.TypeReg}}, "no part of an image"},
		"a link":        {[]tar.Header{{Name: "index.json", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}}, "no part of an image"},
		"another file":  {[]tar.Header{{Name: "blobs/sha256/short", Typeflag: tar.TypeReg}}, "no part of an image"},
		"many files":    {make([]tar.Header, 1001), "more than 1000 files"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			top := t.TempDir()
			path := filepath.Join(top, "image.tar")
			var data bytes.Buffer
			w := tar.NewWriter(&data)
			for _, header := range c.files {
				if header.Name == "" {
					header = tar.Header{Name: "oci-layout", Typeflag: tar.TypeReg}
				}
				if err := w.WriteHeader(&header); err != nil {
					t.Fatal(err)
				}
			}
			if err := errors.Join(w.Close(), os.WriteFile(path, data.Bytes(), 0o600)); err != nil {
				t.Fatal(err)
			}
			_, err := archive.Read(path, filepath.Join(top, "folder"))
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v does not say %q", err, c.says)
			}
			if _, err := os.Lstat(filepath.Join(top, "evil")); err == nil {
				t.Error("a file was written outside the folder")
			}
		})
	}
}
