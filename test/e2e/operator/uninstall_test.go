// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"context"
	"slices"
	"strings"
	"testing"

	"orlop.dev/orlop/test/e2e/stage"
)

// TestUninstallWithANodeAway is the last of this package, since nothing is installed after it.
func TestUninstallWithANodeAway(t *testing.T) {
	name := at("uninstalled/a:1")
	here.Push(t, name)
	cache(t, "uninstalled", map[string]any{"images": images(name)})
	ready(t, "uninstalled")
	for _, node := range nodes {
		here.Emptied(t, node, at("uninstalled/"))
	}
	away := spare(t)
	cluster := here.Lab(t)
	if err := cluster.StopNode(t.Context(), away); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(detached(t), stage.Patience)
		defer cancel()
		if err := cluster.StartNode(ctx, away); err != nil {
			t.Error(err)
		} else if err := cluster.AwaitReady(ctx, away); err != nil {
			t.Error(err)
		}
		here.KubectlReads(t, "", "delete", "imagecache", "uninstalled", "-n", "default").Want(t, 0)
	})
	stage.Eventually(t, "the node's agent counts as away", func() (bool, string) {
		out := kubectl(t, "get", "pod", "-n", system, agentPod(t, away), "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`)
		return out == "False", out
	})

	got := here.Orlop(t, "uninstall", "--yes", "--timeout", "20s").Want(t, 3)
	if !strings.Contains(got.Err, away) {
		t.Errorf("the node that is away is not named: %s", got)
	}
	for _, node := range slices.DeleteFunc(slices.Clone(nodes), func(n string) bool { return n == away }) {
		if img, ok := here.Image(t, node, name); !ok || img.Pinned {
			t.Errorf("on %s the image is there: %v, pinned: %v", node, ok, img.Pinned)
		}
	}
	for _, kind := range []string{"imagestores", "imageinventories", "deployments,daemonsets -n " + system, "clusterroles,clusterrolebindings,validatingadmissionpolicies -l app.kubernetes.io/part-of=orlop"} {
		if left := kubectl(t, append([]string{"get", "-o", "name"}, strings.Fields(kind)...)...); left != "" {
			t.Errorf("left of %s:\n%s", kind, left)
		}
	}
}
