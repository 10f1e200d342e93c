// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package chart

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

// caller is somebody who asks the API server.
type caller struct {
	t *testing.T
	// token is a ServiceAccount's; empty: the administrator.
	token string
}

func (c caller) kubectl(args ...string) (string, error) {
	c.t.Helper()
	var as []string
	if c.token != "" {
		server := kubectl(c.t, "config", "view", "--raw", "-o", "jsonpath={.clusters[0].cluster.server}")
		// Without the administrator's certificate, which would speak first.
		as = []string{"--kubeconfig", "/dev/null", "--server", server, "--insecure-skip-tls-verify", "--token", c.token}
	} else {
		as = []string{"--kubeconfig", cluster.Kubeconfig()}
	}
	out, err := exec.CommandContext(c.t.Context(), cluster.Program("kubectl"), append(as, args...)...).CombinedOutput()
	return string(out), err
}

// writeStatus is by server-side apply, as agents do: kubectl's patch would read the status first.
func (c caller) writeStatus(kind, node string) (string, error) {
	c.t.Helper()
	return c.kubectlIn(fmt.Sprintf(`{"apiVersion": "orlop.dev/v1alpha1", "kind": %q, "metadata": {"name": %q}, "status": {%s}}`,
		kind, node, map[string]string{"ImageStore": `"summary": "1/1"`, "ImageInventory": `"diskUse": "1%", "imageCount": 1`}[kind]),
		"apply", "--server-side", "--force-conflicts", "--subresource=status", "-f", "-")
}

func (c caller) kubectlIn(stdin string, args ...string) (string, error) {
	c.t.Helper()
	file := c.t.TempDir() + "/object.json"
	writeFile(c.t, file, stdin)
	for i, arg := range args {
		if arg == "-" {
			args[i] = file
		}
	}
	return c.kubectl(args...)
}

// tokenOf is the token of an agent's ServiceAccount, bound to its pod on a node as the kubelet asks for it; with no node
// to nothing.
func tokenOf(t *testing.T, node string) string {
	t.Helper()
	args := []string{"create", "token", "orlop-agent", "-n", namespace}
	if node != "" {
		var pod string
		await(t, "there is an agent on "+node, func() bool {
			pod = strings.TrimSpace(kubectl(t, "get", "pods", "-n", namespace, "-l", "app.kubernetes.io/component=agent",
				"--field-selector", "spec.nodeName="+node, "-o", "jsonpath={.items[*].metadata.name}"))
			return pod != "" && !strings.Contains(pod, " ")
		})
		args = append(args, "--bound-object-kind", "Pod", "--bound-object-name", pod)
	}
	return strings.TrimSpace(kubectl(t, args...))
}

// objectsOf makes a node's objects, as the controller does, owned by a Node.
func objectsOf(t *testing.T, node, owner string) {
	t.Helper()
	uid := kubectl(t, "get", "node", owner, "-o", "jsonpath={.metadata.uid}")
	for _, kind := range []string{"ImageStore", "ImageInventory"} {
		manifest := fmt.Sprintf(`{"apiVersion": "orlop.dev/v1alpha1", "kind": %q, "metadata": {"name": %q,
			"ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": %q, "uid": %q}]}}`, kind, node, owner, uid)
		if out, err := apply(t, manifest); err != nil {
			t.Fatal(out)
		}
	}
}

