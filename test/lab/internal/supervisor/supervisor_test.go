// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package supervisor

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"

	"orlop.dev/orlop/test/lab/internal/instance"
	"orlop.dev/orlop/test/lab/internal/pki"
)

func lab(t *testing.T, kubernetes bool) *Supervisor {
	t.Helper()
	t.Setenv("XDG_CACHE_HOME", "/tmp/nowhere")
	inst, err := instance.Open("unit")
	if err != nil {
		t.Fatal(err)
	}
	authority, err := pki.NewAuthority("unit")
	if err != nil {
		t.Fatal(err)
	}
	return &Supervisor{
		spec: Spec{Name: "unit", Kubernetes: kubernetes}, instance: inst,
		certs: &certificates{authority: authority}, nodes: map[string]*node{},
	}
}

func TestNewNode(t *testing.T) {
	s := lab(t, true)
	for _, want := range []struct {
		options    NodeOptions
		name       string
		address    string
		standalone bool
	}{
		{NodeOptions{}, "node1", "172.30.0.11", false},
		{NodeOptions{Name: "node3"}, "node3", "172.30.0.12", false},
		// Its name is taken from its place, and the name of this place is taken.
		{NodeOptions{}, "node4", "172.30.0.14", false},
		{NodeOptions{Engine: Docker}, "node5", "172.30.0.15", true},
		{NodeOptions{Name: "alone", Standalone: true}, "alone", "172.30.0.13", true},
	} {
		n, err := s.newNode(want.options)
		if err != nil {
			t.Fatal(err)
		}
		if n.options.Name != want.name || n.address() != want.address || n.options.Standalone != want.standalone {
			t.Errorf("options %+v give %s at %s, standalone %v", want.options, n.options.Name, n.address(), n.options.Standalone)
		}
	}
	for what, options := range map[string]NodeOptions{
		"a name that is taken": {Name: "node1"}, "a bad name": {Name: "No Name"}, "an unknown engine": {Engine: "podman"},
	} {
		if _, err := s.newNode(options); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
	for range maxNodes {
		if _, err := s.newNode(NodeOptions{}); err != nil {
			return
		}
	}
	t.Errorf("more than %d nodes", maxNodes)
}

func TestMachineSpec(t *testing.T) {
	s := lab(t, true)
	n, err := s.newNode(NodeOptions{Kubelet: map[string]any{"imageGCHighThresholdPercent": 50}})
	if err != nil {
		t.Fatal(err)
	}
	spec, err := s.machineSpec(n)
	if err != nil {
		t.Fatal(err)
	}
	var kubelet struct {
		ImageGCHighThresholdPercent, ImageGCLowThresholdPercent int
		CgroupRoot                                              string
	}
	if err := json.Unmarshal([]byte(spec.Files["/etc/kubernetes/kubelet.json"]), &kubelet); err != nil {
		t.Fatal(err)
	}
	if kubelet.ImageGCHighThresholdPercent != 50 || kubelet.ImageGCLowThresholdPercent != 80 || kubelet.CgroupRoot != "/orlop-lab/unit/node1" {
		t.Errorf("kubelet %+v", kubelet)
	}
	if id := strings.TrimSpace(spec.Files["/etc/machine-id"]); len(id) != 32 {
		t.Errorf("machine id %q", id)
	}
}

func TestDockerSettings(t *testing.T) {
	s := lab(t, false)
	n, err := s.newNode(NodeOptions{Engine: Docker, Docker: map[string]any{"features": map[string]any{"containerd-snapshotter": false}}})
	if err != nil {
		t.Fatal(err)
	}
	spec, err := s.machineSpec(n)
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Features map[string]bool
		Bridge   string
	}
	if err := json.Unmarshal([]byte(spec.Files["/etc/docker/daemon.json"]), &config); err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{"time-namespaces": false, "containerd-snapshotter": false}
	if diff := cmp.Diff(want, config.Features); diff != "" || config.Bridge != "none" {
		t.Errorf("daemon.json: bridge %q, features %s", config.Bridge, diff)
	}
}

func TestNames(t *testing.T) {
	s := lab(t, true)
	if _, err := s.newNode(NodeOptions{}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"kubernetes.default.svc.cluster.local.": "10.96.0.1", "kubernetes.default.svc.": "10.96.0.1",
		"Private.Lab.": "172.30.0.1", "ghcr.io.": "172.30.0.1", "node1.": "172.30.0.11", "example.com.": "",
	} {
		query := dnsmessage.Message{Questions: []dnsmessage.Question{{
			Name: dnsmessage.MustNewName(name), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET,
		}}}
		packed, err := query.Pack()
		if err != nil {
			t.Fatal(err)
		}
		var answer dnsmessage.Message
		if err := answer.Unpack(s.answer(packed)); err != nil {
			t.Fatal(err)
		}
		if want == "" {
			if answer.RCode != dnsmessage.RCodeNameError {
				t.Errorf("%s: %v", name, answer.RCode)
			}
			continue
		}
		if len(answer.Answers) != 1 {
			t.Errorf("%s: answers %v", name, answer.Answers)
			continue
		}
		if got := netip.AddrFrom4(answer.Answers[0].Body.(*dnsmessage.AResource).A).String(); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	if s.answer([]byte("no query")) != nil {
		t.Error("an answer to no query")
	}
}

// A node is ready when the kubelet that runs now says so: the words of the one before it stay for most of a minute.
func TestOnlyTheKubeletThatRunsSaysThatItsNodeIsReady(t *testing.T) {
	for name, c := range map[string]struct {
		object string
		want   bool
	}{
		"it says so":               {`{"status": {"conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-01T00:00:10Z"}]}}`, true},
		"the one before it did":    {`{"status": {"conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-01T00:00:09Z"}]}}`, false},
		"it says no":               {`{"status": {"conditions": [{"type": "Ready", "status": "False", "lastHeartbeatTime": "2026-01-01T00:00:10Z"}]}}`, false},
		"it has said nothing":      {`{}`, false},
		"nothing may start there":  {`{"spec": {"taints": [{"key": "node.kubernetes.io/not-ready"}]}, "status": {"conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-01T00:00:10Z"}]}}`, false},
		"another taint is no harm": {`{"spec": {"taints": [{"key": "acme.example/gpu"}]}, "status": {"conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-01T00:00:10Z"}]}}`, true},
	} {
		t.Run(name, func(t *testing.T) {
			var object nodeObject
			if err := json.Unmarshal([]byte(c.object), &object); err != nil {
				t.Fatal(err)
			}
			if got := object.ready(time.Date(2026, 1, 1, 0, 0, 9, 500, time.UTC)); got != c.want {
				t.Errorf("ready: %t, want %t", got, c.want)
			}
		})
	}
}
