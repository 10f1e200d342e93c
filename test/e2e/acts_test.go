// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"orlop.dev/orlop/test/e2e/stage"
	"orlop.dev/orlop/test/lab"
)

// whereIs is which nodes have a tag, as crictl sees it.
func whereIs(t *testing.T, tag string) []string {
	t.Helper()
	var found []string
	for _, node := range nodes {
		if hasTag(t, node, tag) {
			found = append(found, node)
		}
	}
	return found
}

func TestPullAndRemoveEverywhere(t *testing.T) {
	leavesNothing(t)
	for _, node := range nodes {
		emptied(t, node, "docker.io/acts/")
	}
	spec := lab.ImageSpec{Layers: []lab.Layer{{Size: 100 << 10, Shared: "acts"}}}
	pushSpec(t, "docker.io/acts/a:1", spec)
	pushSpec(t, "docker.io/acts/a:2", spec)
	got := orlop(t, "pull", "acts/a:1", "acts/a:2", "acts/none:1").Want(t, 3)
	if diff := cmp.Diff(nodes, whereIs(t, "docker.io/acts/a:1")); diff != "" {
		t.Fatalf("after the pull: %s\n%s", diff, got)
	}
	if !strings.Contains(got.Out+got.Err, "NotFound") {
		t.Errorf("the missing image: %s", got)
	}
	orlop(t, "rm", "acts/a:1", "--yes", "-l", "kubernetes.io/hostname!=node3").Want(t, 0)
	if diff := cmp.Diff([]string{"node3"}, whereIs(t, "docker.io/acts/a:1")); diff != "" {
		t.Errorf("a:1 after its removal from two nodes: %s", diff)
	}
	if diff := cmp.Diff(nodes, whereIs(t, "docker.io/acts/a:2")); diff != "" {
		t.Errorf("a:2, which nobody named: %s", diff)
	}
	got = orlop(t, "rm", "acts/*", "--yes", "--force", "-o", "json").Want(t, 0)
	if left := whereIs(t, "docker.io/acts/a:2"); len(left) > 0 {
		t.Errorf("a:2 is left on %v\n%s", left, got)
	}
}

// A pod that is bound to a node and has not started is seen only through the API: here it waits for a ConfigMap.
func TestAnImageThatAPendingPodNamesIsSpared(t *testing.T) {
	leavesNothing(t)
	const image = "docker.io/pending/a:1"
	emptied(t, "node2", "docker.io/pending/")
	push(t, image)
	orlopNode(t, "node2", "pull", image).Want(t, 0)
	apply(t, pods("node2", map[string]string{"waiting": "containers: [{name: c, image: pending/a:1, imagePullPolicy: Never}], initContainers: [{name: i, image: pending/other:1}]"}))
	stage.Eventually(t, "the pod to wait", func() (bool, string) {
		got := kubectl(t, "get", "pod", "waiting", "-o", "jsonpath={.status.phase}{.status.initContainerStatuses[*].state.waiting.reason}")
		return strings.HasPrefix(got, "Pending") && strings.Contains(got, "Pull"), got
	})
	for _, args := range [][]string{{"rm", image}, {"rm", image, "--force"}, {"prune", "--all", "--force"}} {
		got := orlop(t, append(args, "--yes", "--node", "node2")...)
		if !hasTag(t, "node2", image) {
			t.Fatalf("%v took an image that a pod waits for: %s", args, got)
		}
		if args[0] == "rm" && !strings.Contains(got.Out+got.Err, "default/waiting") {
			t.Errorf("%v does not say which pod: %s", args, got)
		}
	}
}

func TestPruneEverywhereDoesWhatItsDryRunSaid(t *testing.T) {
	leavesNothing(t)
	var images []string
	for i := range 5 {
		images = append(images, fmt.Sprintf("docker.io/pruneall/a%d:1", i))
	}
	push(t, images...)
	for i, node := range nodes {
		emptied(t, node, "docker.io/pruneall/")
		orlopNode(t, node, append([]string{"pull"}, images[i:]...)...).Want(t, 0)
	}
	apply(t, pods("node1", map[string]string{"prunes": "containers: [{name: c, image: pruneall/a2:1}]"}))
	awaitPod(t, "prunes", "Running")
	flags := []string{"prune", "--match", "docker.io/pruneall/*", "--keep", "**/a4:*", "--force"}

	type nodePlan struct {
		Items []struct {
			Name string  `json:"name"`
			Plan removal `json:"plan"`
		} `json:"items"`
	}
	var planned nodePlan
	orlop(t, append(flags, "--dry-run", "-o", "json")...).Want(t, 0).Decode(t, &planned)
	want := map[string][]string{}
	for _, item := range planned.Items {
		for _, r := range item.Plan.Remove {
			want[item.Name] = append(want[item.Name], r.Image.Tags...)
		}
		slices.Sort(want[item.Name])
	}
	before := map[string][]string{}
	for _, node := range nodes {
		before[node] = tags(t, node)
	}
	orlop(t, append(flags, "--yes")...).Want(t, 0)
	vanished := map[string][]string{}
	for _, node := range nodes {
		after := tags(t, node)
		for _, tag := range before[node] {
			if !slices.Contains(after, tag) {
				vanished[node] = append(vanished[node], tag)
			}
		}
	}
	if diff := cmp.Diff(want, vanished); diff != "" {
		t.Errorf("what was planned, and what crictl sees gone: %s", diff)
	}
	if !hasTag(t, "node1", "docker.io/pruneall/a2:1") || len(want["node2"]) != 3 {
		t.Errorf("planned %v", want)
	}
}