// What a node says of itself is written by that node's agent, and by nobody else.
func TestOnlyTheNodesAgentWritesItsStatus(t *testing.T) {
	clean(t)
	helmDoes(t, "v4", "install", "orlop", folder, "--create-namespace")
	t.Cleanup(func() {
		if _, err := cluster.Kubectl(context.WithoutCancel(t.Context()), "delete", "imagestores,imageinventories", "--all"); err != nil {
			t.Error(err)
		}
	})
	await(t, "the kinds are served", func() bool {
		_, err := cluster.Kubectl(t.Context(), "get", "imagestores,imageinventories")
		return err == nil
	})
	for _, node := range []string{"node1", "node2"} {
		objectsOf(t, node, node)
	}
	agent := caller{t, tokenOf(t, "node1")}
	unbound := caller{t, tokenOf(t, "")}
	admin := caller{t: t}
	for label, c := range map[string]struct {
		who        caller
		kind, node string
		want       string
	}{
		"its own store":             {agent, "ImageStore", "node1", ""},
		"its own inventory":         {agent, "ImageInventory", "node1", ""},
		"another node's store":      {agent, "ImageStore", "node2", "status of imagestores node2 is not for the agent of node node1 to write"},
		"another node's inventory":  {agent, "ImageInventory", "node2", "status of imageinventories node2 is not for the agent of node node1 to write"},
		"a token of no pod":         {unbound, "ImageStore", "node1", "needs a token that is bound to a pod on that node; this one names no node"},
		"the administrator":         {admin, "ImageStore", "node1", "is written by system:serviceaccount:orlop-system:orlop-agent on that node, not by"},
		"the administrator's other": {admin, "ImageInventory", "node2", "is written by system:serviceaccount:orlop-system:orlop-agent on that node, not by"},
		"a store that is not there": {agent, "ImageStore", "node9", "not found"},
	} {
		t.Run(label, func(t *testing.T) {
			var out string
			// A new policy takes effect within a moment.
			await(t, "the policy says what it should", func() bool {
				var err error
				c.who.t = t
				out, err = c.who.writeStatus(c.kind, c.node)
				return (err == nil) == (c.want == "") && strings.Contains(out, c.want)
			})
			if c.want != "" && c.want != "not found" && !strings.Contains(out, "Forbidden") {
				t.Errorf("the refusal is no Forbidden: %s", out)
			}
		})
	}
	if status := kubectl(t, "get", "validatingadmissionpolicy", "orlop-agent", "-o", "jsonpath={.status.typeChecking}"); strings.Contains(status, "warning") {
		t.Errorf("the policy's expressions: %s", status)
	}
	t.Run("a node made anew under its name", func(t *testing.T) { testNodeMadeAnew(t, agent) })
	t.Run("nothing else", func(t *testing.T) { testStolenToken(t, agent) })
}

// A token that outlived its node does not write to that node's successor.
func testNodeMadeAnew(t *testing.T, agent caller) {
	agent.t = t
	kubectl(t, "delete", "imagestore,imageinventory", "node1")
	// In the place of the successor's uid that of a node which is there: what an unknown one owns would be collected.
	objectsOf(t, "node1", "node2")
	out, err := agent.writeStatus("ImageStore", "node1")
	if err == nil || !strings.Contains(out, "status of imagestores node1 belongs to another node of that name") {
		t.Errorf("want a refusal, got %s", out)
	}
}

// With a stolen token of an agent: look at stores and inventories, and that is all.
func testStolenToken(t *testing.T, agent caller) {
	agent.t = t
	for _, args := range [][]string{
		{"get", "secrets", "-A"}, {"get", "secrets", "-n", namespace}, {"get", "pods", "-A"}, {"get", "nodes"}, {"get", "imagecaches", "-A"},
		{"delete", "imagestore", "node2"}, {"delete", "imageinventory", "node1"}, {"create", "configmap", "x"}, {"create", "token", "orlop-agent", "-n", namespace},
		{"patch", "imagestore", "node1", "--type=merge", "-p", `{"spec":{"retire":true}}`},
		{"patch", "imageinventory", "node1", "--type=merge", "-p", `{"metadata":{"labels":{"a":"b"}}}`},
	} {
		if out, err := agent.kubectl(args...); err == nil || !strings.Contains(out, "orbidden") {
			t.Errorf("kubectl %s: %s", strings.Join(args, " "), out)
		}
	}
	if out, err := agent.kubectlIn(`{"apiVersion":"orlop.dev/v1alpha1","kind":"ImageStore","metadata":{"name":"x"}}`, "create", "-f", "-"); err == nil {
		t.Errorf("it made a store: %s", out)
	}
	if out, err := agent.kubectl("get", "imagestores,imageinventories"); err != nil {
		t.Errorf("it may look: %s", out)
	}
}
