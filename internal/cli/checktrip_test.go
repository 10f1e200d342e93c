// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	corev1 "k8s.io/api/core/v1"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/term"
)

const tiny = "registry.example/tiny:1"

// travelled makes the agents of a shop pull and remove tiny: the inventory of the node has it in between. first answers the first job
// instead, if it is set; false: no answer comes.
func (s *apiServer) travelled(first func() (v1alpha1.StoreJobStatus, bool)) {
	var mu sync.Mutex
	jobs := 0
	s.jobs = func(job *v1alpha1.NodeJob) {
		mu.Lock()
		defer mu.Unlock()
		jobs++
		done, state := answers{}, pulled(tiny, 7e5)
		if job.Spec.Remove != nil {
			state = freeing(v1alpha1.JobImage{Image: tiny, State: v1alpha1.JobImageRemoved, ID: "sha256:7777777777777777", Bytes: 7e5})
		}
		if jobs == 1 && first != nil {
			var answer bool
			if state, answer = first(); !answer {
				return
			}
		}
		for _, node := range job.Spec.NodeNames {
			done[node] = state
			inventory := anInventory(node)
			if job.Spec.Pull != nil && state.State == v1alpha1.JobSucceeded {
				inventory = anInventory(node, v1alpha1.InventoryImage{ID: "sha256:7777777777777777", Tags: []string{tiny}, Digests: []string{"registry.example/tiny@" + digestA}})
			}
			s.put(inventory)
		}
		s.answer(job, done)
	}
}

type checked struct {
	Items []finding
}

// of are the messages of one check, with their status before them.
func (c checked) of(check string) (all []string) {
	for _, f := range c.Items {
		if f.Check == check {
			all = append(all, f.Status+": "+f.Message)
		}
	}
	return all
}

func (s *apiServer) checks(t *testing.T, line ...string) (int, checked, string) {
	t.Helper()
	code, out, errs := s.run(append([]string{"check", "--e2e", "--image-to-pull", tiny, "-o", "json"}, line...)...)
	var found checked
	if err := json.Unmarshal([]byte(out), &found); err != nil {
		t.Fatalf("%v\n%s%s", err, out, errs)
	}
	return code, found, errs
}

// nodeJobWrites are how NodeJobs were made and deleted, in their order.
func (s *apiServer) nodeJobWrites() (verbs []string) {
	for _, w := range s.writes() {
		if verb, path, _ := strings.Cut(w, " "); strings.Contains(path, "/nodejobs") && verb != "PATCH" {
			verbs = append(verbs, verb)
		}
	}
	return verbs
}

// TestRoundTrip: the image is pulled, listed and removed, on the first node that is well and without it, and the NodeJobs go.
func TestRoundTrip(t *testing.T) {
	for label, tt := range map[string]struct {
		line, nodes string
	}{
		"one":    {"", "node-1"},
		"chosen": {"--node node-1,node-2", "node-1, node-2"},
	} {
		t.Run(label, func(t *testing.T) {
			s := shop(t)
			s.travelled(nil)
			_, found, errs := s.checks(t, strings.Fields(tt.line)...)
			steps := found.of("e2e")
			if len(steps) != 3 {
				t.Fatalf("%q\n%s", steps, errs)
			}
			for i, want := range []string{"ok: pulled " + tiny + " on " + tt.nodes + " in ", "ok: listed it on " + tt.nodes, "ok: removed it again on " + tt.nodes} {
				if !strings.HasPrefix(steps[i], want) {
					t.Errorf("step %d is %q, want %q", i, steps[i], want)
				}
			}
			if diff := cmp.Diff([]string{"POST", "POST", "DELETE", "DELETE"}, s.nodeJobWrites()); diff != "" || len(s.jobsThere(t)) > 0 {
				t.Errorf("%s %d NodeJobs are left", diff, len(s.jobsThere(t)))
			}
		})
	}
}

// TestRoundTripSparesWhatWasThere: nothing is pulled or removed where the image is already.
func TestRoundTripSparesWhatWasThere(t *testing.T) {
	has := v1alpha1.InventoryImage{ID: "sha256:7777777777777777", Tags: []string{tiny}, Digests: []string{"registry.example/tiny@" + digestA}}
	s := shop(t, anInventory("node-1", has), anInventory("node-2", has), anInventory("node-4", has))
	_, found, _ := s.checks(t)
	if diff := cmp.Diff([]string{"warning: no round trip: " + tiny + " is on node-1, node-2 already, and check removes nothing that was there before"}, found.of("e2e")); diff != "" || len(s.writes()) > 0 {
		t.Errorf("%s %v", diff, s.writes())
	}
	s = shop(t, anInventory("node-1", has))
	s.travelled(nil)
	_, found, _ = s.checks(t)
	if got := found.of("e2e"); len(got) != 3 || !strings.Contains(got[0], "on node-2 in") {
		t.Errorf("%q", got)
	}
	// It came in the moment between the look and the pull: it is somebody else's.
	s = shop(t)
	s.travelled(func() (v1alpha1.StoreJobStatus, bool) {
		there := pulled(tiny, 0)
		there.Pulled, there.Present = 0, 1
		there.Images[0].State = v1alpha1.JobImagePresent
		return there, true
	})
	_, found, _ = s.checks(t)
	if diff := cmp.Diff([]string{"warning: node-1: " + tiny + " was pulled by someone else just now, and stays"}, found.of("e2e")); diff != "" {
		t.Error(diff)
	}
	if got := s.nodeJobWrites(); !slices.Equal(got, []string{"POST", "DELETE"}) {
		t.Errorf("writes %v", got)
	}
}