func TestAPrivateRegistry(t *testing.T) {
	leavesNothing(t)
	const image = lab.PrivateHost + "/acts/a:1"
	push(t, image)
	auth := fmt.Sprintf(`{"auths": {%q: {"username": %q, "password": %q}}}`, lab.PrivateHost, lab.PrivateUser, lab.PrivatePassword)
	config := t.TempDir()
	if err := os.WriteFile(filepath.Join(config, "config.json"), []byte(auth), 0o600); err != nil {
		t.Fatal(err)
	}
	apply(t, fmt.Sprintf("{apiVersion: v1, kind: Secret, metadata: {name: regcred, namespace: default}, type: kubernetes.io/dockerconfigjson, stringData: {.dockerconfigjson: %q}}", auth))
	for name, tt := range map[string]struct {
		args []string
		env  string
		code int
	}{
		"without credentials":           {nil, "", 3},
		"with a Secret":                 {[]string{"--secret", "default/regcred"}, "", 0},
		"with the local docker config":  {nil, "DOCKER_CONFIG=" + config, 0},
		"with a Secret that is not one": {[]string{"--secret", "default/nothing"}, "", 1},
	} {
		t.Run(name, func(t *testing.T) {
			emptied(t, "node1", lab.PrivateHost)
			cmd := orlopCommand(t, append([]string{"pull", image, "--node", "node1"}, tt.args...)...)
			cmd.Env = append(cmd.Env, tt.env)
			got := stage.Run(t, cmd).Want(t, tt.code)
			if hasTag(t, "node1", image) != (tt.code == 0) {
				t.Errorf("the image is there: %v\n%s", tt.code != 0, got)
			}
			if strings.Contains(got.String(), lab.PrivatePassword) {
				t.Errorf("it prints the password: %s", got)
			}
			if tt.code == 3 && !strings.Contains(got.String(), "Unauthorized") {
				t.Errorf("it does not say why: %s", got)
			}
		})
	}
}

func TestAnUnknownImageIsReportedInSeconds(t *testing.T) {
	leavesNothing(t)
	begun := time.Now()
	got := orlop(t, "pull", "nobody/nothing:1").Want(t, 3)
	if took := time.Since(begun); took > 15*time.Second {
		t.Errorf("it took %s", took)
	}
	if !strings.Contains(got.String(), "NotFound") || !strings.Contains(got.String(), "not found") {
		t.Errorf("the registry's words are missing: %s", got)
	}
}

// On a full disk the kubelet refuses pods; ours must get in, and clean up.
func TestAFullDisk(t *testing.T) {
	leavesNothing(t)
	c := theCluster(t)
	const image = "docker.io/fulldisk/a:1"
	emptied(t, "node3", "docker.io/fulldisk/")
	pushSpec(t, image, lab.ImageSpec{Layers: []lab.Layer{{Size: 20 << 20}}})
	orlopNode(t, "node3", "pull", image).Want(t, 0)
	orlop(t, "list", "--node", "node3").Want(t, 0) // Brings the node image while there is room.
	if err := c.FillDisk(t.Context(), "node3", 97); err != nil {
		t.Fatal(err)
	}
	pressure := func() string {
		return kubectl(t, "get", "node", "node3", "-o", `jsonpath={.status.conditions[?(@.type=="DiskPressure")].status}`)
	}
	defer func() {
		if err := c.FreeDisk(t.Context(), "node3"); err != nil {
			t.Error(err)
		}
		stage.Eventually(t, "the pressure to end", func() (bool, string) { return pressure() == "False", pressure() })
	}()
	stage.Eventually(t, "the kubelet to report pressure", func() (bool, string) { return pressure() == "True", pressure() })
	got := orlop(t, "list", "--node", "node3", "-o", "csv").Want(t, 0)
	if !strings.Contains(got.Out, "pause") {
		t.Errorf("list under pressure: %s", got)
	}
	orlop(t, "rm", image, "--node", "node3", "--yes").Want(t, 0)
	if hasTag(t, "node3", image) {
		t.Error("the image is still there")
	}
}

func TestShell(t *testing.T) {
	leavesNothing(t)
	got := orlop(t, "shell", "node1", "--", "images", "-q").Want(t, 0)
	if want, err := theCluster(t).Crictl(t.Context(), "node1", "images", "-q"); err != nil || !sameLines(got.Out, want) {
		t.Errorf("crictl by shell:\n%s\ncrictl on the node:\n%s%v", got.Out, want, err)
	}
	if got := orlop(t, "shell", "node1", "--", "inspecti", "no-such-image"); got.Code == 0 {
		t.Errorf("crictl's failure is lost: %s", got)
	}
}

func sameLines(a, b string) bool {
	as, bs := strings.Fields(a), strings.Fields(b)
	slices.Sort(as)
	slices.Sort(bs)
	return len(as) > 0 && slices.Equal(slices.Compact(as), slices.Compact(bs))
}

func TestDrift(t *testing.T) {
	leavesNothing(t)
	const image = "docker.io/drifting/a:latest"
	for _, node := range nodes {
		emptied(t, node, "docker.io/drifting/")
	}
	pushSpec(t, image, lab.ImageSpec{Layers: []lab.Layer{{Size: 1 << 10}}, Seed: "old"})
	orlop(t, "pull", image, "--node", "node1,node2").Want(t, 0)
	orlop(t, "drift", image, "--offline", "--exit-code").Want(t, 0)
	pushSpec(t, image, lab.ImageSpec{Layers: []lab.Layer{{Size: 1 << 10}}, Seed: "new"})
	orlop(t, "pull", image, "--node", "node3").Want(t, 0)
	got := orlop(t, "drift", "--offline", "--exit-code").Want(t, 2)
	if !strings.Contains(got.Out, "docker.io/drifting/a:latest") || !strings.Contains(got.Out, "DRIFT") {
		t.Errorf("drift: %s", got)
	}
	orlop(t, "drift", "--offline").Want(t, 0)
}
