// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"debug/elf"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestChecksums: every file of the release is listed, with the checksum that it has.
func TestChecksums(t *testing.T) {
	m := theRelease(t)
	listed := map[string]bool{sumsFile: true}
	for line := range strings.Lines(string(m.read(t, sumsFile))) {
		sum, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		listed[name] = true
		if got, err := sumOf(m.path(name)); err != nil || got != sum {
			t.Errorf("%s has %s, not %s (%v)", name, got, sum, err)
		}
	}
	entries, err := os.ReadDir(m.folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if !listed[entry.Name()] {
			t.Errorf("%s is not listed", entry.Name())
		}
	}
	if len(listed) < 15 {
		t.Errorf("a release of %d files: %v", len(listed), listed)
	}
}

// TestSameBytesElsewhere: a clone in another place, with files of other times, gives the same bytes.
func TestSameBytesElsewhere(t *testing.T) {
	m := theRelease(t)
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	list, err := git(t.Context(), root, "ls-files", "--cached", "--others", "--exclude-standard")
	if err != nil {
		t.Fatal(err)
	}
	clone := filepath.Join(t.TempDir(), "some", "where", "else")
	for name := range strings.Lines(list) {
		name = strings.TrimSpace(name)
		data, err := os.ReadFile(filepath.Join(root, name))
		if os.IsNotExist(err) { // Deleted, and that not committed.
			continue
		}
		to := filepath.Join(clone, name)
		info, errInfo := os.Stat(filepath.Join(root, name))
		if err != nil || errInfo != nil || os.MkdirAll(filepath.Dir(to), 0o755) != nil || os.WriteFile(to, data, info.Mode()) != nil {
			t.Fatalf("copying %s: %v %v", name, err, errInfo)
		}
	}
	if out, err := exec.CommandContext(t.Context(), "cp", "-a", filepath.Join(root, ".git"), clone).CombinedOutput(); err != nil {
		t.Fatalf("copying the history: %v %s", err, out)
	}
	other, err := makeFrom(t.Context(), clone)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(m.read(t, sumsFile)), string(other.read(t, sumsFile))); diff != "" {
		t.Error(diff)
	}
}

// TestPrograms: each archive has a static program that names no folder of this machine, with the licence.
func TestPrograms(t *testing.T) {
	m := theRelease(t)
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{plugin, node, controller} {
		t.Run(name, func(t *testing.T) {
			have := unpacked(t, m.path(name+"_VERSION_"+testPlatform.file()+".tar.gz"))
			want := []string{"LICENSE", "README.md", name}
			if name == plugin {
				want = append(want, "kubectl_complete-orlop", "completions/_kubectl-orlop", "completions/kubectl-orlop.bash", "completions/kubectl-orlop.fish", "completions/kubectl-orlop.ps1")
			}
			slices.Sort(want)
			if diff := cmp.Diff(want, slices.Sorted(maps.Keys(have))); diff != "" {
				t.Error(diff)
			}
			program, err := elf.NewFile(bytes.NewReader(have[name]))
			if err != nil {
				t.Fatal(err)
			}
			for _, part := range program.Progs {
				if part.Type == elf.PT_INTERP || part.Type == elf.PT_DYNAMIC {
					t.Errorf("it is not static: %s", part.Type)
				}
			}
			if bytes.Contains(have[name], []byte(root)) {
				t.Errorf("%s names %s", name, root)
			}
			for file, text := range have {
				if strings.HasPrefix(file, "completions/") && !bytes.Contains(text, []byte("__complete")) {
					t.Errorf("%s is no completion", file)
				}
			}
		})
	}
}

// TestPluginKnowsItsVersion runs the plugin as it comes out of its archive.
func TestPluginKnowsItsVersion(t *testing.T) {
	m := theRelease(t)
	if testPlatform != here {
		t.Skipf("a program for %s does not run on %s", testPlatform, here)
	}
	path := filepath.Join(t.TempDir(), plugin)
	if err := os.WriteFile(path, unpacked(t, m.path(plugin+"_VERSION_"+testPlatform.file()+".tar.gz"))[plugin], 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), path, "version", "--client").Output()
	if err != nil || !strings.Contains(string(out), m.version) || !strings.Contains(string(out), registry+"/"+node+":"+m.version) {
		t.Errorf("%s does not name %s twice (%v)", out, m.version, err)
	}
}

func TestVersionOf(t *testing.T) {
	at := source{commit: "0123456789abcdef", time: time.Unix(1, 0)}
	changed := at
	changed.changed = true
	cases := map[string]struct {
		given string
		from  source
		want  string
		fails bool
	}{
		"a release":           {"v1.2.3", at, "v1.2.3", false},
		"a candidate":         {"v1.2.3-rc.1", at, "v1.2.3-rc.1", false},
		"the commit":          {"", at, "v0.0.0-g0123456789ab", false},
		"what is changed":     {"", changed, "v0.0.0-g0123456789ab.changed", false},
		"a release of it":     {"v1.2.3", changed, "", true},
		"without a v":         {"1.2.3", at, "", true},
		"short":               {"v1.2", at, "", true},
		"no tag of an image":  {"v1.2.3+more", at, "", true},
		"git's own":           {"v1.2.3-4-g0123456", at, "v1.2.3-4-g0123456", false},
		"into another folder": {"../v1.2.3", at, "", true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := versionOf(c.given, c.from)
			if got != c.want || (err != nil) != c.fails {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

func TestChoose(t *testing.T) {
	cases := map[string]struct {
		list  string
		want  int
		fails bool
	}{
		"all":       {"", 8, false},
		"two":       {"linux/arm,windows/amd64", 2, false},
		"unknown":   {"linux/riscv64", 0, true},
		"no nodes":  {"darwin/arm64", 0, true},
		"a missing": {"linux/arm,", 0, true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := choose(c.list)
			if len(got) != c.want || (err != nil) != c.fails {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
}

// TestOthersFilesStay: a folder with anything that is of no release is not touched.
func TestOthersFilesStay(t *testing.T) {
	folder := t.TempDir()
	for _, name := range []string{sumsFile, "thesis.txt"} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := empty(folder); err == nil || !strings.Contains(err.Error(), "thesis.txt") {
		t.Errorf("%v", err)
	}
	if entries, err := os.ReadDir(folder); err != nil || len(entries) != 2 {
		t.Errorf("%v, %v", entries, err)
	}
}
