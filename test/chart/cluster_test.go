// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package chart

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"orlop.dev/orlop/hack/manifests/chart"
	"orlop.dev/orlop/test/lab"
)

// patience is how long the cluster may take for what it always does in the end. The API server takes a kind away that was made
// a moment before only after tries that lie further and further apart: that was seen to take over a minute.
const patience = 4 * time.Minute

const namespace = chart.Namespace

var (
	start   sync.Once
	cluster *lab.Cluster
	startup error
	// helms are Helm's command lines by generation.
	helms = map[string]string{}
)

func TestMain(m *testing.M) {
	code := m.Run()
	if cluster != nil {
		if err := cluster.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "taking the cluster apart:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// theCluster is a cluster of two nodes that the tests of this package share; each puts back what it changes.
func theCluster(t *testing.T) *lab.Cluster {
	t.Helper()
	lab.Need(t)
	start.Do(func() { startup = setUp() })
	if startup != nil {
		t.Fatal(startup)
	}
	return cluster
}

func setUp() (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	for _, generation := range generations {
		if helms[generation], err = tool(ctx, "helm.sh/helm/"+generation+"/cmd/helm"); err != nil {
			return err
		}
	}
	if cluster, err = lab.Start(ctx, lab.Options{Name: "chart-test", Nodes: 2}); err != nil {
		return err
	}
	return standIns(ctx)
}

// tool is where Go keeps a tool of this module that it has built.
func tool(ctx context.Context, path string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "tool", "-n", path)
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("building %s: %w", path, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// standIns are images that do nothing in the place of Orlop's: here the chart is under test, and not what it starts.
func standIns(ctx context.Context) error {
	for image, entrypoint := range map[string][]string{
		"ghcr.io/orlop-dev/orlop-node:0.0.0-dev":       {"/guest", "say-and-wait"},
		"ghcr.io/orlop-dev/orlop-controller:0.0.0-dev": {"/guest", "print"},
		"ghcr.io/orlop-dev/orlop-controller:broken":    {"/guest", "no-such-word"},
	} {
		if _, err := cluster.PushImage(ctx, image, lab.ImageSpec{Entrypoint: entrypoint}); err != nil {
			return err
		}
	}
	return nil
}

// generations of Helm, both of which are in use.
var generations = []string{"v3", "v4"}

// helm runs Helm of a generation.
func helm(t *testing.T, generation string, args ...string) (string, error) {
	t.Helper()
	c := theCluster(t)
	cmd := exec.CommandContext(t.Context(), helms[generation], append(args, "--kubeconfig", c.Kubeconfig(), "--namespace", namespace)...)
	home := t.TempDir()
	cmd.Env = append(os.Environ(), "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home)
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("helm %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), err
}

// helmDoes runs Helm, and must succeed.
func helmDoes(t *testing.T, generation string, args ...string) {
	t.Helper()
	if _, err := helm(t, generation, args...); err != nil {
		t.Fatal(err)
	}
}

// kubectl must succeed.
func kubectl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := theCluster(t).Kubectl(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// apply gives a manifest to kubectl, and returns what it says.
func apply(t *testing.T, manifest string, args ...string) (string, error) {
	t.Helper()
	c := theCluster(t)
	cmd := exec.CommandContext(t.Context(), c.Program("kubectl"), append([]string{"--kubeconfig", c.Kubeconfig(), "apply", "-f", "-"}, args...)...)
	cmd.Stdin = strings.NewReader(manifest)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// await looks until it holds.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// kinds are all that the chart makes in any of its uses here.
const kinds = "clusterrole,clusterrolebinding,role,rolebinding,serviceaccount,daemonset,deployment,job,pod,service,configmap,resourcequota," +
	"validatingadmissionpolicy,validatingadmissionpolicybinding,controllerrevision,replicaset"

// ours are the objects of the chart that are in the cluster, as kind/name.
func ours(t *testing.T) []string {
	t.Helper()
	var all struct {
		Items []struct {
			Kind     string
			Metadata struct{ Name, DeletionTimestamp string }
		}
	}
	if err := json.Unmarshal([]byte(kubectl(t, "get", kinds+",crd", "-A", "-l", "app.kubernetes.io/part-of=orlop", "-o", "json")), &all); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, item := range all.Items {
		if item.Kind == "CustomResourceDefinition" && item.Metadata.DeletionTimestamp != "" {
			continue // It was deleted: how long the API server takes for a kind that was just made is its own affair.
		}
		names = append(names, item.Kind+"/"+item.Metadata.Name)
	}
	slices.Sort(names)
	return names
}

// onlyKindsAreLeft waits until nothing of the chart is in the cluster but these kinds.
func onlyKindsAreLeft(t *testing.T, want ...string) {
	t.Helper()
	var got []string
	defer func() {
		if t.Failed() {
			t.Logf("left: %v", got)
		}
	}()
	await(t, "nothing is left but "+strings.Join(want, " "), func() bool {
		got = ours(t)
		return slices.Equal(got, want)
	})
}

var ourKinds = []string{
	"CustomResourceDefinition/imagecaches.orlop.dev", "CustomResourceDefinition/imageinventories.orlop.dev", "CustomResourceDefinition/imagestores.orlop.dev",
	"CustomResourceDefinition/nodecronjobs.orlop.dev", "CustomResourceDefinition/nodejobs.orlop.dev",
}

// crds are the names of our kinds' definitions.
func crds() (names []string) {
	for _, kindName := range ourKinds {
		_, name, _ := strings.Cut(kindName, "/")
		names = append(names, name)
	}
	return names
}

// deleteKinds deletes our kinds, and waits until they have gone.
func deleteKinds(t *testing.T) {
	t.Helper()
	kubectl(t, slices.Concat([]string{"delete", "--ignore-not-found", "--wait=false", "crd"}, crds())...)
	looks := 0
	await(t, "the kinds go", func() bool {
		left := strings.Fields(kubectl(t, slices.Concat([]string{"get", "--ignore-not-found", "-o", "name", "crd"}, crds())...))
		// Of a kind that goes right after it came the API server may find that its storage is "(re)initializing". It tries again
		// later and later, up to a quarter of an hour, but for a change, which it looks at when it comes.
		if looks++; looks%30 == 0 && len(left) > 0 {
			_, err := cluster.Kubectl(t.Context(), slices.Concat([]string{"annotate", "--overwrite"}, left, []string{"looked-at=" + strconv.Itoa(looks)})...)
			t.Logf("%v still there after %d looks: %v", left, looks, err)
		}
		return len(left) == 0
	})
}

// clean makes sure that nothing is left of an earlier test. The namespace stays: to delete one takes seconds.
func clean(t *testing.T) {
	t.Helper()
	kubectl(t, "delete", kinds, "-n", namespace, "-l", "app.kubernetes.io/part-of=orlop", "--wait=false")
	deleteKinds(t)
	kubectl(t, "delete", "secret", "-n", namespace, "-l", "owner=helm")
	onlyKindsAreLeft(t)
}

// installYAML is what make manifests writes.
func installYAML(t *testing.T, version string) string {
	t.Helper()
	c, err := chart.Load(folder, version)
	if err != nil {
		t.Fatal(err)
	}
	out, err := chart.InstallYAML(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	return string(bytes.TrimSpace(out))
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
