// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"orlop.dev/orlop/test/e2e/stage"
	"orlop.dev/orlop/test/lab"
)

// pods is a manifest of pods bound to a node, from their names and specs.
func pods(node string, specs map[string]string) string {
	var all strings.Builder
	for name, spec := range specs {
		spec = strings.TrimSuffix(strings.TrimPrefix(spec, "{"), "}")
		fmt.Fprintf(&all, "---\n{apiVersion: v1, kind: Pod, metadata: {name: %s, namespace: default}, spec: {nodeName: %s, terminationGracePeriodSeconds: 0, %s}}\n", name, node, spec)
	}
	return all.String()
}

func awaitPod(t *testing.T, name, phase string) {
	t.Helper()
	stage.Eventually(t, "pod "+name+" to be "+phase, func() (bool, string) {
		got := kubectl(t, "get", "pod", name, "-o", "jsonpath={.status.phase} {.status.containerStatuses[*].state}")
		return strings.HasPrefix(got, phase+" "), got
	})
}

// createdContainer makes a container with crictl that was never started, as the kubelet has them for a moment.
func createdContainer(t *testing.T, c *lab.Cluster, node, image string) (sandbox, container string) {
	t.Helper()
	dir := t.TempDir()
	files := map[string]string{
		"pod.json":       `{"metadata": {"name": "created", "namespace": "default", "uid": "created-1", "attempt": 0}, "log_directory": "/tmp", "linux": {"cgroup_parent": "/` + node + `"}}`,
		"container.json": `{"metadata": {"name": "c"}, "image": {"image": "` + image + `"}, "log_path": "created.log"}`,
	}
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := c.Put(node, path, "/tmp/"+name); err != nil {
			t.Fatal(err)
		}
	}
	sandbox, err := c.Crictl(t.Context(), node, "runp", "/tmp/pod.json")
	if err != nil {
		t.Fatal(err)
	}
	sandbox = strings.TrimSpace(sandbox)
	container, err = c.Crictl(t.Context(), node, "create", "--no-pull", sandbox, "/tmp/container.json", "/tmp/pod.json")
	if err != nil {
		t.Fatal(err)
	}
	return sandbox, strings.TrimSpace(container)
}
