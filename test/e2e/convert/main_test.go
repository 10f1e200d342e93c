// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package convert proves kubectl orlop convert on a real cluster: what people run today is converted by the real command, applied,
// and compared with what the original promises, on the nodes, by crictl and by files.
package convert

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/test/e2e/stage"
	"orlop.dev/orlop/test/lab"
)

// nodes are those of the cluster.
var nodes = []string{"node1", "node2", "node3"}

// here is a cluster with the operator installed, which the tests share; each puts back what it changes.
var here = &stage.Stage{Options: lab.Options{Name: "convert", Nodes: len(nodes)}, Prepare: stage.InstallOperator}

func TestMain(m *testing.M) { here.Main(m) }

// at is a name in the registry that pods and nodes alike reach.
func at(path string) string { return lab.PlainHost + "/" + path }

// converted is what the real command makes of a manifest, with its words on standard error; it must be taken by the API server.
func converted(t *testing.T, manifest string) (yaml, words string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "input.yaml")
	if err := os.WriteFile(file, []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	got := here.Orlop(t, "convert", "-f", file).Want(t, 0)
	t.Logf("%s", got)
	here.KubectlReads(t, got.Out, "apply", "--server-side", "--dry-run=server", "-f", "-").Want(t, 0)
	return got.Out, got.Err
}

// applied converts a manifest and applies what comes of it, which goes when the test ends.
func applied(t *testing.T, manifest string) (yaml, words string) {
	t.Helper()
	yaml, words = converted(t, manifest)
	here.Apply(t, yaml)
	return yaml, words
}

// onNodes waits until these nodes, and no others, hold the image, as crictl has it.
func onNodes(t *testing.T, image string, want ...string) {
	t.Helper()
	stage.Within(t, 2*stage.Patience, image+" is on "+strings.Join(want, ", ")+" alone", func() (bool, string) {
		var have []string
		for _, node := range nodes {
			if here.HasTag(t, node, image) {
				have = append(have, node)
			}
		}
		return slices.Equal(have, want), "it is on " + strings.Join(have, ", ")
	})
}

// cacheOf is an ImageCache of the namespace default.
func cacheOf(t *testing.T, name string) v1alpha1.ImageCache {
	t.Helper()
	return stage.Get[v1alpha1.ImageCache](t, here, "imagecaches.orlop.dev", "default", name)
}

// emptied takes what a test brought off the nodes.
func emptied(t *testing.T, prefix string) {
	t.Helper()
	for _, node := range nodes {
		here.Emptied(t, node, prefix)
	}
}
