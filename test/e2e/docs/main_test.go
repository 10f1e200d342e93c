// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package docs

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

	"orlop.dev/orlop/test/e2e/stage"
	"orlop.dev/orlop/test/lab"
)

// nodes are those of the cluster.
var nodes = []string{"node1", "node2", "node3"}

// here is the cluster that all pages share: first those that want nothing installed, then the others.
var here = &stage.Stage{Options: lab.Options{Name: "docs", Nodes: len(nodes)}, Prepare: prepare, Registry: registry, Tag: tag}

func TestMain(m *testing.M) { here.Main(m) }

// hosts are the registries whose names pages use; all are the lab's.
var hosts = []string{"docker.io", "ghcr.io", "quay.io", "registry.k8s.io", "registry.example"}

// mebibytes is what the images have that pages speak of, beside a layer that all share.
var mebibytes = map[string]int64{
	"docker.io/library/nginx:1.29": 4, "docker.io/library/redis:8": 3, "docker.io/library/postgres:18.1": 5, "docker.io/library/busybox:1.37": 1,
	"ghcr.io/acme/web:2026.10.9": 4, "ghcr.io/acme/web:latest": 4, "ghcr.io/acme/web:1": 2, "ghcr.io/acme/web:2": 2, "ghcr.io/acme/sweep:3": 1,
	"docker.io/minchou/cleaner:1": 1, "docker.io/minchou/report:7": 1, "quay.io/acme/api:1": 2, "registry.example/team/app:1": 2,
}

// Where pages say that Orlop's own images are.
const (
	registry = "registry.example/orlop"
	tag      = "v1"
)

func prepare(ctx context.Context, s *stage.Stage, cluster *lab.Cluster) error {
	for _, node := range nodes {
		if err := cluster.Put(node, s.Bin("orlop-node"), "/usr/local/bin/orlop-node"); err != nil {
			return err
		}
	}
	if err := render(ctx, s.Root(), cluster); err != nil {
		return err
	}
	for image, size := range mebibytes {
		spec := lab.ImageSpec{Layers: []lab.Layer{{Size: 1 << 20, Shared: "base"}, {Size: size << 20}}}
		if _, err := cluster.PushImage(ctx, image, spec); err != nil {
			return err
		}
	}
	return nil
}

// path is the PATH of a page's commands.
func path(t *testing.T, cluster *lab.Cluster, page Page) string {
	t.Helper()
	programs := map[string]string{
		"kubectl": cluster.Program("kubectl"), "kubectl-orlop": here.Bin("kubectl-orlop"), "orlop-node": here.Bin("orlop-node"),
	}
	if page.names("helm ") {
		programs["helm"] = helm(t)
	}
	dir := t.TempDir()
	for name, program := range programs {
		if err := os.Symlink(program, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir + ":/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
}

// helm is the program as the module of the chart's tests has it; it takes long to build where it was never built.
func helm(t *testing.T) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "tool", "-n", "helm.sh/helm/v4/cmd/helm")
	cmd.Dir = filepath.Join(here.Root(), "test", "chart")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("building helm: %v", err)
	}
	return strings.TrimSpace(string(out))
}

// values are those of the lab: its registry stands for all of those that pages name.
func values(cluster *lab.Cluster) ([]byte, error) {
	ca, err := os.ReadFile(cluster.PrivateCA())
	if err != nil {
		return nil, err
	}
	mirrors := map[string]string{}
	for _, host := range hosts {
		mirrors[host] = lab.MirrorHost + "/" + host
	}
	return json.Marshal(map[string]any{
		"registry": registry, "image": map[string]any{"tag": tag}, "registryCA": string(ca),
		"controller": map[string]any{"registryMirrors": mirrors},
	})
}

// manifests is the file that pages apply as dist/install.yaml.
func manifests(cluster *lab.Cluster) string { return filepath.Join(cluster.Dir(), "install.yaml") }

// render writes the operator's manifests.
func render(ctx context.Context, root string, cluster *lab.Cluster) error {
	text, err := values(cluster)
	if err != nil {
		return err
	}
	file := filepath.Join(cluster.Dir(), "values.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "run", ".", "--values", file, "--out", manifests(cluster))
	cmd.Dir = filepath.Join(root, "hack", "manifests")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("rendering the chart: %w: %s", err, out)
	}
	return nil
}

// operator installs it and waits until all of it is ready.
func operator(ctx context.Context, cluster *lab.Cluster) error {
	for _, args := range [][]string{
		{"apply", "--server-side", "--force-conflicts", "-f", manifests(cluster)},
		{"rollout", "status", "deployment/orlop-controller", "-n", stage.Namespace, "--timeout=120s"},
		{"rollout", "status", "daemonset/orlop-agent", "-n", stage.Namespace, "--timeout=120s"},
	} {
		if _, err := cluster.Kubectl(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

// pages are all documents that have blocks to run or objects to look at, those of an empty cluster first.
func pages(t *testing.T) []Page {
	t.Helper()
	root, err := stage.Root()
	if err != nil {
		t.Fatal(err)
	}
	files := []string{"README.md"}
	err = filepath.WalkDir(filepath.Join(root, "docs"), func(file string, _ os.DirEntry, err error) error {
		if strings.HasSuffix(file, ".md") {
			files = append(files, strings.TrimPrefix(file, root+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var all []Page
	for _, file := range files {
		text, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		page, err := Parse(file, string(text))
		if err != nil {
			t.Error(err)
			continue
		}
		all = append(all, page)
	}
	order := []string{LabNone, LabEmpty, LabOperator, ""}
	slices.SortStableFunc(all, func(a, b Page) int { return slices.Index(order, a.Lab) - slices.Index(order, b.Lab) })
	return all
}
