// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package pack_test

import (
	"archive/zip"
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"orlop.dev/orlop/hack/release/pack"
)

var at = time.Date(2026, 11, 20, 19, 0, 0, 0, time.UTC)

// TestSameBytes: neither the order in which files are named nor their own times and modes count.
func TestSameBytes(t *testing.T) {
	files := func(mode os.FileMode) []pack.File {
		path := filepath.Join(t.TempDir(), "program")
		if err := os.WriteFile(path, []byte("code"), mode); err != nil {
			t.Fatal(err)
		}
		return []pack.File{{Name: "program", From: path, Program: true}, {Name: "README.md", Text: "words"}}
	}
	for _, name := range []string{"a.tar.gz", "a.zip"} {
		t.Run(name, func(t *testing.T) {
			var all [][]byte
			for _, mode := range []os.FileMode{0o600, 0o755} {
				list := files(mode)
				if mode == 0o755 {
					slices.Reverse(list)
				}
				path := filepath.Join(t.TempDir(), name)
				if err := pack.Write(path, at, list); err != nil {
					t.Fatal(err)
				}
				data, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, data)
			}
			if !bytes.Equal(all[0], all[1]) {
				t.Error("other bytes")
			}
		})
	}
}

// TestZip: what Windows unpacks has its time, and the program can be run.
func TestZip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.zip")
	if err := pack.Write(path, at, []pack.File{{Name: "program.exe", Text: "code", Program: true}}); err != nil {
		t.Fatal(err)
	}
	r, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if f := r.File[0]; f.Mode() != 0o755 || !f.Modified.Equal(at) {
		t.Errorf("%s %s", f.Mode(), f.Modified)
	}
}

func TestMissingFile(t *testing.T) {
	if err := pack.Write(filepath.Join(t.TempDir(), "a.tar.gz"), at, []pack.File{{Name: "x", From: "/none"}}); err == nil {
		t.Error("a file that is not there was packed")
	}
}
