// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/fake"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/session"
)

// TestPodHoldsOneSocketAndNothingElse is the promise that a cluster's owner reads first.
func TestPodHoldsOneSocketAndNothingElse(t *testing.T) {
	f := newFleet(Config{Image: "node:1", Version: "1.2.3"}, fake.NewClientset())
	spec := f.pod(order{node: Node{Name: "a"}, socket: "/run/x.sock", verb: "list", image: "node:1", args: []string{"session"}, life: time.Minute}).Spec
	if len(spec.Volumes) != 1 || spec.Volumes[0].HostPath == nil || *spec.Volumes[0].HostPath.Type != corev1.HostPathSocket || spec.Volumes[0].HostPath.Path != "/run/x.sock" {
		t.Errorf("volumes: %+v", spec.Volumes)
	}
	if spec.HostNetwork || spec.HostPID || spec.HostIPC || *spec.AutomountServiceAccountToken || *spec.EnableServiceLinks {
		t.Error("it has something of the host, or of the API")
	}
	if spec.SecurityContext.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault || *spec.ActiveDeadlineSeconds != 180 || spec.PriorityClassName != "" {
		t.Errorf("%+v, %d s, priority %q", spec.SecurityContext, *spec.ActiveDeadlineSeconds, spec.PriorityClassName)
	}
	c := spec.Containers[0]
	s := c.SecurityContext
	if *s.Privileged || *s.AllowPrivilegeEscalation || !*s.ReadOnlyRootFilesystem || len(s.Capabilities.Drop) != 1 || s.Capabilities.Drop[0] != "ALL" || len(s.Capabilities.Add) > 0 {
		t.Errorf("security: %+v", s)
	}
	if !c.Stdin || !c.StdinOnce || len(c.Env) > 0 || len(spec.Containers) != 1 || len(c.VolumeMounts) != 1 {
		t.Errorf("container: %+v", c)
	}
}

func TestPodUnderPressureIsCritical(t *testing.T) {
	f := newFleet(Config{Image: "node:1"}, fake.NewClientset())
	pod := f.pod(order{node: Node{Name: "a", Pressure: []string{"DiskPressure"}, selinux: true}, verb: "list"})
	if pod.Spec.PriorityClassName != "system-node-critical" || pod.Spec.SecurityContext.SELinuxOptions.Type != "spc_t" {
		t.Errorf("%q %+v", pod.Spec.PriorityClassName, pod.Spec.SecurityContext)
	}
}

func TestPodNames(t *testing.T) {
	f := newFleet(Config{Version: "v1+dirty~x"}, fake.NewClientset())
	label := regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)
	seen := map[string]bool{}
	for _, node := range []string{"a", "a.b", "a-b", strings.Repeat("long-", 12) + "1", strings.Repeat("long-", 12) + "2", "ip-10-0-0-1.eu-central-1.compute.internal", strings.Repeat("x", 253)} {
		for attempt := range 4 {
			pod := f.pod(order{node: Node{Name: node}, verb: "list", attempt: attempt})
			if len(pod.Name) > 63 || !label.MatchString(pod.Name) || seen[pod.Name] || !strings.Contains(pod.Name, f.run) {
				t.Errorf("%s, attempt %d: pod name %q", node, attempt, pod.Name)
			}
			seen[pod.Name] = true
			for key, value := range pod.Labels {
				if len(value) > 63 || strings.ContainsAny(value, "+~") {
					t.Errorf("label %s=%s", key, value)
				}
			}
		}
	}
}

func TestSocketsOf(t *testing.T) {
	cases := map[string]struct {
		runtime, kubelet string
		first            string
		count            int
	}{
		"kubeadm":           {"containerd", "v1.36.3", "/run/containerd/containerd.sock", 4},
		"k3s":               {"containerd", "v1.36.3+k3s1", "/run/k3s/containerd/containerd.sock", 4},
		"RKE2":              {"containerd", "v1.36.3+rke2r1", "/run/k3s/containerd/containerd.sock", 4},
		"k0s":               {"containerd", "v1.36.3+k0s", "/run/k0s/containerd.sock", 4},
		"CRI-O":             {"cri-o", "v1.36.3", "/run/crio/crio.sock", 2},
		"Docker under k3s":  {"docker", "v1.36.3+k3s1", "/run/docker.sock", 4},
		"what is not known": {"rkt", "v1.36.3", "", 0},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got := socketsOf(c.runtime, c.kubelet)
			if len(got) != c.count || c.count > 0 && got[0] != c.first {
				t.Errorf("%q", got)
			}
			seen := map[string]bool{}
			for _, s := range got {
				if seen[s] {
					t.Errorf("%s is tried twice", s)
				}
				seen[s] = true
			}
		})
	}
}

func TestNodesByName(t *testing.T) {
	f := newFleet(Config{}, fake.NewClientset(aNode("alpha"), aNode("beta"), aNode("gamma")))
	nodes, err := f.Nodes(t.Context(), Choice{Names: []string{"gamma", "alpha"}})
	if err != nil || len(nodes) != 2 || nodes[0].Name != "alpha" {
		t.Errorf("%+v, %v", nodes, err)
	}
	_, err = f.Nodes(t.Context(), Choice{Names: []string{"alpha", "gama"}})
	want := `node "gama" does not exist (did you mean "gamma"?)`
	if err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestWithoutOurs(t *testing.T) {
	f := newFleet(Config{Image: "node:1"}, nil)
	own := "kube-system/" + f.podName(order{verb: "list", node: Node{Name: "node1"}})
	inventory := session.Inventory{Images: []session.ImageInfo{{Uses: []engine.Use{
		{Pod: own}, {Pod: "kube-system/orlop-list-abcdefb-node1"}, {Pod: "kube-system/coredns-abcdef-1"}, {Pod: "default/orlop-list-abcdef-node1"}, {Container: "x"},
	}}}}
	f.withoutOurs(&inventory)
	var left []string
	for _, use := range inventory.Images[0].Uses {
		left = append(left, use.Pod)
	}
	if diff := cmp.Diff([]string{"kube-system/coredns-abcdef-1", "default/orlop-list-abcdef-node1", ""}, left); diff != "" {
		t.Error(diff)
	}
}
