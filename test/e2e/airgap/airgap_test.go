// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package airgap installs Orlop from the air-gap package of a release and nothing else, by the commands of that package's README, from
// a node of a cluster that reaches no network but its own.
package airgap

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"orlop.dev/orlop/test/e2e/stage"
	"orlop.dev/orlop/test/lab"
)

// bastion is the node on which the commands are run, by somebody who has the package and kubectl.
const bastion = "node1"

var nodes = []string{bastion, "node2"}

var here = &stage.Stage{Options: lab.Options{Name: "airgap", Nodes: len(nodes), More: []lab.NodeOptions{{Name: dockerNode, Engine: lab.Docker}}}}

func TestMain(m *testing.M) { here.Main(m) }

// folder is where the package lies on the nodes.
const folder = "/root/airgap"

// release makes one for this machine's nodes, and gives the package and its version.
func release(t *testing.T) (path, version string) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "release")
	cmd := exec.CommandContext(t.Context(), "go", "run", ".", "--platforms", "linux/"+runtime.GOARCH, "--out", out)
	cmd.Dir = here.Root() + "/hack/release"
	if words, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("making a release: %v\n%s", err, words)
	}
	found, err := filepath.Glob(out + "/orlop-*-airgap_linux_*.tar.gz")
	if err != nil || len(found) != 1 {
		t.Fatalf("%v, %v", found, err)
	}
	version, _, _ = strings.Cut(strings.TrimPrefix(filepath.Base(found[0]), "orlop-"), "-airgap_")
	return found[0], version
}

// on runs a command of a shell on a node, in the package's folder.
func on(t *testing.T, node, command string) string {
	t.Helper()
	out, err := here.Lab(t).Exec(t.Context(), node, "sh", "-ec", "mkdir -p "+folder+"; cd "+folder+"\n"+command)
	if err != nil {
		t.Fatalf("%s\n%s", err, out)
	}
	return out
}

// put copies a text to a file of the node.
func put(t *testing.T, node, to, text string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := here.Lab(t).Put(node, path, to); err != nil {
		t.Fatal(err)
	}
}

