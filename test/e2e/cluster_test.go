// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/csv"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"orlop.dev/orlop/test/e2e/stage"
	"orlop.dev/orlop/test/lab"
)

// ourPods are the pods that kubectl-orlop has made and not removed.
func ourPods(t *testing.T) []string {
	t.Helper()
	return strings.Fields(kubectl(t, "get", "pods", "-A", "-l", "app.kubernetes.io/managed-by=kubectl-orlop", "-o", "name"))
}

// leavesNothing fails the test if a pod of ours is left when it ends.
func leavesNothing(t *testing.T) {
	t.Cleanup(func() {
		out, err := theCluster(t).Kubectl(context.WithoutCancel(t.Context()), "get", "pods", "-A", "-l", "app.kubernetes.io/managed-by=kubectl-orlop", "-o", "name")
		if err != nil || strings.TrimSpace(out) != "" {
			t.Errorf("pods are left: %s (%v)", out, err)
		}
	})
}

// records reads CSV by the names in its first line.
func records(t *testing.T, text string) []map[string]string {
	t.Helper()
	rows, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil || len(rows) == 0 {
		t.Fatalf("not CSV: %v\n%s", err, text)
	}
	var all []map[string]string
	for _, row := range rows[1:] {
		record := map[string]string{}
		for i, name := range rows[0] {
			record[name] = row[i]
		}
		all = append(all, record)
	}
	return all
}

func TestListIsWhatCrictlSaysOnEachNode(t *testing.T) {
	leavesNothing(t)
	push(t, "docker.io/everywhere/a:1", "docker.io/everywhere/b:1")
	for i, node := range nodes {
		emptied(t, node, "docker.io/everywhere/")
		orlopNode(t, node, append([]string{"pull"}, []string{"everywhere/a:1", "everywhere/b:1"}[:1+i%2]...)...).Want(t, 0)
	}
	orlop(t, "list").Want(t, 0) // The first brings the node image.
	got := map[string][]string{}
	for _, row := range records(t, orlop(t, "list", "--per-node", "-o", "csv", "--no-trunc").Want(t, 0).Out) {
		if row["TAG"] != "<none>" {
			got[row["NODE"]] = append(got[row["NODE"]], row["IMAGE"]+":"+row["TAG"]+" "+row["ID"])
		}
	}
	want := map[string][]string{}
	for _, node := range nodes {
		for _, img := range crictlImages(t, node) {
			for _, tag := range img.RepoTags {
				want[node] = append(want[node], tag+" "+img.ID)
			}
		}
		slices.Sort(want[node])
		slices.Sort(got[node])
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("crictl and kubectl orlop differ: %s", diff)
	}
}

// Cordoned and tainted nodes are asked as well: the pod is bound to its node.
func TestListReachesCordonedAndTaintedNodes(t *testing.T) {
	leavesNothing(t)
	kubectl(t, "cordon", "node1")
	kubectl(t, "taint", "node", "node2", "sick=yes:NoExecute")
	defer kubectl(t, "uncordon", "node1")
	defer kubectl(t, "taint", "node", "node2", "sick-")
	seen := map[string]bool{}
	for _, row := range records(t, orlop(t, "list", "--per-node", "-o", "csv").Want(t, 0).Out) {
		seen[row["NODE"]] = true
	}
	if len(seen) != 3 {
		t.Errorf("nodes that answered: %v", seen)
	}
}

