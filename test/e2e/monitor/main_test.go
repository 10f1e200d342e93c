// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package monitor proves what Orlop tells of itself: a real Prometheus scrapes a real cluster, evaluates every rule and every
// expression of the dashboard, and the agents' logs are read.
package monitor

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"orlop.dev/orlop/test/e2e/stage"
	"orlop.dev/orlop/test/lab"
)

// nodes are those of the cluster.
var nodes = []string{"node1", "node2"}

// here is a cluster with the operator installed.
var here = &stage.Stage{Options: lab.Options{Name: "monitor", Nodes: len(nodes)}, Prepare: install}

func TestMain(m *testing.M) { here.Main(m) }

type fields = map[string]any

// thresholds have every alert fire as soon as it can.
var thresholds = fields{
	"imageFSHighPercent": 1, "imageFSMarginPercent": 0, "reclaimablePercent": 0, "imageFSFor": "1s", "runtimeErrorsPercent": 1, "runtimeFailingFor": "1s",
	"agentDownFor": "1s", "controllerDownFor": "1s", "pullFailingFor": "1s", "registryRefusingFor": "1s", "tagDriftFor": "1s",
	"cacheNotReadyFor": "1s", "nodeJobFailedFor": "1s", "cleanupLateSeconds": 60,
}

func install(ctx context.Context, s *stage.Stage, cluster *lab.Cluster) error {
	values, err := json.Marshal(fields{
		"registry": stage.Registry, "image": fields{"tag": stage.Tag, "pullPolicy": "Always"}, "dashboard": fields{"enabled": true},
	})
	if err != nil {
		return err
	}
	file := filepath.Join(cluster.Dir(), "values.json")
	if err := os.WriteFile(file, values, 0o600); err != nil {
		return err
	}
	return s.Install(ctx, cluster, file)
}

// program is one of Prometheus' programs, as hack/setup unpacks them.
func program(t *testing.T, name string) string {
	t.Helper()
	lab.Need(t)
	root, err := stage.Root()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), filepath.Join(root, "hack", "setup")).CombinedOutput(); err != nil {
		t.Fatalf("getting Prometheus: %v\n%s", err, out)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(cache, "orlop-lab", "debian", "usr", "bin", name)
}

// promtool fails the test if Prometheus' own tool finds fault.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), program(t, "promtool"), args...).CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// rules are the chart's, with thresholds of the test's own.
func rules(t *testing.T, thresholds fields) []byte {
	t.Helper()
	values, err := json.Marshal(fields{"alerts": fields{"thresholds": thresholds}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "values.json")
	if err := os.WriteFile(file, values, 0o600); err != nil {
		t.Fatal(err)
	}
	render := exec.CommandContext(t.Context(), "go", "run", ".", "--rules", "--values", file)
	render.Dir = filepath.Join(here.Root(), "hack", "manifests")
	return []byte(stage.Run(t, render).Want(t, 0).Out)
}

// at is a name in the registry that pods and nodes alike reach.
func at(path string) string { return lab.PlainHost + "/monitor/" + path }

// object is a manifest in the namespace default.
func object(kind, name string, spec fields) string {
	manifest, err := json.Marshal(fields{
		"apiVersion": "orlop.dev/v1alpha1", "kind": kind, "metadata": fields{"name": name, "namespace": "default"}, "spec": spec,
	})
	if err != nil {
		panic(err)
	}
	return string(manifest)
}

func create(t *testing.T, kind, name string, spec fields) {
	t.Helper()
	here.Apply(t, object(kind, name, spec))
}

// shows waits until a field of an object has a value.
func shows(t *testing.T, what, path, value string) {
	t.Helper()
	stage.Within(t, 2*stage.Patience, fmt.Sprintf("%s has %s %s", what, path, value), func() (bool, string) {
		out := here.Kubectl(t, "get", what, "-n", "default", "-o", "jsonpath={"+path+"}")
		return out == value, out
	})
}
