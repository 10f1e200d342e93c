// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"os/exec"
	"path/filepath"
	"testing"

	"orlop.dev/orlop/test/e2e/stage"
)

// TestDeletedAndAppliedAgain: kubectl delete of all the manifests, in whatever order that is, leaves nothing in the cluster and no pin
// on a node, and what is applied again works.
func TestDeletedAndAppliedAgain(t *testing.T) {
	name := at("undone/a:1")
	here.Push(t, name)
	kept(t, "undone", map[string]any{"images": images(name)})
	ready(t, "undone")
	cluster := here.Lab(t)
	render := exec.CommandContext(t.Context(), "go", "run", ".", "--values", filepath.Join(cluster.Dir(), "values.json"))
	render.Dir = filepath.Join(here.Root(), "hack", "manifests")
	manifests := stage.Run(t, render).Want(t, 0).Out
	t.Cleanup(func() { // Other tests follow.
		if err := install(detached(t), here, cluster); err != nil {
			t.Error(err)
		}
	})

	here.KubectlReads(t, manifests, "delete", "-f", "-").Want(t, 0)
	for _, node := range nodes {
		// Where the ImageCache went before its agent, the agent let the image go as it does for any cache.
		stage.Eventually(t, node+" holds the image no more", func() (bool, string) {
			img, ok := here.Image(t, node, name)
			return !ok || !img.Pinned, img.ID
		})
	}
	const kinds = "clusterroles,clusterrolebindings,validatingadmissionpolicies,validatingadmissionpolicybindings,customresourcedefinitions,namespaces"
	if left := kubectl(t, "get", "-o", "name", kinds, "-l", "app.kubernetes.io/part-of=orlop"); left != "" {
		t.Errorf("left are\n%s", left)
	}

	if err := install(t.Context(), here, cluster); err != nil {
		t.Fatal(err)
	}
	kept(t, "undone", map[string]any{"images": images(name)})
	ready(t, "undone")
	for _, node := range nodes {
		if !pinnedOn(t, node, name) {
			t.Errorf("%s does not hold it", node)
		}
		here.Emptied(t, node, at("undone/"))
	}
}
