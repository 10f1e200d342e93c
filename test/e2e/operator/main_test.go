// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package operator proves the operator on a real cluster: what is on the nodes is asked of crictl, never of Orlop.
package operator

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/test/e2e/stage"
	"orlop.dev/orlop/test/lab"
)

// system is the namespace in which Orlop is installed.
const system = "orlop-system"

// nodes are those of the cluster.
var nodes = []string{"node1", "node2", "node3"}

// here is a cluster with the operator installed, which the tests share; each puts back what it changes.
var here = &stage.Stage{Options: lab.Options{Name: "operator", Nodes: len(nodes)}, Prepare: install}

func TestMain(m *testing.M) { here.Main(m) }

// install applies what the chart renders, and waits until every agent and the controller are ready.
func install(ctx context.Context, s *stage.Stage, cluster *lab.Cluster) error {
	ca, err := os.ReadFile(cluster.PrivateCA())
	if err != nil {
		return err
	}
	values, err := json.Marshal(map[string]any{
		"registry": stage.Registry, "image": map[string]any{"tag": stage.Tag, "pullPolicy": "Always"}, "registryCA": string(ca),
	})
	if err != nil {
		return err
	}
	file := filepath.Join(cluster.Dir(), "values.json")
	if err := os.WriteFile(file, values, 0o600); err != nil {
		return err
	}
	return s.Install(ctx, cluster, file)
}

func kubectl(t *testing.T, args ...string) string {
	t.Helper()
	return here.Kubectl(t, args...)
}

// get reads an object.
func get[T any](t *testing.T, kind, namespace, name string) T {
	t.Helper()
	args := []string{"get", kind, name, "-o", "json"}
	if namespace != "" {
		args = append(args, "-n", namespace)
	}
	var object T
	if err := json.Unmarshal([]byte(kubectl(t, args...)), &object); err != nil {
		t.Fatal(err)
	}
	return object
}

func cacheOf(t *testing.T, name string) v1alpha1.ImageCache {
	t.Helper()
	return get[v1alpha1.ImageCache](t, "imagecache", "default", name)
}

func storeOf(t *testing.T, node string) v1alpha1.ImageStore {
	t.Helper()
	return get[v1alpha1.ImageStore](t, "imagestore", "", node)
}

// cache applies an ImageCache of the namespace default, without taking it away at the end.
func cache(t *testing.T, name string, spec map[string]any) {
	t.Helper()
	object := map[string]any{
		"apiVersion": "orlop.dev/v1alpha1", "kind": "ImageCache",
		"metadata": map[string]any{"name": name, "namespace": "default"}, "spec": spec,
	}
	manifest, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	here.KubectlReads(t, string(manifest), "apply", "--server-side", "--force-conflicts", "-f", "-").Want(t, 0)
}

// kept is cache, and the cache goes when the test ends, with all that it brought.
func kept(t *testing.T, name string, spec map[string]any) {
	t.Helper()
	t.Cleanup(func() { gone(t, name) })
	cache(t, name, spec)
}

// gone deletes a cache and waits until no store speaks of it.
func gone(t *testing.T, name string) {
	t.Helper()
	here.KubectlReads(t, "", "delete", "imagecache", name, "-n", "default", "--ignore-not-found").Want(t, 0)
	stage.Eventually(t, "no store speaks of what "+name+" wanted", func() (bool, string) {
		var stores v1alpha1.ImageStoreList
		here.KubectlReads(t, "", "get", "imagestores", "-o", "json").Want(t, 0).Decode(t, &stores)
		left := []string{}
		for _, s := range stores.Items {
			for _, img := range s.Spec.Images {
				left = append(left, fmt.Sprintf("%s: %+v", s.Name, img))
			}
		}
		return len(left) == 0, strings.Join(left, "; ")
	})
}

