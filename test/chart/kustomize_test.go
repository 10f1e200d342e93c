// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"orlop.dev/orlop/hack/manifests/chart"
)

const config = "../../config"

// What stands in config is what the chart gives now: people apply it from the repository, at any commit.
func TestKustomizeIsCurrent(t *testing.T) {
	c, err := chart.Load(folder, "")
	if err != nil {
		t.Fatal(err)
	}
	want, err := chart.Kustomize(c)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	err = filepath.WalkDir(config, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".yaml" {
			return err
		}
		text, err := os.ReadFile(path)
		relative, _ := filepath.Rel(config, path)
		got[relative] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for path, text := range want {
		if got[path] != string(text) {
			t.Errorf("config/%s is not what the chart gives now: make generate", path)
		}
		delete(got, path)
	}
	if len(got) > 0 {
		t.Errorf("config has %v, which nothing makes: make generate", slices.Sorted(maps.Keys(got)))
	}
}

// Kustomize makes of config what Helm makes of the chart, for the base and for each component, and for several at once.
func TestKustomizeIsTheChart(t *testing.T) {
	type row struct {
		components []string
		values     map[string]any
	}
	rows := map[string]row{"base": {}, "several": {
		[]string{"openshift", "pod-monitor", "two-controllers", "no-templates"},
		map[string]any{
			"openshift": true, "podMonitor": map[string]any{"enabled": true}, "controller": map[string]any{"replicas": 2}, "nodeJobs": map[string]any{"template": false},
		},
	}}
	for _, c := range chart.Components {
		rows[c.Name] = row{[]string{c.Name}, c.Values}
	}
	for label, r := range rows {
		t.Run(label, func(t *testing.T) {
			overlay := "resources: [" + absolute(t, "default") + "]\n"
			for i, name := range r.components {
				if i == 0 {
					overlay += "components:\n"
				}
				overlay += "- " + absolute(t, "components/"+name) + "\n"
			}
			c, err := chart.Load(folder, "")
			if err != nil {
				t.Fatal(err)
			}
			manifests, err := chart.InstallYAML(c, r.values)
			if err != nil {
				t.Fatal(err)
			}
			want, got := byName(t, manifests), byName(t, kustomize(t, overlay))
			if diff := gocmp.Diff(want, got); diff != "" {
				t.Errorf("the chart (-), Kustomize (+):\n%s", diff)
			}
			if len(got) < 20 {
				t.Errorf("only %d objects", len(got))
			}
		})
	}
}

// The images can be named anew in the usual way, and nothing else changes by it.
func TestKustomizeImages(t *testing.T) {
	overlay := "resources: [" + absolute(t, "default") + "]\n" + `images:
- {name: ghcr.io/orlop-dev/orlop-node, newName: mirror.example:5000/orlop/orlop-node, newTag: v9}
- {name: ghcr.io/orlop-dev/orlop-controller, newName: mirror.example:5000/orlop/orlop-controller, newTag: v9}
`
	out := string(kustomize(t, overlay))
	if strings.Contains(out, "ghcr.io/orlop-dev") || strings.Count(out, "image: mirror.example:5000/orlop/orlop-") != 2 {
		t.Errorf("the images are not those of the overlay:\n%s", out)
	}
}

// From a repository, as kubectl apply -k https://…//config/default?ref=v1 reads it.
func TestKustomizeFromARepository(t *testing.T) {
	repository := t.TempDir()
	for _, path := range []string{"config", "charts/orlop/files/crds"} {
		if err := os.CopyFS(filepath.Join(repository, path), os.DirFS(filepath.Join(config, "..", path))); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"init", "-q"}, {"add", "."}, {"-c", "user.name=a", "-c", "user.email=a@b.example", "commit", "-qm", "a"}, {"tag", "v1"}} {
		if out, err := exec.CommandContext(t.Context(), "git", append([]string{"-C", repository}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
	}
	base, component := "file://"+repository+"//config/default?ref=v1", "file://"+repository+"//config/components/k3s?ref=v1"
	out := string(kustomize(t, fmt.Sprintf("resources: [%q]\ncomponents: [%q]\n", base, component)))
	if !strings.Contains(out, "path: /run/k3s/containerd") || !strings.Contains(out, "name: orlop-controller") {
		t.Errorf("got %s", out)
	}
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(config, path))
	if err != nil {
		t.Fatal(err)
	}
	// Kustomize takes no absolute path: it is given from the root of the file system, where the overlays of these tests are, too.
	return path
}

// kustomize builds an overlay, which refers to folders by their whole path.
func kustomize(t *testing.T, overlay string) []byte {
	t.Helper()
	at := t.TempDir()
	up := strings.Repeat("../", strings.Count(at, "/"))
	overlay = strings.NewReplacer("resources: [/", "resources: ["+up, "- /", "- "+up).Replace(overlay)
	writeFile(t, filepath.Join(at, "kustomization.yaml"), overlay)
	made, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), at)
	if err != nil {
		t.Fatalf("%v\n%s", err, overlay)
	}
	out, err := made.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// byName are the objects of a stream.
func byName(t *testing.T, stream []byte) map[string]object {
	t.Helper()
	all := map[string]object{}
	for part := range bytes.SplitSeq(append([]byte("\n"), stream...), []byte("\n---\n")) {
		var o object
		if err := yaml.Unmarshal(part, &o); err != nil {
			t.Fatal(err)
		}
		if o == nil {
			continue
		}
		key := fmt.Sprintf("%s %v", name(o), at(o, "metadata.namespace"))
		if all[key] != nil {
			t.Errorf("%s is there twice", key)
		}
		all[key] = o
	}
	return all
}