func TestThePodHasNothingButTheSocket(t *testing.T) {
	leavesNothing(t)
	c := theCluster(t)
	if err := c.AddFault(t.Context(), lab.Fault{Images: "docker.io/podspec/*", Stall: true}); err != nil {
		t.Fatal(err)
	}
	push(t, "docker.io/podspec/a:1")
	cmd := orlopCommand(t, "pull", "podspec/a:1", "--node", "node1")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }()
	defer func() { _ = cmd.Process.Signal(os.Interrupt) }()
	defer func() {
		if err := c.ClearFaults(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	stage.Eventually(t, "a pod of ours", func() (bool, string) { return len(ourPods(t)) == 1, fmt.Sprint(ourPods(t)) })
	const fields = `{.items[0].spec.hostNetwork}{.items[0].spec.hostPID}{.items[0].spec.hostIPC}|{.items[0].spec.automountServiceAccountToken}|` +
		`{.items[0].spec.volumes[*].hostPath.path} {.items[0].spec.volumes[*].hostPath.type}|{.items[0].spec.containers[0].securityContext}|` +
		`{.items[0].spec.securityContext}|{.items[0].spec.activeDeadlineSeconds}|{.items[0].spec.containers[0].args}|{.items[0].spec.containers[0].env}`
	parts := strings.Split(kubectl(t, "get", "pods", "-A", "-l", "app.kubernetes.io/managed-by=kubectl-orlop", "-o", "jsonpath="+fields), "|")
	if parts[0] != "" || parts[1] != "false" || parts[2] != "/run/containerd/containerd.sock Socket" {
		t.Errorf("host namespaces %q, token %q, of the host %q", parts[0], parts[1], parts[2])
	}
	for _, want := range []string{`"drop":["ALL"]`, `"readOnlyRootFilesystem":true`, `"allowPrivilegeEscalation":false`, `"type":"RuntimeDefault"`} {
		if !strings.Contains(parts[3]+parts[4], want) {
			t.Errorf("the security context lacks %s: %s %s", want, parts[3], parts[4])
		}
	}
	if strings.Contains(parts[3], `"privileged":true`) || parts[5] == "" || strings.Contains(parts[6], "podspec") || parts[7] != "" {
		t.Errorf("pod: %v", parts)
	}
}

// rights make a user with only the given rules, and give a kubeconfig of theirs.
func kubeconfigFor(t *testing.T, user, rules string) string {
	t.Helper()
	apply(t, fmt.Sprintf(`---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: %[1]s, namespace: default}}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: %[1]s}, rules: %[2]s}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: %[1]s}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: %[1]s}, subjects: [{kind: ServiceAccount, name: %[1]s, namespace: default}]}
`, user, rules))
	token := strings.TrimSpace(kubectl(t, "create", "token", user))
	path := filepath.Join(t.TempDir(), "kubeconfig")
	admin, err := os.ReadFile(theCluster(t).Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, admin, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"set-credentials", "them", "--token=" + token}, {"set-context", "--current", "--user=them"}} {
		cmd := exec.CommandContext(t.Context(), theCluster(t).Program("kubectl"), append([]string{"--kubeconfig", path, "config"}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	return path
}

func TestAMissingRightIsNamed(t *testing.T) {
	const (
		nodesRule = `{apiGroups: [""], resources: [nodes], verbs: [list]}`
		podsRule  = `{apiGroups: [""], resources: [pods], verbs: [create, list, watch, delete]}, {apiGroups: [""], resources: [events], verbs: [list, watch]}`
		attach    = `{apiGroups: [""], resources: [pods/attach], verbs: [create, get]}`
	)
	for name, tt := range map[string]struct {
		rules string
		says  []string
	}{
		"no nodes":  {`[` + podsRule + `]`, []string{"nodes", "auth can-i list nodes"}},
		"no pods":   {`[` + nodesRule + `]`, []string{"pods", "auth can-i"}},
		"no attach": {`[` + nodesRule + `, ` + podsRule + `]`, []string{"pods/attach"}},
	} {
		t.Run(name, func(t *testing.T) {
			leavesNothing(t)
			user := "lacks-" + strings.ReplaceAll(name, "no ", "")
			cmd := orlopCommand(t, "list", "--kubeconfig", kubeconfigFor(t, user, tt.rules))
			begun := time.Now()
			got := stage.Run(t, cmd)
			if got.Code == 0 {
				t.Errorf("it worked: %s", got)
			}
			for _, want := range tt.says {
				if !strings.Contains(got.Err+got.Out, want) {
					t.Errorf("it does not name %q: %s", want, got)
				}
			}
			if took := time.Since(begun); took > 20*time.Second {
				t.Errorf("it took %s to say so", took)
			}
		})
	}
	t.Run("all that it needs", func(t *testing.T) {
		leavesNothing(t)
		stage.Run(t, orlopCommand(t, "list", "--kubeconfig", kubeconfigFor(t, "has-enough", `[`+nodesRule+`, `+podsRule+`, `+attach+`]`))).Want(t, 0)
	})
}

func TestNonsenseIsRefusedBeforeAnythingHappens(t *testing.T) {
	leavesNothing(t)
	for name, tt := range map[string]struct {
		args []string
		says string
	}{
		"no image":              {[]string{"pull"}, "image"},
		"an empty image":        {[]string{"pull", ""}, "empty image reference"},
		"upper case":            {[]string{"pull", "Nginx"}, "lower-case"},
		"a shell's characters":  {[]string{"rm", "--yes", "nginx;reboot"}, "nginx;reboot"},
		"five thousand letters": {[]string{"pull", strings.Repeat("a", 5000)}, "5000 characters"},
		"an unknown flag":       {[]string{"list", "--filtr", "x"}, `did you mean`},
		"an unknown command":    {[]string{"purne"}, `prune`},
		"an unknown filter":     {[]string{"list", "--filter", "danling=true"}, `did you mean "dangling"?`},
		"an unknown node":       {[]string{"list", "--node", "node9"}, "node9"},
		"a bad selector":        {[]string{"list", "-l", "a=b=c"}, "a=b=c"},
		"no kubeconfig":         {[]string{"list", "--kubeconfig", "/nonexistent"}, "/nonexistent"},
		"no one to ask":         {[]string{"rm", "nginx"}, "--yes"},
	} {
		t.Run(name, func(t *testing.T) {
			got := orlop(t, tt.args...)
			if got.Code != 1 || !strings.Contains(got.Err, tt.says) || got.Out != "" {
				t.Errorf("want exit code 1 and %q\n%s", tt.says, got)
			}
		})
	}
}

func TestAnUnreachableClusterIsSaidSoon(t *testing.T) {
	begun := time.Now()
	got := orlop(t, "list", "--server", "https://127.0.0.1:9")
	if got.Code != 1 || !strings.Contains(got.Err, "127.0.0.1:9") {
		t.Errorf("%s", got)
	}
	if took := time.Since(begun); took > 15*time.Second {
		t.Errorf("it took %s", took)
	}
}

func TestACtrlCLeavesNothing(t *testing.T) {
	leavesNothing(t)
	c := theCluster(t)
	push(t, "docker.io/stalled/a:1")
	if err := c.AddFault(t.Context(), lab.Fault{Images: "docker.io/stalled/*", Only: "blobs", Stall: true}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.ClearFaults(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	cmd := orlopCommand(t, "pull", "stalled/a:1")
	var errs strings.Builder
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stage.Eventually(t, "three running pods of ours", func() (bool, string) {
		got := kubectl(t, "get", "pods", "-A", "-l", "app.kubernetes.io/managed-by=kubectl-orlop", "-o", "jsonpath={.items[*].status.phase}")
		return got == "Running Running Running", got
	})
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 130 {
		t.Errorf("it ended with %v, want exit code 130\n%s", err, errs.String())
	}
}

// A command line that is killed cannot clean up. Its pods end by themselves, and cleanup takes them away.
func TestAKilledCommandLineIsCleanedUpAfter(t *testing.T) {
	leavesNothing(t)
	c := theCluster(t)
	push(t, "docker.io/killed/a:1")
	if err := c.AddFault(t.Context(), lab.Fault{Images: "docker.io/killed/*", Only: "blobs", Stall: true}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.ClearFaults(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	cmd := orlopCommand(t, "pull", "killed/a:1")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stage.Eventually(t, "three running pods of ours", func() (bool, string) {
		got := kubectl(t, "get", "pods", "-A", "-l", "app.kubernetes.io/managed-by=kubectl-orlop", "-o", "jsonpath={.items[*].status.phase}")
		return got == "Running Running Running", got
	})
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	stage.Eventually(t, "the pods to end by themselves", func() (bool, string) {
		got := kubectl(t, "get", "pods", "-A", "-l", "app.kubernetes.io/managed-by=kubectl-orlop", "-o", "jsonpath={.items[*].status.phase}")
		return len(strings.Fields(got)) == 3 && !strings.Contains(got, "Running"), got
	})
	orlop(t, "cleanup", "--yes").Want(t, 0)
}

func TestTwoUsersAtOnce(t *testing.T) {
	leavesNothing(t)
	first, second := orlopCommand(t, "list"), orlopCommand(t, "list")
	var outs [2]strings.Builder
	first.Stdout, second.Stdout = &outs[0], &outs[1]
	for _, cmd := range []*exec.Cmd{first, second} {
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
	}
	for _, cmd := range []*exec.Cmd{first, second} {
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
	if !strings.Contains(outs[0].String(), "pause") || !strings.Contains(outs[1].String(), "pause") {
		t.Errorf("the two lists:\n%s\n%s", outs[0].String(), outs[1].String())
	}
}

func TestANodeThatIsAwayIsARow(t *testing.T) {
	leavesNothing(t)
	c := theCluster(t)
	if err := c.StopNode(t.Context(), "node3"); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.StartNode(t.Context(), "node3"); err != nil {
			t.Error(err)
		}
	}()
	// Before the cluster has noticed, the node is merely silent; afterwards it is NotReady. Both are rows.
	for _, state := range []string{"silent", "NotReady"} {
		if state == "NotReady" {
			stage.Eventually(t, "node3 to be NotReady", func() (bool, string) {
				got := kubectl(t, "get", "node", "node3", "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`)
				return got != "True", got
			})
		}
		begun := time.Now()
		got := orlop(t, "list", "--per-node", "-o", "csv").Want(t, 3)
		if !strings.Contains(got.Err, "node3") {
			t.Errorf("%s: it does not name node3: %s", state, got)
		}
		if !strings.Contains(got.Out, "node1,") || !strings.Contains(got.Out, "node2,") {
			t.Errorf("%s: the others' answers are missing: %s", state, got)
		}
		if took := time.Since(begun); took > 40*time.Second {
			t.Errorf("%s: it took %s", state, took)
		}
	}
}

func TestANodeThatStopsInTheMiddle(t *testing.T) {
	leavesNothing(t)
	c := theCluster(t)
	for _, node := range nodes {
		emptied(t, node, "docker.io/middle/")
	}
	pushSpec(t, "docker.io/middle/a:1", lab.ImageSpec{Layers: []lab.Layer{{Size: 8 << 20}}})
	if err := c.AddFault(t.Context(), lab.Fault{Images: "docker.io/middle/*", Only: "blobs", BytesPerSecond: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.ClearFaults(t.Context()); err != nil {
			t.Error(err)
		}
		if err := c.StartNode(t.Context(), "node2"); err != nil {
			t.Error(err)
		}
	}()
	cmd := orlopCommand(t, "pull", "middle/a:1", "--timeout", "90s")
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stage.Eventually(t, "three running pods of ours", func() (bool, string) {
		got := kubectl(t, "get", "pods", "-A", "-l", "app.kubernetes.io/managed-by=kubectl-orlop", "-o", "jsonpath={.items[*].status.phase}")
		return got == "Running Running Running", got
	})
	if err := c.StopNode(t.Context(), "node2"); err != nil {
		t.Fatal(err)
	}
	err := cmd.Wait()
	if cmd.ProcessState.ExitCode() != 3 {
		t.Errorf("it ended with %v, want exit code 3\n%s%s", err, &out, &errs)
	}
	for node, want := range map[string]bool{"node1": true, "node3": true} {
		if hasTag(t, node, "docker.io/middle/a:1") != want {
			t.Errorf("%s has the image: %v\n%s%s", node, !want, &out, &errs)
		}
	}
	if !strings.Contains(out.String()+errs.String(), "node2") {
		t.Errorf("it does not name node2\n%s%s", &out, &errs)
	}
}
