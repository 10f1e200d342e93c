// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"fmt"
	"testing"
	"time"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/test/e2e/stage"
	"orlop.dev/orlop/test/lab"
)

// TestSelection is image-puller's configuration, in our words: node selector, affinity, tolerations, images without anything to run.
func TestSelection(t *testing.T) {
	name := at("select/scratch:1")
	here.PushSpec(t, name, lab.ImageSpec{Program: lab.NoProgram, Layers: []lab.Layer{{Size: 50 << 10}}})
	label := func(node, value string) { kubectl(t, "label", "node", node, "pool="+value, "--overwrite") }
	label("node1", "web")
	label("node2", "web")
	t.Cleanup(func() { here.KubectlReads(t, "", "label", "nodes", "--all", "pool-", "zone-") })
	kept(t, "select", map[string]any{"images": images(name), "nodeSelector": map[string]any{"pool": "web"}})
	if c := ready(t, "select"); c.Status.Summary != "2/2" {
		t.Errorf("summary %s", c.Status.Summary)
	}
	onNodes(t, name, "node1", "node2")

	t.Run("a node gets the label", func(t *testing.T) {
		label("node3", "web")
		onNodes(t, name, nodes...)
	})
	t.Run("a node loses the label", func(t *testing.T) {
		kubectl(t, "label", "node", "node3", "pool-")
		onNodes(t, name, "node1", "node2")
	})
	t.Run("affinity narrows", func(t *testing.T) {
		kubectl(t, "label", "node", "node1", "zone=a")
		terms := map[string]any{"nodeSelectorTerms": []any{map[string]any{"matchExpressions": []any{map[string]any{"key": "zone", "operator": "In", "values": []any{"a"}}}}}}
		cache(t, "select", map[string]any{"images": images(name), "nodeSelector": map[string]any{"pool": "web"},
			"affinity": map[string]any{"nodeAffinity": map[string]any{"requiredDuringSchedulingIgnoredDuringExecution": terms}}})
		onNodes(t, name, "node1")
		if c := ready(t, "select"); c.Status.Summary != "1/1" {
			t.Errorf("summary %s", c.Status.Summary)
		}
	})
}

func TestTaintsAndCordonsReleaseNothing(t *testing.T) {
	first, second := at("taints/a:1"), at("taints/b:1")
	here.Push(t, first, second)
	t.Cleanup(func() {
		here.KubectlReads(t, "", "uncordon", "node1")
		here.KubectlReads(t, "", "taint", "nodes", "node2", "gpu-")
	})
	kept(t, "taints", map[string]any{"images": images(first)})
	ready(t, "taints")
	pulls := pullsOf(t, first)

	kubectl(t, "cordon", "node1")
	kubectl(t, "taint", "node", "node2", "gpu=yes:NoSchedule")
	settled(t, "taints", "counting the tainted node out", func(c v1alpha1.ImageCache) bool { return c.Status.DesiredNodes == 2 })
	cache(t, "taints", map[string]any{"images": images(first, second)})
	onNodes(t, second, "node3")
	settled(t, "taints", "waiting for the cordoned node", func(c v1alpha1.ImageCache) bool { return c.Status.UnavailableNodes == 1 })
	onNodes(t, first, nodes...)
	onNodes(t, second, "node3")

	kubectl(t, "uncordon", "node1")
	onNodes(t, second, "node1", "node3")
	kubectl(t, "taint", "node", "node2", "gpu-")
	onNodes(t, second, nodes...)
	ready(t, "taints")
	if again := pullsOf(t, first); again != pulls {
		t.Errorf("the image was asked of the registry %d times, then %d times", pulls, again)
	}
}

func TestATolerationLetsPullsStart(t *testing.T) {
	name := at("tolerate/a:1")
	here.Push(t, name)
	kubectl(t, "taint", "node", "node1", "gpu=yes:NoSchedule")
	t.Cleanup(func() { here.KubectlReads(t, "", "taint", "nodes", "node1", "gpu-") })
	kept(t, "tolerate", map[string]any{"images": images(name)})
	ready(t, "tolerate")
	onNodes(t, name, "node2", "node3")
	cache(t, "tolerate", map[string]any{"images": images(name), "tolerations": []any{map[string]any{"key": "gpu", "operator": "Exists"}}})
	onNodes(t, name, nodes...)
}

