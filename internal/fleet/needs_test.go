// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/plan"
	"orlop.dev/orlop/internal/session"
)

func aPod(name, node string, images ...string) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop"}, Spec: corev1.PodSpec{NodeName: node}}
	for _, image := range images {
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: "c", Image: image})
	}
	return pod
}

func refs(needs plan.Needs) []string {
	var list []string
	for _, item := range needs.Items {
		if item.By != "" {
			list = append(list, item.Ref.Familiar())
		}
	}
	return list
}

func TestNeedsOf(t *testing.T) {
	pod := aPod("web", "a", "nginx:1", "HARBOR/team/app:1", "no/valid:1:2")
	pod.Spec.InitContainers = []corev1.Container{{Image: "init:1"}}
	pod.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Image: "debug"}}}
	pod.Spec.Volumes = []corev1.Volume{{Name: "model", VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: "ghcr.io/acme/model:2"}}}, {Name: "other"}}
	got := refs(plan.Needs{Items: needsOf(pod, false)})
	want := []string{"init:1", "nginx:1", "HARBOR/team/app:1", "debug:latest", "ghcr.io/acme/model:2"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestNeedsOfShortNames: where CRI-O runs, a name without a registry is told as it was written.
func TestNeedsOfShortNames(t *testing.T) {
	const digest = "@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	cases := map[string]struct{ image, ref, short string }{
		"a name":          {"app:1", "docker.io/library/app:1", "app:1"},
		"no tag":          {"app", "docker.io/library/app:latest", "app"},
		"a path":          {"team/app:1", "docker.io/team/app:1", "team/app:1"},
		"by digest":       {"app:1" + digest, "docker.io/library/app" + digest, "app:1" + digest},
		"a registry":      {"quay.io/app:1", "quay.io/app:1", ""},
		"a port":          {"registry:5000/app:1", "registry:5000/app:1", ""},
		"localhost":       {"localhost/app:1", "localhost/app:1", ""},
		"upper-case host": {"HARBOR/app:1", "HARBOR/app:1", ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			n := newNeeds(newFleet(Config{}, nil), []Node{{Name: "a", Runtime: "cri-o"}, {Name: "b", Runtime: "containerd"}})
			n.replace([]*corev1.Pod{aPod("web", "a", c.image), aPod("web", "b", c.image)})
			onCRIO, _ := n.of("a")
			other, _ := n.of("b")
			if got := onCRIO.Items[0]; got.Ref.String() != c.ref || got.Short != c.short {
				t.Errorf("%+v, want %s with %q", got, c.ref, c.short)
			}
			if got := other.Items[0]; got.Short != "" {
				t.Errorf("on containerd: %+v", got)
			}
		})
	}
}

// TestNeedsAreSentAndKeptCurrent: a node hears what its own pods name, hears of a new one, and hears at least several
// times a minute how current that is.
func TestNeedsAreSentAndKeptCurrent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c *cluster
		busy := func(n *nodeEnd) error {
			if err := n.start(); err != nil {
				return err
			}
			first := n.request.Needs
			if !first.Known || !slices.Contains(refs(first), "nginx:1") || slices.Contains(refs(first), "elsewhere:1") {
				t.Errorf("the request has %+v", first)
			}
			if age := time.Since(first.AsOf); age > time.Second {
				t.Errorf("the request's needs are %s old", age)
			}
			if err := c.client.Tracker().Add(aPod("late", "a", "late:1")); err != nil {
				t.Error(err)
			}
			for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); {
				u, err := n.update()
				if err != nil {
					return err
				}
				if u.Needs != nil && !slices.Contains(refs(*u.Needs), "late:1") {
					t.Errorf("an update without the new pod: %q", refs(*u.Needs))
				}
				asOf := u.AsOf
				if u.Needs != nil && asOf.IsZero() {
					asOf = u.Needs.AsOf
				}
				// What it says of its age must hold up to the next update.
				if age := time.Since(asOf); age > plan.NeedsMaxAge/2 {
					t.Errorf("an update's needs are %s old", age)
				}
			}
			return n.finish(session.Result{Reason: engine.Unknown, Error: "done with it"})
		}
		c = newCluster(t, map[string]host{"a": {session: busy}}, aNode("a"), aNode("b"))
		for _, pod := range []*corev1.Pod{aPod("web", "a", "nginx:1"), aPod("other", "b", "elsewhere:1"), aPod("unbound", "", "nowhere:1")} {
			if err := c.client.Tracker().Add(pod); err != nil {
				t.Fatal(err)
			}
		}
		job := remove()
		job.Timeout = 10 * time.Minute
		if o := c.run(t.Context(), job)[0]; o.Trouble == nil || o.Trouble.Message != "done with it" {
			t.Errorf("%s %+v", o.State, o.Trouble)
		}
	})
}
