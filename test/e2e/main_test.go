// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package e2e proves Orlop's binaries on a real cluster, and its adapters on real runtimes. It is a module of its
// own, so that nothing of the cluster enters the product.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"orlop.dev/orlop/test/lab"
)

// patience is how long the cluster may take for what it always does in the end.
const patience = time.Minute

var (
	start   sync.Once
	cluster *lab.Cluster
	startup error
	// bin is the folder with the binaries under test.
	bin string
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

// theCluster is a cluster of three nodes that the tests of this package share; each puts back what it changes.
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
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	if bin, err = filepath.Abs("../../bin"); err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, "make", "-C", "../..", "build").CombinedOutput(); err != nil {
		return fmt.Errorf("building the binaries: %w\n%s", err, out)
	}
	cluster, err = lab.Start(ctx, lab.Options{Name: "e2e", Nodes: 3, Progress: func(e lab.Event) {
		if e.Done {
			fmt.Fprintf(os.Stderr, "lab: %s (%s)\n", e.Text, e.Elapsed.Round(100*time.Millisecond))
		}
	}})
	if err != nil {
		return err
	}
	if err := pushOwn(ctx); err != nil {
		return err
	}
	for _, node := range nodes {
		if err := cluster.Put(node, filepath.Join(bin, "orlop-node"), "/usr/local/bin/orlop-node"); err != nil {
			return err
		}
	}
	return nil
}

// Orlop's own images, as the cluster has them.
const (
	nodeImage  = "ghcr.io/orlop-dev/orlop-node:e2e"
	toolsImage = "ghcr.io/orlop-dev/orlop-tools:e2e"
)

// nodes are those of the cluster.
var nodes = []string{"node1", "node2", "node3"}

func pushOwn(ctx context.Context) error {
	for image, binaries := range map[string][]string{
		nodeImage:  {filepath.Join(bin, "orlop-node")},
		toolsImage: {filepath.Join(bin, "orlop-node"), cluster.Program("crictl")},
	} {
		cmd := exec.CommandContext(ctx, "go", append([]string{"run", "./hack/image", "--insecure", "--push", cluster.Registry() + "/" + image}, binaries...)...)
		cmd.Dir = "../.."
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("pushing %s: %w\n%s", image, err, out)
		}
	}
	return nil
}

// answer is what a command gave back.
type answer struct {
	out, err string
	code     int
}

func (a answer) String() string { return fmt.Sprintf("exit code %d\n%s%s", a.code, a.out, a.err) }

// decode reads standard output as JSON.
func (a answer) decode(t *testing.T, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.out), into); err != nil {
		t.Fatalf("not JSON: %v\n%s", err, a)
	}
}

// want fails the test unless the command ended with the code.
func (a answer) want(t *testing.T, code int) answer {
	t.Helper()
	if a.code != code {
		t.Fatalf("exit code %d, want %d\n%s", a.code, code, a)
	}
	return a
}

func run(t *testing.T, cmd *exec.Cmd) answer {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended {
		t.Fatalf("running %v: %v", cmd.Args, err)
	}
	return answer{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

// orlopNode runs orlop-node on a node.
func orlopNode(t *testing.T, node string, args ...string) answer {
	t.Helper()
	cmd, err := theCluster(t).Command(t.Context(), node, append([]string{"/usr/local/bin/orlop-node"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	return run(t, cmd)
}

// orlopCommand is kubectl-orlop as the administrator, ready to be started.
func orlopCommand(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	c := theCluster(t)
	cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "kubectl-orlop"), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig(), "ORLOP_IMAGE="+nodeImage, "ORLOP_TOOLS_IMAGE="+toolsImage, "DOCKER_CONFIG="+t.TempDir())
	return cmd
}

// orlop runs kubectl-orlop.
func orlop(t *testing.T, args ...string) answer {
	t.Helper()
	return run(t, orlopCommand(t, args...))
}

// push makes images of one small layer and of the lab's program, which they share.
func push(t *testing.T, images ...string) {
	t.Helper()
	for _, image := range images {
		pushSpec(t, image, lab.ImageSpec{Layers: []lab.Layer{{Size: 100 << 10}}})
	}
}

func pushSpec(t *testing.T, image string, spec lab.ImageSpec) string {
	t.Helper()
	digest, err := theCluster(t).PushImage(t.Context(), image, spec)
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

// eventually waits until the condition holds, and fails with its last words.
func eventually(t *testing.T, what string, condition func() (bool, string)) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		ok, words := condition()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s: %s", what, patience, words)
		}
		select {
		case <-t.Context().Done():
			t.Fatalf("%s: %v: %s", what, t.Context().Err(), words)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// kubectl runs kubectl as the administrator.
func kubectl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := theCluster(t).Kubectl(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// apply creates objects, and takes them away when the test ends.
func apply(t *testing.T, manifest string) {
	t.Helper()
	c := theCluster(t)
	kube := func(ctx context.Context, args ...string) {
		cmd := exec.CommandContext(ctx, c.Program("kubectl"), append([]string{"--kubeconfig", c.Kubeconfig()}, args...)...)
		cmd.Stdin = strings.NewReader(manifest)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("kubectl %v: %v\n%s", args, err, out)
		}
	}
	kube(t.Context(), "apply", "-f", "-")
	t.Cleanup(func() {
		kube(context.WithoutCancel(t.Context()), "delete", "--ignore-not-found", "--grace-period=0", "--force", "-f", "-")
	})
}

// crictlImage is an image as crictl images -o json has it.
type crictlImage struct {
	ID          string   `json:"id"`
	RepoTags    []string `json:"repoTags"`
	RepoDigests []string `json:"repoDigests"`
	Size        string   `json:"size"`
	Pinned      bool     `json:"pinned"`
}

// crictlImages is what crictl, which is none of ours, says of a node.
func crictlImages(t *testing.T, node string) []crictlImage {
	t.Helper()
	out, err := theCluster(t).Crictl(t.Context(), node, "images", "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	var list struct {
		Images []crictlImage `json:"images"`
	}
	answer{out: out}.decode(t, &list)
	return list.Images
}

// tags are all names with a tag on a node, as crictl has them, sorted.
func tags(t *testing.T, node string) []string {
	t.Helper()
	var all []string
	for _, img := range crictlImages(t, node) {
		all = append(all, img.RepoTags...)
	}
	slices.Sort(all)
	return all
}

func hasTag(t *testing.T, node, tag string) bool {
	t.Helper()
	return slices.Contains(tags(t, node), tag)
}

// emptied removes what a test pulled to a node, when it ends.
func emptied(t *testing.T, node, prefix string) {
	t.Cleanup(func() {
		for _, img := range crictlImagesAfter(t, node) {
			if slices.ContainsFunc(slices.Concat(img.RepoTags, img.RepoDigests), func(name string) bool { return strings.HasPrefix(name, prefix) }) {
				if _, err := cluster.Crictl(context.WithoutCancel(t.Context()), node, "rmi", img.ID); err != nil {
					t.Errorf("cleaning up %s: %v", node, err)
				}
			}
		}
	})
}

// crictlImagesAfter is crictlImages for a test that has ended.
func crictlImagesAfter(t *testing.T, node string) []crictlImage {
	out, err := cluster.Crictl(context.WithoutCancel(t.Context()), node, "images", "-o", "json")
	var list struct {
		Images []crictlImage `json:"images"`
	}
	if err == nil {
		err = json.Unmarshal([]byte(out), &list)
	}
	if err != nil {
		t.Errorf("cleaning up %s: %v", node, err)
	}
	return list.Images
}
