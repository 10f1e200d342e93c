// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"orlop.dev/orlop/test/e2e/stage"
	"orlop.dev/orlop/test/lab"
)

// ready brings the cluster to where the page begins.
func ready(t *testing.T, cluster *lab.Cluster, wanted string) {
	t.Helper()
	installed := exists(t, cluster, "namespace/"+stage.Namespace)
	switch {
	case wanted == LabEmpty && installed:
		t.Fatal("the operator is installed in this cluster already, and the page wants an empty one: take another lab")
	case wanted == LabOperator && !installed:
		if err := operator(t.Context(), cluster); err != nil {
			t.Fatal(err)
		}
	}
}

// gone waits until namespaces of an earlier page that are being deleted are gone, if this one has any of the same name.
func gone(t *testing.T, cluster *lab.Cluster, page Page) {
	t.Helper()
	ending, err := cluster.Kubectl(t.Context(), "get", "namespaces", "-o", `jsonpath={.items[?(@.status.phase=="Terminating")].metadata.name}`)
	if err != nil {
		t.Fatal(err)
	}
	for namespace := range strings.FieldsSeq(ending) {
		if !page.names(namespace) {
			continue
		}
		if _, err := cluster.Kubectl(t.Context(), "wait", "namespace/"+namespace, "--for=delete", "--timeout="+stage.Patience.String()); err != nil {
			t.Fatal(err)
		}
	}
}

// settled waits until no container is left on a node of a pod that is gone: it would be told as one that uses its image.
// What pods ran in, their sandboxes, the kubelet clears away each minute only.
func settled(t *testing.T, cluster *lab.Cluster) {
	t.Helper()
	stage.Within(t, 2*stage.Patience, "no container of a pod that is gone is left", func() (bool, string) {
		known, err := cluster.Kubectl(t.Context(), "get", "pods", "--all-namespaces", "-o", "jsonpath={.items[*].metadata.uid}")
		if err != nil {
			return false, err.Error()
		}
		for _, node := range nodes {
			out, err := cluster.Crictl(t.Context(), node, "ps", "--all", "-o", "json")
			var there struct {
				Containers []struct{ Labels map[string]string }
			}
			if err == nil {
				err = json.Unmarshal([]byte(out), &there)
			}
			if err != nil {
				return false, err.Error()
			}
			for _, container := range there.Containers {
				if !strings.Contains(known, container.Labels["io.kubernetes.pod.uid"]) {
					return false, node + ": " + container.Labels["io.kubernetes.pod.name"]
				}
			}
		}
		return true, ""
	})
}

func exists(t *testing.T, cluster *lab.Cluster, object string) bool {
	t.Helper()
	out, err := cluster.Kubectl(context.WithoutCancel(t.Context()), "get", object, "--ignore-not-found", "-o", "name")
	return err == nil && strings.TrimSpace(out) != ""
}

// own tells whether a namespace belongs to the cluster, and not to a page.
func own(namespace, wanted string) bool {
	return strings.HasPrefix(namespace, "kube-") || namespace == "default" || namespace == stage.Namespace && wanted == LabOperator
}

// reset takes away what a page left: its objects, its namespaces and the images that it brought to nodes.
func reset(t *testing.T, cluster *lab.Cluster, wanted string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*stage.Patience)
	defer cancel()
	must := func(args ...string) string {
		t.Helper()
		out, err := cluster.Kubectl(ctx, args...)
		if err != nil {
			t.Errorf("putting the cluster back: %v", err)
		}
		return out
	}
	if wanted == LabOperator {
		must("delete", "imagecaches,nodejobs,nodecronjobs", "--all", "--all-namespaces", "--ignore-not-found")
	} else if exists(t, cluster, "crd/imagecaches.orlop.dev") {
		must("delete", "--ignore-not-found", "-f", manifests(cluster))
	}
	must("delete", "pods,daemonsets,deployments,jobs,secrets", "--all", "-n", "default", "--ignore-not-found", "--grace-period=1")
	for namespace := range strings.FieldsSeq(must("get", "namespaces", "-o", "jsonpath={.items[*].metadata.name}")) {
		if !own(namespace, wanted) {
			must("delete", "namespace", namespace, "--ignore-not-found", fmt.Sprintf("--wait=%t", wanted != LabOperator)) // It takes seconds; see gone.
		}
	}
	for _, node := range nodes {
		empty(ctx, t, cluster, node, wanted)
	}
}

// empty removes from a node what a page brought to it.
func empty(ctx context.Context, t *testing.T, cluster *lab.Cluster, node, wanted string) {
	t.Helper()
	foreign := func() (ids []string) {
		for _, image := range here.Images(t, node) {
			if !kept(image, wanted) {
				ids = append(ids, image.ID)
			}
		}
		return ids
	}
	ids := foreign()
	if len(ids) == 0 {
		return
	}
	_, err := cluster.Crictl(ctx, node, append([]string{"rmi"}, ids...)...)
	if err == nil {
		return
	}
	if left := foreign(); len(left) > 0 { // Else an agent was quicker.
		t.Errorf("putting %s back: %v", node, err)
	}
}

// kept tells whether an image is what the cluster had before the page.
func kept(image stage.Image, wanted string) bool {
	return slices.ContainsFunc(append(image.RepoTags, image.RepoDigests...), func(name string) bool {
		return strings.Contains(name, "/pause") || strings.HasPrefix(name, registry+"/orlop-node") ||
			wanted == LabOperator && strings.HasPrefix(name, registry+"/")
	})
}
