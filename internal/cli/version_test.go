// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orlop.dev/orlop/internal/operator"
)

func aController(version string) *appsv1.Deployment {
	return &appsv1.Deployment{TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"},
		ObjectMeta: metav1.ObjectMeta{Name: "orlop-controller", Namespace: "orlop-system", Labels: map[string]string{operator.LabelName: "orlop", operator.LabelComponent: "controller", operator.LabelVersion: version}},
		Spec:       appsv1.DeploymentSpec{Replicas: new(int32(1)), Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Image: "ghcr.io/orlop-dev/orlop-controller:" + version}}}}},
		Status:     appsv1.DeploymentStatus{ReadyReplicas: 1}}
}

// TestVersionOfAnInstall shows all parts of Orlop.
func TestVersionOfAnInstall(t *testing.T) {
	s := shop(t, aController("v1.2.3"))
	code, out, errs := s.run("version")
	want := `NAME            VERSION                              NODES
kubectl-orlop   1.2.3                                    -
node image      ghcr.io/orlop-dev/orlop-node:1.2.3       -
kubernetes      v1.37.2                                  -
controller      v1.2.3                                   -
agents          1.2.3                                    4
`
	if diff := cmp.Diff(want, out); diff != "" || code != 0 || errs != "" {
		t.Errorf("exit code %d, %q %s", code, errs, diff)
	}
	if _, out, _ := s.run("version", "-o", "jsonpath={.items[4].nodes}"); out != `["node-1","node-2","node-3","node-4"]` {
		t.Errorf("the agents' nodes are %s", out)
	}
}

// TestVersionsThatDiffer: each way in which the parts can be of different versions is told, and is no failure.
func TestVersionsThatDiffer(t *testing.T) {
	cases := map[string]struct {
		controller, agent string
		says              []string
	}{
		"an upgrade under way": {"1.2.3", "1.2.2", []string{"! controller and agents differ: this program 1.2.3, controller 1.2.3, agents 1.2.2 ×1, agents 1.2.3 ×3", "rollout status daemonset"}},
		"a controller alone":   {"1.3.0", "1.2.3", []string{"! controller and agents differ"}},
		"an agent that is new": {"1.2.3", "", nil},
		"none":                 {"1.2.3", "1.2.3", nil},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			s := shop(t, aController(c.controller))
			store := aStore("node-2")
			store.Status.AgentVersion = c.agent
			s.put(store)
			code, out, errs := s.run("version")
			if code != 0 || !strings.Contains(out, "controller      "+c.controller) || c.says == nil && errs != "" {
				t.Errorf("exit code %d %s %s", code, out, errs)
			}
			expect(t, errs, c.says...)
		})
	}
	message, fix := versions{program: "1.2.3", controller: "1.3.0", agents: map[string][]string{"v1.3.0": {"a"}}}.skew()
	expect(t, message+" "+fix, "this program has another version: this program 1.2.3, controller 1.3.0, agents v1.3.0 ×1", "get the same version")
}

// TestVersionWithFewRights shows what may be seen.
func TestVersionWithFewRights(t *testing.T) {
	s := shop(t, aController("1.2.3"))
	s.denied["deployments"] = `User "ann" cannot list resource "deployments" in API group "apps" in the namespace "orlop-system"`
	code, out, errs := s.run("version")
	if code != 0 || strings.Contains(out, "controller") {
		t.Errorf("exit code %d %s", code, out)
	}
	expect(t, out, "agents")
	expect(t, errs, "! not seen", "deployments")
	if strings.Contains(errs, "differ") {
		t.Errorf("what is not seen is said to differ: %s", errs)
	}
}

// TestVersionOfAnEmptyCluster has no column of nodes.
func TestVersionOfAnEmptyCluster(t *testing.T) {
	s := newAPIServer(t, aNode("node-1", corev1.ConditionTrue))
	code, out, errs := s.run("version")
	if code != 0 || errs != "" || strings.Contains(out, "NODES") || !strings.Contains(out, "kubernetes") {
		t.Errorf("exit code %d %s %s", code, out, errs)
	}
}
