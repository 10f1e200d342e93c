// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package stage is a real cluster with Orlop's binaries and images at hand, for the tests of several packages: each has a
// cluster of its own, which its tests share and put back as it was.
package stage

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"orlop.dev/orlop/test/lab"
)

// Orlop's own images, as the cluster has them.
const (
	Tag             = "e2e"
	Registry        = "ghcr.io/orlop-dev"
	NodeImage       = Registry + "/orlop-node:" + Tag
	ControllerImage = Registry + "/orlop-controller:" + Tag
	ToolsImage      = Registry + "/orlop-tools:" + Tag
)

// Patience is how long the cluster may take for what it always does in the end.
const Patience = time.Minute

// attachEnv names a running lab for the tests to use rather than one of their own, while they are worked on.
const attachEnv = "ORLOP_E2E_LAB"

// Stage is a cluster that is made when the first test asks for it.
type Stage struct {
	// Name is the lab's, Options the rest of what it is like.
	Options lab.Options
	// Prepare is done once, after the images have been pushed; nil: nothing.
	Prepare func(ctx context.Context, s *Stage, cluster *lab.Cluster) error
	// Registry and Tag are where Orlop's own images are pushed; empty: the constants of these names.
	Registry, Tag string

	once     sync.Once
	lab      *lab.Cluster
	attached bool
	bin      string
	err      error
}

// Main runs the tests, and takes the cluster apart.
func (s *Stage) Main(m *testing.M) {
	code := m.Run()
	if s.lab != nil && !s.attached {
		if err := s.lab.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "taking the cluster apart:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// Lab is the cluster.
func (s *Stage) Lab(t testing.TB) *lab.Cluster {
	t.Helper()
	lab.Need(t)
	s.once.Do(func() { s.err = s.setUp() })
	if s.err != nil {
		t.Fatal(s.err)
	}
	return s.lab
}

// Bin is the path of one of the binaries under test.
func (s *Stage) Bin(name string) string { return filepath.Join(s.bin, name) }

// Root is the repository's folder.
func (s *Stage) Root() string { return filepath.Dir(s.bin) }

func (s *Stage) setUp() error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	root, err := Root()
	if err != nil {
		return err
	}
	s.bin = filepath.Join(root, "bin")
	if out, err := exec.CommandContext(ctx, "make", "-C", root, "build").CombinedOutput(); err != nil {
		return fmt.Errorf("building the binaries: %w\n%s", err, out)
	}
	s.Options.Progress = func(e lab.Event) {
		if e.Done {
			fmt.Fprintf(os.Stderr, "lab: %s (%s)\n", e.Text, e.Elapsed.Round(100*time.Millisecond))
		}
	}
	if attach := os.Getenv(attachEnv); attach != "" {
		s.attached = true
		s.lab, err = lab.Attach(ctx, attach)
	} else {
		s.lab, err = lab.Start(ctx, s.Options)
	}
	if err != nil {
		return err
	}
	if err := PushOwnTo(ctx, s.lab, root, cmp.Or(s.Registry, Registry), cmp.Or(s.Tag, Tag)); err != nil {
		return err
	}
	if s.Prepare == nil {
		return nil
	}
	return s.Prepare(ctx, s, s.lab)
}

// Root finds the repository's folder from that of any test in it.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, ".golangci.yaml")); err == nil {
			return dir, nil
		}
	}
	return "", fmt.Errorf("finding the repository: no parent of this folder is it")
}

// PushOwn makes Orlop's images of the binaries in root's bin, and pushes them to where the cluster's nodes find them.
func PushOwn(ctx context.Context, cluster *lab.Cluster, root, tag string) error {
	return PushOwnTo(ctx, cluster, root, Registry, tag)
}

// PushOwnTo is PushOwn under the names of another registry.
func PushOwnTo(ctx context.Context, cluster *lab.Cluster, root, registry, tag string) error {
	node := filepath.Join(root, "bin", "orlop-node")
	for image, binaries := range map[string][]string{
		"orlop-node":       {node},
		"orlop-tools":      {node, cluster.Program("crictl")},
		"orlop-controller": {filepath.Join(root, "bin", "orlop-controller")},
	} {
		where := cluster.Registry() + "/" + registry + "/" + image + ":" + tag
		args := []string{"run", "./hack/image", "--insecure", "--push", where}
		if image == "orlop-controller" {
			args = append(args, "--roots") // It asks registries, whose certificates it must be able to check.
		}
		cmd := exec.CommandContext(ctx, "go", append(args, binaries...)...)
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("pushing %s: %w\n%s", image, err, out)
		}
	}
	return nil
}
