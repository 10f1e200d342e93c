// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package programs_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"orlop.dev/orlop/test/lab/internal/programs"
)

// TestVersions holds the names of versions to what the modules of the tools really build.
func TestVersions(t *testing.T) {
	modules := map[string]string{
		"kubernetes": "k8s.io/kubernetes", "etcd": "go.etcd.io/etcd/server/v3", "containerd": "github.com/containerd/containerd/v2",
		"registry": "github.com/distribution/distribution/v3", "crictl": "sigs.k8s.io/cri-tools", "moby": "github.com/moby/moby/v2",
	}
	for _, product := range slices.Concat(programs.Machine(), programs.Kubernetes(), programs.Docker()) {
		module, ok := modules[product.Name]
		if !ok {
			continue
		}
		delete(modules, product.Name)
		content, err := os.ReadFile(filepath.Join("../..", product.Dir, "go.mod"))
		if err != nil {
			t.Fatal(err)
		}
		required := regexp.MustCompile(regexp.QuoteMeta(module+" "+product.Version) + `\s`)
		if !required.Match(content) {
			t.Errorf("%s says %s, its go.mod does not", product.Name, product.Version)
		}
	}
	if len(modules) > 0 {
		t.Errorf("no product for %v", modules)
	}
}

// source makes a module of one program.
func source(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "tool/go.mod"), "module example.org/tool\n\ngo 1.26.0\n")
	write(t, filepath.Join(dir, "tool/main.go"), "package main\n\nfunc main() { print(\""+text+"\") }\n")
	return dir
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func product() programs.Product {
	return programs.Product{Name: "tool", Version: "v1.2.3", Dir: "tool", Programs: []programs.Program{{Name: "tool", Package: "."}}}
}

func TestEnsureBuildsOnce(t *testing.T) {
	dir, cache := source(t, "first"), t.TempDir()
	var mu sync.Mutex
	built := 0
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			builder := programs.Builder{Source: dir, Cache: cache, Progress: func(p programs.Progress) {
				mu.Lock()
				defer mu.Unlock()
				if p.Done {
					built++
				}
			}}
			paths, err := builder.Ensure(t.Context(), product())
			if err != nil {
				t.Error(err)
				return
			}
			if out, err := exec.Command(paths["tool"]).CombinedOutput(); err != nil || string(out) != "first" {
				t.Errorf("the program says %q, %v", out, err)
			}
		})
	}
	group.Wait()
	if built != 1 {
		t.Errorf("built %d times", built)
	}
}

func TestEnsureSeesChanges(t *testing.T) {
	dir, cache := source(t, "first"), t.TempDir()
	builder := programs.Builder{Source: dir, Cache: cache}
	first, err := builder.Paths(product())
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "tool/main.go"), "package main\n\nfunc main() { print(\"second\") }\n")
	source, err := builder.Paths(product())
	if err != nil {
		t.Fatal(err)
	}
	flagged := product()
	flagged.Tags = "other"
	flags, err := builder.Paths(flagged)
	if err != nil {
		t.Fatal(err)
	}
	if first["tool"] == source["tool"] || source["tool"] == flags["tool"] {
		t.Errorf("paths do not change with what is built: %v %v %v", first, source, flags)
	}
}

func TestEnsureSaysWhatIsWrong(t *testing.T) {
	dir := source(t, "first")
	write(t, filepath.Join(dir, "tool/main.go"), "package main\n\nfunc main() { unheardOf() }\n")
	builder := programs.Builder{Source: dir, Cache: t.TempDir()}
	if _, err := builder.Ensure(t.Context(), product()); err == nil || !strings.Contains(err.Error(), "unheardOf") {
		t.Errorf("building what does not compile: %v", err)
	}
	if _, err := builder.Ensure(t.Context(), programs.Product{Name: "gone", Dir: "gone"}); err == nil {
		t.Error("building what is not there: no error")
	}
}