func TestANodeThatIsAway(t *testing.T) {
	first, second := at("away/a:1"), at("away/b:1")
	here.Push(t, first, second)
	kept(t, "away", map[string]any{"images": images(first)})
	ready(t, "away")
	pulls := pullsOf(t, first)
	away := spare(t)
	if err := here.Lab(t).StopNode(t.Context(), away); err != nil {
		t.Fatal(err)
	}
	started := false
	start := func() {
		if started {
			return
		}
		started = true
		if err := here.Lab(t).StartNode(t.Context(), away); err != nil {
			t.Fatal(err)
		}
		if err := here.Lab(t).AwaitReady(t.Context(), away); err != nil {
			t.Fatal(err)
		}
	}
	defer start()
	settled(t, "away", "counting the node as unavailable", func(c v1alpha1.ImageCache) bool { return c.Status.UnavailableNodes == 1 })
	cache(t, "away", map[string]any{"images": images(first, second)})
	settled(t, "away", "ready on the others", func(c v1alpha1.ImageCache) bool { return c.Status.ReadyNodes == 2 })
	start()
	onNodes(t, second, nodes...)
	onNodes(t, first, nodes...)
	ready(t, "away")
	if again := pullsOf(t, first); again != pulls {
		t.Errorf("coming back, the node pulled again: %d requests, then %d", pulls, again)
	}
}

// pullsOf counts what the nodes fetched of an image's content.
func pullsOf(t *testing.T, name string) (requests int) {
	t.Helper()
	counts, err := here.Lab(t).Counts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	repository := untagged(name)
	for _, count := range counts {
		if count.Image == repository && count.Kind == "blobs" {
			requests += count.Requests
		}
	}
	return requests
}

func TestANewNodeIsServed(t *testing.T) {
	name := at("new/a:1")
	here.Push(t, name)
	kept(t, "new", map[string]any{"images": images(name)})
	ready(t, "new")
	cluster := here.Lab(t)
	if _, err := cluster.AddNode(t.Context(), lab.NodeOptions{Name: "late"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cluster.RemoveNode(detached(t), "late"); err != nil {
			t.Error(err)
		}
		here.KubectlReads(t, "", "delete", "node", "late", "--ignore-not-found")
		stage.Eventually(t, "the store of a node that is gone goes too", func() (bool, string) {
			left := here.KubectlReads(t, "", "get", "imagestore", "late", "--ignore-not-found", "-o", "name").Out
			return left == "", left
		})
	})
	stage.Within(t, 2*time.Minute, "the new node has the image", func() (bool, string) {
		return here.HasTag(t, "late", name), fmt.Sprint(here.Tags(t, "late"))
	})
	settled(t, "new", "ready on four nodes", func(c v1alpha1.ImageCache) bool { return c.Status.Summary == "4/4" })
}

// TestPullAgainKeepsThePin: the kubelet's own second pull of a tag drops the mark from containerd's record of the tag.
func TestPullAgainKeepsThePin(t *testing.T) {
	name := at("again/a:1")
	here.Push(t, name)
	kept(t, "again", map[string]any{"images": images(name)})
	ready(t, "again")
	here.Apply(t, fmt.Sprintf(`{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "again", "namespace": "default"},
	  "spec": {"nodeName": "node1", "terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": %q, "imagePullPolicy": "Always"}]}}`, name))
	kubectl(t, "wait", "pod/again", "--for=condition=Ready", "--timeout=60s")
	if !pinnedOn(t, "node1", name) {
		t.Error("after the kubelet's pull the image is not pinned")
	}
}

// TestALostImageIsMended: somebody removes it behind Orlop's back.
func TestALostImageIsMended(t *testing.T) {
	name := at("lost/a:1")
	here.Push(t, name)
	kept(t, "lost", map[string]any{"images": images(name)})
	ready(t, "lost")
	if _, err := here.Lab(t).Crictl(t.Context(), "node2", "rmi", name); err != nil {
		t.Fatal(err)
	}
	onNodes(t, name, nodes...)
	stage.Eventually(t, "it is pinned again", func() (bool, string) { return pinnedOn(t, "node2", name), "it is not" })
}

// TestAFullDiskTakesTheOthers: the kubelet's own collection goes by the pins.
func TestAFullDiskTakesTheOthers(t *testing.T) {
	mine, others := at("full/kept:1"), at("full/other:1")
	here.Push(t, mine, others)
	kept(t, "full", map[string]any{"images": images(mine)})
	ready(t, "full")
	cluster := here.Lab(t)
	if _, err := cluster.Crictl(t.Context(), "node1", "pull", others); err != nil {
		t.Fatal(err)
	}
	if err := cluster.FillDisk(t.Context(), "node1", 95); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cluster.FreeDisk(detached(t), "node1"); err != nil {
			t.Error(err)
		}
		stage.Within(t, 3*time.Minute, "node1 recovers from its pressure", func() (bool, string) {
			out := here.KubectlReads(t, "", "get", "node", "node1", "-o", `jsonpath={.status.conditions[?(@.type=="DiskPressure")].status} {.spec.taints}`).Out
			return out == "False ", out
		})
	})
	stage.Within(t, 3*time.Minute, "the kubelet collects what nothing holds", func() (bool, string) {
		return !here.HasTag(t, "node1", others), fmt.Sprint(here.Tags(t, "node1"))
	})
	if !here.HasTag(t, "node1", mine) {
		t.Error("the kubelet took an image that the cache holds")
	}
}
