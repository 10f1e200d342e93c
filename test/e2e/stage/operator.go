// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"orlop.dev/orlop/test/lab"
)

// System is the namespace in which Orlop is installed.
const System = "orlop-system"

// InstallOperator is a stage's Prepare that applies what the chart renders, with the tests' own images, and waits until every agent
// and the controller are ready.
func InstallOperator(ctx context.Context, s *Stage, cluster *lab.Cluster) error {
	ca, err := os.ReadFile(cluster.PrivateCA())
	if err != nil {
		return err
	}
	values, err := json.Marshal(map[string]any{
		"registry": Registry, "image": map[string]any{"tag": Tag, "pullPolicy": "Always"}, "registryCA": string(ca),
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

// Get reads an object; namespace is empty for one that has none.
func Get[T any](t testing.TB, s *Stage, kind, namespace, name string) (object T) {
	t.Helper()
	args := []string{"get", kind, name, "-o", "json"}
	if namespace != "" {
		args = append(args, "-n", namespace)
	}
	if err := json.Unmarshal([]byte(s.Kubectl(t, args...)), &object); err != nil {
		t.Fatal(err)
	}
	return object
}

// AgentPod is the agent's pod of a node.
func (s *Stage) AgentPod(t testing.TB, node string) string {
	t.Helper()
	return strings.TrimSpace(s.Kubectl(t, "get", "pods", "-n", System, "-l", "app.kubernetes.io/component=agent",
		"--field-selector", "spec.nodeName="+node, "-o", "jsonpath={.items[0].metadata.name}"))
}

// ControllerPods are the pods of the controller.
func (s *Stage) ControllerPods(t testing.TB) []string {
	t.Helper()
	return strings.Fields(s.Kubectl(t, "get", "pods", "-n", System, "-l", "app.kubernetes.io/component=controller", "-o", "jsonpath={.items[*].metadata.name}"))
}

// Spare is one of the nodes that the controller is not on: what is done to it is done to its agent alone.
func (s *Stage) Spare(t testing.TB, nodes []string) string {
	t.Helper()
	busy := strings.Fields(s.Kubectl(t, "get", "pods", "-n", System, "-l", "app.kubernetes.io/component=controller", "-o", "jsonpath={.items[*].spec.nodeName}"))
	return nodes[slices.IndexFunc(nodes, func(n string) bool { return !slices.Contains(busy, n) })]
}

// KillPods ends pods of Orlop's own at once.
func (s *Stage) KillPods(t testing.TB, pods ...string) {
	t.Helper()
	s.Kubectl(t, append([]string{"delete", "pod", "-n", System, "--grace-period=0", "--force"}, pods...)...)
}