// arrive brings the package to every node, and a kubeconfig to one of them.
func arrive(t *testing.T, path string) {
	t.Helper()
	c := here.Lab(t)
	for _, node := range nodes {
		if err := c.Put(node, path, "/root/package.tar.gz"); err != nil {
			t.Fatal(err)
		}
		on(t, node, "tar -xzf /root/package.tar.gz --strip-components=1; rm /root/package.tar.gz; sha256sum --check --quiet SHA256SUMS")
	}
	config, err := os.ReadFile(c.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	// The address of the cluster's own service is the one that a node reaches.
	put(t, bastion, "/root/.kube/config", regexp.MustCompile(`https://127\.0\.0\.1:[0-9]+`).ReplaceAllString(string(config), "https://10.96.0.1"))
	put(t, bastion, "/root/password", lab.PrivatePassword+"\n")
}

// commands are those of a section of the README, for the lab's own registry.
func commands(t *testing.T, section string) []string {
	t.Helper()
	_, text, _ := strings.Cut(on(t, bastion, "cat README.md"), "\n## "+section+"\n")
	text, _, _ = strings.Cut(text, "\n## ")
	text = strings.NewReplacer("registry.example", lab.PrivateHost, "NAME", lab.PrivateUser, "PASSWORD-FILE", "/root/password").Replace(text)
	var found []string
	for line := range strings.Lines(text) {
		if command, ok := strings.CutPrefix(line, "$ "); ok {
			found = append(found, strings.TrimSpace(command))
		}
	}
	if len(found) < 3 {
		t.Fatalf("the README has only these commands for %q: %q", section, found)
	}
	return found
}

// installed waits until all of Orlop runs from images of one registry.
func installed(t *testing.T, registry, version string) {
	t.Helper()
	for _, what := range []string{"deployment/orlop-controller", "daemonset/orlop-agent"} {
		here.Kubectl(t, "rollout", "status", what, "-n", stage.Namespace, "--timeout", (3 * time.Minute).String())
	}
	images := strings.Fields(here.Kubectl(t, "get", "deployments,daemonsets", "-n", stage.Namespace, "-o", "jsonpath={.items[*].spec.template.spec.containers[*].image}"))
	slices.Sort(images)
	want := []string{registry + "/orlop-controller:" + version, registry + "/orlop-node:" + version}
	if !slices.Equal(images, want) {
		t.Errorf("it runs from %v, not %v", images, want)
	}
}

// keeps makes a cache of a new image, and waits until every node has it.
func keeps(t *testing.T, name string) {
	t.Helper()
	image := lab.PlainHost + "/airgap/" + name + ":1"
	here.Push(t, image)
	here.Apply(t, fmt.Sprintf("{apiVersion: orlop.dev/v1alpha1, kind: ImageCache, metadata: {name: %s, namespace: default}, spec: {images: [{image: %q}]}}", name, image))
	here.Kubectl(t, "wait", "imagecache/"+name, "--for=condition=Ready", "--timeout", (2 * time.Minute).String())
	for _, node := range nodes {
		if !here.HasTag(t, node, image) {
			t.Errorf("%s is not on %s", image, node)
		}
	}
}

// TestAirGap goes through the README: without a registry, then with one that wants a password and has an authority of its own, then the
// command line.
func TestAirGap(t *testing.T) {
	here.Lab(t)
	path, version := release(t)
	arrive(t, path)
	// In this order: a kubelet that has pulled an image with a password asks that registry again before another pod may have it, under
	// whatever name it was imported since.
	t.Run("without a registry", func(t *testing.T) {
		for _, command := range commands(t, "Without a registry") {
			if !strings.HasPrefix(command, "ctr ") {
				on(t, bastion, command)
				continue
			}
			for _, node := range nodes {
				on(t, node, command)
			}
		}
		installed(t, stage.Registry, version)
		keeps(t, "first")
		// No registry has the image that these pods are of.
		if out := on(t, bastion, "bin/kubectl-orlop list --ephemeral"); !strings.Contains(out, "airgap/first") {
			t.Errorf("short-lived pods: %s", out)
		}
	})
	t.Run("with a registry", func(t *testing.T) {
		for _, command := range commands(t, "With a registry that the nodes reach") {
			switch {
			case strings.HasPrefix(command, "helm "): // There is none here; test/chart has it install the chart.
				continue
			case strings.HasPrefix(command, "bin/orlop-push") && !strings.Contains(command, "--user"): // This registry wants a password.
				continue
			}
			on(t, bastion, strings.Replace(command, "orlop-push ", "orlop-push --ca /etc/lab/registry.crt ", 1))
		}
		installed(t, lab.PrivateHost+"/orlop", version)
		keeps(t, "second")
	})
	t.Run("the command line", func(t *testing.T) { commandLine(t, version) })
	t.Run("several platforms", severalPlatforms)
	t.Run("docker", func(t *testing.T) { dockerLoads(t, path, version) })
}

// commandLine puts the plugin where kubectl finds it, and lets kubectl complete its arguments.
func commandLine(t *testing.T, version string) {
	out := on(t, bastion, strings.Join(commands(t, "The command line"), "\n"))
	if !strings.Contains(out, "✔") || strings.Contains(out, "✗") {
		t.Errorf("check says:\n%s", out)
	}
	if out := on(t, bastion, "kubectl orlop version"); strings.Count(out, version) < 3 {
		t.Errorf("not all of %s:\n%s", version, out)
	}
	for typed, want := range map[string]string{"list --node ''": "node2", "sta": "status", "list --output js": "json"} {
		if out := on(t, bastion, "kubectl __complete orlop "+typed); !strings.Contains(out, want) {
			t.Errorf("kubectl completes %q by %q, without %s", typed, out, want)
		}
	}
}
