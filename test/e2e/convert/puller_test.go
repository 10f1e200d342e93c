// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"encoding/json"
	"testing"

	"orlop.dev/orlop/test/lab"
)

// puller is the ConfigMap of kubernetes-image-puller.
func puller(t *testing.T, name string, data map[string]string) string {
	t.Helper()
	data["CACHING_INTERVAL_HOURS"], data["DAEMONSET_NAME"] = "1", "kubernetes-image-puller"
	data["CACHING_MEMORY_REQUEST"], data["CACHING_MEMORY_LIMIT"] = "10Mi", "20Mi"
	manifest, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": name, "namespace": "default"}, "data": data,
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(manifest)
}

func tainted(t *testing.T, node, taint string) {
	t.Helper()
	here.Kubectl(t, "taint", "node", node, taint)
	t.Cleanup(func() { here.KubectlReads(t, "", "taint", "node", node, taint+"-").Want(t, 0) })
}

// TestPuller: on the nodes where its DaemonSet's pods would be, images without a shell too, and they stay when it no longer wants them.
func TestPuller(t *testing.T) {
	a, scratch, private := at("puller/a:1"), at("puller/scratch:1"), lab.PrivateHost+"/puller/private:1"
	here.Push(t, a, private)
	here.PushSpec(t, scratch, lab.ImageSpec{Layers: []lab.Layer{{Size: 1 << 10}}})
	regcred(t, "puller-secret")
	emptied(t, at("puller/"))
	emptied(t, lab.PrivateHost+"/puller/")
	labelled(t, "node1", "pool=dev")
	labelled(t, "node2", "pool=dev")
	tainted(t, "node2", "dev=yes:NoSchedule")

	data := map[string]string{
		"IMAGES":             "a=" + a + ";scratch=" + scratch + "; private=" + private + ";broken;",
		"IMAGE_PULL_SECRETS": "puller-secret;",
		"NODE_SELECTOR":      `{"pool": "dev"}`,
		"TOLERATIONS":        `[{"key": "dev", "operator": "Equal", "value": "yes", "effect": "NoSchedule"}]`,
	}
	applied(t, puller(t, "pulled", data))
	for _, image := range []string{a, scratch, private} {
		onNodes(t, image, "node1", "node2")
	}
	until(t, "pulled", "ready", ready)

	t.Run("a taint that is not tolerated keeps its pods away", func(t *testing.T) {
		tainted(t, "node3", "other=yes:NoSchedule")
		labelled(t, "node3", "pool=dev")
		until(t, "pulled", "ready on two nodes", func(c cache) bool { return ready(c) && c.Status.DesiredNodes == 2 })
		onNodes(t, a, "node1", "node2")
	})
	t.Run("what leaves the list stays on the nodes", func(t *testing.T) {
		data["IMAGES"] = "scratch=" + scratch
		reapplied(t, puller(t, "pulled", data))
		until(t, "pulled", "ready with one image", func(c cache) bool { return ready(c) && c.Status.ImageCount == 1 })
		onNodes(t, a, "node1", "node2")
	})
	t.Run("and so it does when all goes", func(t *testing.T) {
		here.Kubectl(t, "delete", "imagecaches.orlop.dev", "pulled", "-n", "default")
		onNodes(t, scratch, "node1", "node2")
		onNodes(t, private, "node1", "node2")
	})
}