// TestRoundTripFails: a step that fails has its cause and a fix, and ends the trip with the code for nodes that failed.
func TestRoundTripFails(t *testing.T) {
	s := shop(t)
	s.travelled(func() (v1alpha1.StoreJobStatus, bool) {
		return v1alpha1.StoreJobStatus{State: v1alpha1.JobFailed, Failed: 1, Images: []v1alpha1.JobImage{
			{Image: tiny, State: v1alpha1.JobImageFailed, Reason: "NotFound", Message: "pulling " + tiny + ": manifest unknown"}}}, true
	})
	code, found, _ := s.checks(t)
	if diff := cmp.Diff([]string{"error: node-1: " + tiny + " NotFound: manifest unknown"}, found.of("e2e")); diff != "" || code != term.ExitPartial {
		t.Errorf("exit code %d %s", code, diff)
	}
	at := slices.IndexFunc(found.Items, func(f finding) bool { return f.Check == "e2e" })
	if !strings.Contains(found.Items[at].Fix, "kubectl orlop check --e2e --image-to-pull IMAGE") {
		t.Errorf("fix %q", found.Items[at].Fix)
	}
	if got := s.nodeJobWrites(); !slices.Equal(got, []string{"POST", "DELETE"}) {
		t.Errorf("writes %v", got)
	}
}

// TestRoundTripInterrupted: one Ctrl-C ends it, and what may have come is removed, and the NodeJobs go.
func TestRoundTripInterrupted(t *testing.T) {
	s := shop(t)
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	s.travelled(func() (v1alpha1.StoreJobStatus, bool) {
		interrupt()
		return v1alpha1.StoreJobStatus{}, false
	})
	var out, errs bytes.Buffer
	code := Run(ctx, Config{Streams: term.Streams{In: strings.NewReader(""), Out: &out, Err: &errs}}, []string{"kubectl-orlop", "check", "--e2e", "--image-to-pull", tiny, "--server", s.URL})
	if code != term.ExitInterrupted {
		t.Errorf("exit code %d", code)
	}
	expect(t, errs.String(), "removing what the check has pulled", tiny+" is no longer on node-1")
	if got := s.nodeJobWrites(); !slices.Equal(got, []string{"POST", "DELETE", "POST", "DELETE", "DELETE"}) || len(s.jobsThere(t)) > 0 {
		t.Errorf("writes %v, %d NodeJobs left", got, len(s.jobsThere(t)))
	}
}

func TestRoundTripFlags(t *testing.T) {
	s := shop(t)
	for line, want := range map[string]string{
		"check --e2e --pre":                     "--pre looks only, and --e2e acts",
		"check --image-to-pull nginx":           "--image-to-pull is for --e2e",
		"check --e2e --image-to-pull Nginx:1":   "Nginx",
		"check --e2e --image-to-pul registry/a": "image-to-pull",
	} {
		code, _, errs := s.run(strings.Fields(line)...)
		if code != term.ExitError || !strings.Contains(errs, want) {
			t.Errorf("%s: exit code %d %s", line, code, errs)
		}
	}
}

// TestAroundTheRoundTrip: the registries that caches use, the metrics, and what an earlier check has left.
func TestAroundTheRoundTrip(t *testing.T) {
	server := httptest.NewServer(registry.New())
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	web := aCache("web", 1, v1alpha1.ImageCacheStatus{})
	web.Spec.Images = []v1alpha1.CachedImage{{Image: host + "/acme/web:1"}, {Image: host + "/acme/other:1"}}
	agent := anAgent("node-1", true)
	agent.Spec.Containers[0].Ports = []corev1.ContainerPort{{Name: "metrics", ContainerPort: 9808}}
	earlier := &v1alpha1.NodeJob{TypeMeta: ofKind("NodeJob")}
	earlier.Name, earlier.Namespace, earlier.Labels = "check-abcde", "ops", map[string]string{"app.kubernetes.io/managed-by": "kubectl-orlop"}
	s := shop(t, web, agent, earlier)
	s.travelled(nil)
	s.metrics = "# HELP orlop_node_images Images.\n# TYPE orlop_node_images gauge\norlop_node_images 3\n"
	_, found, _ := s.checks(t)
	if got := found.of("metrics"); len(got) != 1 || !strings.HasPrefix(got[0], "ok: 1 metric of the agent of node-1 read in ") {
		t.Errorf("%q", got)
	}
	got := found.of("registries")
	if len(got) != 1 || !strings.HasPrefix(got[0], "warning: "+host+", asked from this machine anonymously for "+host+"/acme/web:1: ") {
		t.Errorf("%q", got)
	}
	if got := found.of("leftovers"); !slices.Contains(got, "warning: NodeJob ops/check-abcde is of an earlier check") {
		t.Errorf("%q", got)
	}
	ref, err := name.ParseReference(host + "/acme/web:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, empty.Image); err != nil {
		t.Fatal(err)
	}
	s.denied["/proxy/metrics"] = `pods "orlop-agent-node-1" is forbidden: User "ann" cannot get resource "pods/proxy" in API group "" in the namespace "orlop-system"`
	_, found, _ = s.checks(t)
	if got := found.of("metrics"); len(got) != 1 || !strings.HasPrefix(got[0], "warning: you may not read the agent of node-1's metrics") {
		t.Errorf("%q", got)
	}
	if got := found.of("registries"); len(got) != 1 || !strings.HasPrefix(got[0], "ok: "+host+" answers this machine in ") {
		t.Errorf("%q", got)
	}
}
