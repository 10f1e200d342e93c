// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package lab_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	lab "orlop.dev/orlop/test/lab"
)

// deadline is for what takes seconds on an idle machine and longer on a busy one.
const deadline = 2 * time.Minute

func start(t *testing.T, options lab.Options) *lab.Cluster {
	t.Helper()
	lab.Need(t)
	if options.Name == "" {
		options.Name = fmt.Sprintf("t%d", os.Getpid())
	}
	options.Progress = func(e lab.Event) { t.Logf("%6.1fs %s", e.Elapsed.Seconds(), e.Text) }
	c, err := lab.Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func eventually(t *testing.T, what string, ask func() bool) {
	t.Helper()
	for begin := time.Now(); !ask(); time.Sleep(100 * time.Millisecond) {
		if time.Since(begin) > deadline {
			t.Fatalf("no %s within %s", what, deadline)
		}
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func kubectl(t *testing.T, c *lab.Cluster, args ...string) string {
	t.Helper()
	out, err := c.Kubectl(t.Context(), args...)
	ok(t, err)
	return out
}

func push(t *testing.T, c *lab.Cluster, image string, spec lab.ImageSpec) string {
	t.Helper()
	digest, err := c.PushImage(t.Context(), image, spec)
	ok(t, err)
	return digest
}

// condition is the status of a node's condition.
func condition(t *testing.T, c *lab.Cluster, node, kind string) string {
	t.Helper()
	out, err := c.Kubectl(t.Context(), "get", "node", node, "-o", `jsonpath={.status.conditions[?(@.type=="`+kind+`")].status}`)
	ok(t, err)
	return out
}

// TestCluster goes through one cluster, as starting one for each part would take longer than the parts.
func TestCluster(t *testing.T) {
	begin := time.Now()
	c := start(t, lab.Options{Nodes: 3, Node: lab.NodeOptions{Labels: map[string]string{"lab": "yes"}}})
	t.Logf("three nodes after %s", time.Since(begin).Round(time.Millisecond))
	for _, part := range []struct {
		name string
		run  func(*testing.T, *lab.Cluster)
	}{
		{"nodes", testNodes}, {"pods", testPods},
		{"registries", testRegistries}, {"tags", testTags}, {"faults", testFaults},
		{"engine", testEngine}, {"kubelet and network", testSilence}, {"power", testPower},
		{"disk", testDisk}, {"add and remove", testAddRemove}, {"API server", testAPIServer},
		{"misuse", testMisuse},
	} {
		t.Run(part.name, func(t *testing.T) { part.run(t, c) })
	}
}

func testNodes(t *testing.T, c *lab.Cluster) {
	var nodes struct {
		Items []struct {
			Metadata struct{ Name string }
		}
	}
	ok(t, json.Unmarshal([]byte(kubectl(t, c, "get", "nodes", "-l", "lab=yes", "-o", "json")), &nodes))
	if len(nodes.Items) != 3 {
		t.Fatalf("%d nodes, want 3", len(nodes.Items))
	}
	for _, n := range nodes.Items {
		if got := condition(t, c, n.Metadata.Name, "Ready"); got != "True" {
			t.Errorf("%s has Ready %s", n.Metadata.Name, got)
		}
	}
	// A controller that saw a node in its first moment may taint it once more, for as long as its period.
	eventually(t, "nodes without taints", func() bool {
		return kubectl(t, c, "get", "nodes", "-o", "jsonpath={.items[*].spec.taints}") == ""
	})
	status, err := c.Status(t.Context())
	ok(t, err)
	if !status.Up || len(status.Down) > 0 || len(status.Nodes) != 3 {
		t.Errorf("status %+v", status)
	}
}

func testPods(t *testing.T, c *lab.Cluster) {
	push(t, c, "docker.io/acme/web:1", lab.ImageSpec{Layers: []lab.Layer{{Size: 1 << 20}}})
	for _, node := range []string{"node1", "node2"} {
		kubectl(t, c, "run", "web-"+node, "--image=docker.io/acme/web:1", "--overrides",
			fmt.Sprintf(`{"spec":{"nodeName":%q,"terminationGracePeriodSeconds":0}}`, node), "--", "say-and-wait", "hello from "+node)
	}
	kubectl(t, c, "wait", "--for=condition=Ready", "pod", "--all", "--timeout=90s")
	if got := kubectl(t, c, "logs", "web-node1"); got != "hello from node1\n" {
		t.Errorf("logs %q", got)
	}
	if got := kubectl(t, c, "exec", "web-node2", "--", "/guest", "print", "inside"); got != "inside\n" {
		t.Errorf("exec %q", got)
	}
	for _, target := range []string{"10.96.0.1:443", "kubernetes.default.svc:443", "private.lab:5443"} {
		if got := kubectl(t, c, "exec", "web-node1", "--", "/guest", "dial", target); !strings.HasPrefix(got, "reached ") {
			t.Errorf("dial %s from a pod: %q", target, got)
		}
	}
	eventually(t, "pods gone", func() bool {
		kubectl(t, c, "delete", "pod", "--all", "--now")
		return kubectl(t, c, "get", "pods", "-o", "name") == ""
	})
}

func testEngine(t *testing.T, c *lab.Cluster) {
	ok(t, c.StopEngine(t.Context(), "node2"))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := c.Crictl(ctx, "node2", "--timeout", "2s", "images"); err == nil {
		t.Error("crictl answers without containerd")
	}
	eventually(t, "node2 NotReady", func() bool { return condition(t, c, "node2", "Ready") != "True" })
	ok(t, c.StartEngine(t.Context(), "node2"))
	_, err := c.Crictl(t.Context(), "node2", "images")
	ok(t, err)
	ok(t, c.AwaitReady(t.Context(), "node2"))
}

func testSilence(t *testing.T, c *lab.Cluster) {
	ok(t, c.StopKubelet(t.Context(), "node1"))
	ok(t, c.CutNetwork(t.Context(), "node2"))
	for _, node := range []string{"node1", "node2"} {
		eventually(t, node+" silent", func() bool { return condition(t, c, node, "Ready") == "Unknown" })
	}
	// What is cut off is the network, not the machine.
	_, err := c.Crictl(t.Context(), "node2", "images")
	ok(t, err)
	ok(t, c.StartKubelet(t.Context(), "node1"))
	ok(t, c.RestoreNetwork(t.Context(), "node2"))
	ok(t, c.AwaitReady(t.Context(), "node1"))
	ok(t, c.AwaitReady(t.Context(), "node2"))
}

func testPower(t *testing.T, c *lab.Cluster) {
	push(t, c, "docker.io/acme/kept:1", lab.ImageSpec{})
	_, err := c.Crictl(t.Context(), "node3", "pull", "docker.io/acme/kept:1")
	ok(t, err)
	ok(t, c.StopNode(t.Context(), "node3"))
	if _, err := c.Exec(t.Context(), "node3", "true"); err == nil {
		t.Error("a node without power runs commands")
	}
	eventually(t, "node3 silent", func() bool { return condition(t, c, "node3", "Ready") == "Unknown" })
	ok(t, c.StartNode(t.Context(), "node3"))
	out, err := c.Crictl(t.Context(), "node3", "images")
	ok(t, err)
	if !strings.Contains(out, "docker.io/acme/kept") {
		t.Errorf("the disk forgot its images: %s", out)
	}
	// A node that was away for a moment still counts as ready, by the words of the kubelet that has ended.
	ok(t, c.StopNode(t.Context(), "node3"))
	begun := time.Now()
	ok(t, c.StartNode(t.Context(), "node3"))
	said, err := time.Parse(time.RFC3339, kubectl(t, c, "get", "node", "node3", "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].lastHeartbeatTime}`))
	ok(t, err)
	if said.Before(begun) || condition(t, c, "node3", "Ready") != "True" {
		t.Errorf("started at %s, it is back, and its kubelet's last word is of %s", begun, said)
	}
}

func testDisk(t *testing.T, c *lab.Cluster) {
	ok(t, c.FillDisk(t.Context(), "node1", 95))
	begin := time.Now()
	eventually(t, "disk pressure", func() bool { return condition(t, c, "node1", "DiskPressure") == "True" })
	t.Logf("disk pressure after %s", time.Since(begin).Round(time.Second))
	out, err := c.Exec(t.Context(), "node1", "df", "--output=pcent", "/var/lib/containerd")
	ok(t, err)
	if !strings.Contains(out, "95%") {
		t.Errorf("df after filling to 95%%: %s", out)
	}
	ok(t, c.FreeDisk(t.Context(), "node1"))
	eventually(t, "no disk pressure", func() bool { return condition(t, c, "node1", "DiskPressure") == "False" })
}

func testAddRemove(t *testing.T, c *lab.Cluster) {
	added, err := c.AddNode(t.Context(), lab.NodeOptions{
		Name: "small", DiskSize: 512 << 20, Kubelet: map[string]any{"maxPods": 5},
	})
	ok(t, err)
	if !added.Running || condition(t, c, "small", "Ready") != "True" {
		t.Errorf("added node %+v", added)
	}
	if got := kubectl(t, c, "get", "node", "small", "-o", "jsonpath={.status.capacity.pods}"); got != "5" {
		t.Errorf("room for %s pods, want 5", got)
	}
	if _, err := c.AddNode(t.Context(), lab.NodeOptions{Name: "small"}); err == nil {
		t.Error("two nodes of one name")
	}
	ok(t, c.RemoveNode(t.Context(), "small"))
	if got := kubectl(t, c, "get", "nodes", "-o", "name"); strings.Contains(got, "small") {
		t.Errorf("removed, and still there: %s", got)
	}
	if _, err := os.Stat(c.NodeDir("small")); !os.IsNotExist(err) {
		t.Errorf("the folder of a removed node: %v", err)
	}
}

func testAPIServer(t *testing.T, c *lab.Cluster) {
	ok(t, c.RestartAPIServer(t.Context()))
	if got := strings.Count(kubectl(t, c, "get", "nodes", "-o", "name"), "node/"); got != 3 {
		t.Errorf("%d nodes after a restart of the API server", got)
	}
}

func testMisuse(t *testing.T, c *lab.Cluster) {
	if _, err := lab.Start(t.Context(), lab.Options{Name: c.Name()}); err == nil || !strings.Contains(err.Error(), lab.ErrUp.Error()) {
		t.Errorf("starting what is up: %v", err)
	}
	again, err := lab.Attach(t.Context(), c.Name())
	ok(t, err)
	if again.Kubeconfig() != c.Kubeconfig() || again.Registry() != c.Registry() {
		t.Error("attached to something else")
	}
	for what, err := range map[string]error{
		"no such node":     c.StopNode(t.Context(), "nobody"),
		"path as a name":   c.FreeDisk(t.Context(), "../../etc"),
		"too full":         c.FillDisk(t.Context(), "node1", 101),
		"fault for what":   c.AddFault(t.Context(), lab.Fault{Only: "tags", Status: 500}),
		"fault of nothing": c.AddFault(t.Context(), lab.Fault{Images: "*"}),
		"no image name":    c.DeleteImage(t.Context(), "UPPER/case"),
	} {
		if err == nil {
			t.Errorf("%s: no error", what)
		}
	}
}
