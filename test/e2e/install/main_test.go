// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package install proves, with real nodes and the real images, that Orlop comes and goes by Helm 3, Helm 4 and Kustomize, and what
// it leaves: on the nodes nothing, in the cluster what is meant to stay.
package install

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"orlop.dev/orlop/test/e2e/stage"
	"orlop.dev/orlop/test/lab"
)

// nodes are those of the cluster.
var nodes = []string{"node1", "node2"}

// upgraded is a second version of Orlop's images.
const upgraded = "e2e-next"

// here is a cluster into which each test brings Orlop, and out of which it takes it.
var here = &stage.Stage{Options: lab.Options{Name: "install", Nodes: len(nodes)}, Prepare: func(ctx context.Context, s *stage.Stage, cluster *lab.Cluster) error {
	return stage.PushOwn(ctx, cluster, s.Root(), upgraded)
}}

func TestMain(m *testing.M) { here.Main(m) }

// settings are what an upgrade changes.
type settings struct {
	tag     string
	atOnce  int
	replace bool // there is an installation to be changed
}

// way is one way of installing.
type way struct {
	// apply installs or upgrades, and returns when all is ready by its own measure.
	apply func(t *testing.T, s settings)
	// remove takes it away, the kinds excepted, and rest what is left then.
	remove, rest func(t *testing.T)
	// stays is what the way itself leaves.
	stays []string
}

// helm runs the command line of one of Helm's generations, as the module of the chart's tests has it.
func helm(t *testing.T, generation string, args ...string) {
	t.Helper()
	find := exec.CommandContext(t.Context(), "go", "tool", "-n", "helm.sh/helm/"+generation+"/cmd/helm")
	find.Dir = filepath.Join(here.Root(), "test", "chart")
	path, err := find.Output()
	if err != nil {
		t.Fatalf("building Helm %s: %v", generation, err)
	}
	home := t.TempDir()
	cmd := exec.CommandContext(t.Context(), strings.TrimSpace(string(path)), append(args, "--kubeconfig", here.Lab(t).Kubeconfig(), "--namespace", stage.System)...)
	cmd.Env = append(os.Environ(), "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home)
	stage.Run(t, cmd).Want(t, 0)
}

func byHelm(generation string) way {
	return way{
		apply: func(t *testing.T, s settings) {
			t.Helper()
			verb := []string{"install", "--create-namespace"}
			if s.replace {
				verb = []string{"upgrade"}
			}
			helm(t, generation, append(verb, "orlop", filepath.Join(here.Root(), "charts", "orlop"), "--wait", "--timeout", "4m",
				"--set", fmt.Sprintf("registry=%s,image.tag=%s,agent.maxParallelPulls=%d", stage.Registry, s.tag, s.atOnce))...)
		},
		remove: func(t *testing.T) { t.Helper(); helm(t, generation, "uninstall", "orlop", "--wait") },
		rest: func(t *testing.T) {
			t.Helper()
			here.Kubectl(t, append([]string{"delete", "crd", "--wait=false"}, kinds...)...)
		},
		stays: []string{"namespace/" + stage.System}, // As --create-namespace made it.
	}
}

// byKustomize is an overlay of one's own over config, as its README has it.
func byKustomize() way {
	return way{
		apply: func(t *testing.T, s settings) {
			t.Helper()
			here.Kubectl(t, "apply", "--server-side", "-k", overlay(t, s))
			for _, what := range []string{"deployment/orlop-controller", "daemonset/orlop-agent"} {
				here.Kubectl(t, "rollout", "status", what, "-n", stage.System, "--timeout", "4m")
			}
		},
		remove: func(t *testing.T) { t.Helper(); here.Orlop(t, "uninstall", "--yes").Want(t, 0) },
		rest: func(t *testing.T) {
			t.Helper()
			here.Kubectl(t, "delete", "--ignore-not-found", "--wait=false", "-k", filepath.Join(here.Root(), "config", "default"))
		},
		stays: []string{"namespace/" + stage.System}, // Somebody may have other things in it; -k takes it, with the rest.
	}
}

// overlay is a folder for kubectl's -k.
func overlay(t *testing.T, s settings) string {
	t.Helper()
	folder := t.TempDir()
	base, err := filepath.Rel(folder, filepath.Join(here.Root(), "config", "default"))
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf(`apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [%s]
images:
- {name: ghcr.io/orlop-dev/orlop-node, newName: %s/orlop-node, newTag: %s}
- {name: ghcr.io/orlop-dev/orlop-controller, newName: %[2]s/orlop-controller, newTag: %[3]s}
patches:
- target: {kind: DaemonSet, name: orlop-agent}
  patch: |-
    - {op: replace, path: /spec/template/spec/containers/0/args/1, value: --max-parallel-pulls=%d}
`, base, stage.Registry, s.tag, s.atOnce)
	if err := os.WriteFile(filepath.Join(folder, "kustomization.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return folder
}

// kinds are the names of our kinds' definitions.
var kinds = []string{"imagecaches.orlop.dev", "imageinventories.orlop.dev", "imagestores.orlop.dev", "nodecronjobs.orlop.dev", "nodejobs.orlop.dev"}

// remaining is all that is in the cluster and is ours by its label, by its name, or by being in our namespace, as resource/name; what
// every namespace has, and what was only noted down, is left out.
func remaining(t *testing.T) []string {
	t.Helper()
	var listed []string
	for resource := range strings.FieldsSeq(here.Kubectl(t, "api-resources", "--verbs=list", "-o", "name")) {
		if resource != "events" && resource != "events.events.k8s.io" {
			listed = append(listed, resource)
		}
	}
	// A kind that goes while this is asked makes kubectl complain, and the rest stands.
	all := here.KubectlReads(t, "", "get", strings.Join(listed, ","), "-A", "--ignore-not-found", "--no-headers",
		"-o", `jsonpath={range .items[*]}{.kind}/{.metadata.name} {.metadata.namespace} {.metadata.labels.app\.kubernetes\.io/part-of}{"\n"}{end}`)
	var found []string
	for line := range strings.Lines(all.Out) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), " ")
		name, namespace, partOf := strings.ToLower(fields[0]), fields[1], fields[2]
		if partOf != "orlop" && namespace != stage.System && !strings.Contains(name, "orlop") && !strings.HasPrefix(name, "image") && !strings.HasPrefix(name, "node") {
			continue
		}
		switch name {
		case "serviceaccount/default", "configmap/kube-root-ca.crt", "node/node1", "node/node2", "namespace/kube-node-lease":
			continue
		}
		// The API server makes and takes away its own entry of a group as its kinds come and go.
		if strings.HasPrefix(name, "apiservice/") || namespace == "kube-node-lease" {
			continue
		}
		found = append(found, name)
	}
	slices.Sort(found)
	return found
}

// patience is for kinds that go: the API server was seen to take over a minute for it.
const patience = 3 * time.Minute

// onlyLeft waits until nothing of ours is in the cluster but this.
func onlyLeft(t *testing.T, want ...string) {
	t.Helper()
	slices.Sort(want)
	looks := 0
	stage.Within(t, patience, fmt.Sprintf("nothing is left but %v", want), func() (bool, string) {
		got := remaining(t)
		// Of a kind that goes soon after it came the API server may find that its storage is not ready, and then it looks again later
		// and later, but for a change.
		if looks++; looks%5 == 0 {
			for _, kind := range kinds {
				here.KubectlReads(t, "", "annotate", "--overwrite", "crd", kind, fmt.Sprintf("looked-at=%d", looks))
			}
		}
		return slices.Equal(got, want), fmt.Sprintf("left: %v", got)
	})
}