// images is a list for a cache's spec.
func images(names ...string) []map[string]any {
	list := []map[string]any{}
	for _, name := range names {
		list = append(list, map[string]any{"image": name})
	}
	return list
}

func condition(c v1alpha1.ImageCache, kind string) metav1.Condition {
	for _, each := range c.Status.Conditions {
		if each.Type == kind {
			return each
		}
	}
	return metav1.Condition{}
}

// ready waits until the cache says that it is ready, as of its newest spec.
func ready(t *testing.T, name string) v1alpha1.ImageCache {
	t.Helper()
	return settled(t, name, "ready", func(c v1alpha1.ImageCache) bool {
		return condition(c, v1alpha1.ConditionReady).Status == metav1.ConditionTrue
	})
}

// settled waits until the cache, as of its newest spec, is as it should be.
func settled(t *testing.T, name, what string, is func(v1alpha1.ImageCache) bool) (c v1alpha1.ImageCache) {
	t.Helper()
	stage.Eventually(t, "the cache "+name+" is "+what, func() (bool, string) {
		c = cacheOf(t, name)
		words, _ := json.Marshal(c.Status)
		return c.Status.ObservedGeneration == c.Generation && is(c), string(words)
	})
	return c
}

// onNodes waits until crictl finds the name on just these of the cluster's nodes.
func onNodes(t *testing.T, name string, want ...string) {
	t.Helper()
	failed := t.Failed()
	defer func() {
		if t.Failed() && !failed {
			for _, node := range nodes {
				t.Logf("the store of %s: %+v", node, storeOf(t, node).Status)
			}
			t.Log(kubectl(t, "get", "pods", "-n", system, "-o", "wide"))
			t.Log(kubectl(t, "logs", "-n", system, "-l", "app.kubernetes.io/component=agent", "--prefix", "--tail=50"))
		}
	}()
	stage.Eventually(t, fmt.Sprintf("%s is on %v", name, want), func() (bool, string) {
		have := []string{}
		for _, node := range nodes {
			if here.HasTag(t, node, name) {
				have = append(have, node)
			}
		}
		return slices.Equal(have, want), fmt.Sprintf("it is on %v", have)
	})
}

// pinnedOn tells whether crictl calls the image pinned on a node.
func pinnedOn(t *testing.T, node, name string) bool {
	t.Helper()
	img, ok := here.Image(t, node, name)
	return ok && img.Pinned
}

// agentPod is the agent's pod of a node.
func agentPod(t *testing.T, node string) string {
	t.Helper()
	return strings.TrimSpace(kubectl(t, "get", "pods", "-n", system, "-l", "app.kubernetes.io/component=agent",
		"--field-selector", "spec.nodeName="+node, "-o", "jsonpath={.items[0].metadata.name}"))
}

// controllerPods are the pods of the controller.
func controllerPods(t *testing.T) []string {
	t.Helper()
	return strings.Fields(kubectl(t, "get", "pods", "-n", system, "-l", "app.kubernetes.io/component=controller", "-o", "jsonpath={.items[*].metadata.name}"))
}

// spare is a node that the controller is not on: what is done to it is done to its agent alone.
func spare(t *testing.T) string {
	t.Helper()
	busy := strings.Fields(kubectl(t, "get", "pods", "-n", system, "-l", "app.kubernetes.io/component=controller", "-o", "jsonpath={.items[*].spec.nodeName}"))
	return nodes[slices.IndexFunc(nodes, func(n string) bool { return !slices.Contains(busy, n) })]
}

// command is a program that is killed with the test.
func command(t *testing.T, program string, args ...string) *exec.Cmd {
	t.Helper()
	return exec.CommandContext(t.Context(), program, args...)
}

// untagged is a name without its tag; its host may have a port.
func untagged(name string) string { return name[:strings.LastIndex(name, ":")] }

// detached is a context that outlives the test, for what must be put back.
func detached(t *testing.T) context.Context { return context.WithoutCancel(t.Context()) }
