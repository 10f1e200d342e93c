// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package e2e proves Orlop's binaries on a real cluster in which nothing of Orlop is installed. It is a module of its
// own, so that nothing of the cluster enters the product.
package e2e

import (
	"context"
	"os/exec"
	"slices"
	"testing"

	"orlop.dev/orlop/test/e2e/stage"
	"orlop.dev/orlop/test/lab"
)

// nodes are those of the cluster.
var nodes = []string{"node1", "node2", "node3"}

// here is a cluster of three nodes that the tests of this package share; each puts back what it changes.
var here = &stage.Stage{Options: lab.Options{Name: "e2e", Nodes: len(nodes)}, Prepare: putNodeBinary}

func TestMain(m *testing.M) { here.Main(m) }

func putNodeBinary(_ context.Context, s *stage.Stage, cluster *lab.Cluster) error {
	for _, node := range nodes {
		if err := cluster.Put(node, s.Bin("orlop-node"), "/usr/local/bin/orlop-node"); err != nil {
			return err
		}
	}
	return nil
}

func theCluster(t *testing.T) *lab.Cluster {
	t.Helper()
	return here.Lab(t)
}

// orlopNode runs orlop-node on a node.
func orlopNode(t *testing.T, node string, args ...string) stage.Answer {
	t.Helper()
	cmd, err := theCluster(t).Command(t.Context(), node, append([]string{"/usr/local/bin/orlop-node"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	return stage.Run(t, cmd)
}

func orlopCommand(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	return here.OrlopCommand(t, args...)
}

func orlop(t *testing.T, args ...string) stage.Answer {
	t.Helper()
	return here.Orlop(t, args...)
}

func push(t *testing.T, images ...string) {
	t.Helper()
	here.Push(t, images...)
}

func pushSpec(t *testing.T, image string, spec lab.ImageSpec) string {
	t.Helper()
	return here.PushSpec(t, image, spec)
}

func kubectl(t *testing.T, args ...string) string {
	t.Helper()
	return here.Kubectl(t, args...)
}

func apply(t *testing.T, manifest string) {
	t.Helper()
	here.Apply(t, manifest)
}

func crictlImages(t *testing.T, node string) []stage.Image {
	t.Helper()
	return here.Images(t, node)
}

func tags(t *testing.T, node string) []string {
	t.Helper()
	return here.Tags(t, node)
}

func hasTag(t *testing.T, node, tag string) bool {
	t.Helper()
	return slices.Contains(tags(t, node), tag)
}

func emptied(t *testing.T, node, prefix string) {
	t.Helper()
	here.Emptied(t, node, prefix)
}
