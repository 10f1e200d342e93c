// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/test/e2e/stage"
	"orlop.dev/orlop/test/lab"
)

// TestBytesLeft: how far a pull is stands in the objects while somebody looks on, and costs nothing else.
func TestBytesLeft(t *testing.T) {
	name := at("watched/a:1")
	const size = 8 << 20 // half a minute, while a busy machine takes its time to look
	here.PushSpec(t, name, lab.ImageSpec{Layers: []lab.Layer{{Size: size}}})
	slow(t, name)
	kept(t, "watched", map[string]any{"images": images(name)})
	pulling := func(node string) (v1alpha1.StoreImageStatus, bool) {
		for _, image := range storeOf(t, node).Status.Images {
			if image.Image == name && image.State == v1alpha1.ImagePulling {
				return image, true
			}
		}
		return v1alpha1.StoreImageStatus{}, false
	}
	for _, node := range nodes {
		stage.Eventually(t, "the pull is under way on "+node, func() (bool, string) {
			image, ok := pulling(node)
			return ok, fmt.Sprintf("%+v", image)
		})
	}
	if image, _ := pulling("node1"); image.Progress != nil || cacheOf(t, "watched").Status.BytesLeft != nil {
		t.Errorf("nobody looks on, and it tells %+v", image.Progress)
	}
	got := here.Orlop(t, "status", "imagecache/watched").Want(t, 0)
	if !strings.Contains(got.Out, "BYTES LEFT") || !strings.Contains(got.Out, "MB ") {
		t.Errorf("what is left is known by the image's size, and is not told: %s", got)
	}

	kubectl(t, "annotate", "imagecache", "watched", v1alpha1.AnnotationWatchedUntil+"="+time.Now().Add(time.Minute).UTC().Format(time.RFC3339))
	var least int64 = math.MaxInt64
	for range 2 {
		before := least
		stage.Eventually(t, "less and less is left", func() (bool, string) {
			left := cacheOf(t, "watched").Status.BytesLeft
			if left == nil || *left >= before || *left == 0 {
				return false, fmt.Sprint(left)
			}
			least = *left
			image, _ := pulling("node2")
			return image.Progress != nil && image.Progress.DoneBytes > 0 && image.Progress.TotalBytes >= size, fmt.Sprintf("%+v", image.Progress)
		})
	}
	fast(t)
	ready(t, "watched")
	stage.Eventually(t, "nothing of it is left behind", func() (bool, string) {
		image, _ := pulling("node1")
		left := cacheOf(t, "watched").Status.BytesLeft
		return image.Progress == nil && left == nil, fmt.Sprint(image.Progress, left)
	})
}

// TestAnUpgradeHandsOverSoon: the new controller works within seconds of the old one's end.
func TestAnUpgradeHandsOverSoon(t *testing.T) {
	holder := func() string {
		return kubectl(t, "get", "lease", "orlop-controller", "-n", system, "-o", "jsonpath={.spec.holderIdentity}")
	}
	before := holder()
	kubectl(t, "rollout", "restart", "deployment/orlop-controller", "-n", system)
	var ended time.Time
	stage.Eventually(t, "another one has the lease", func() (bool, string) {
		now := holder()
		if now != before && ended.IsZero() {
			ended = time.Now()
		}
		return now != "" && now != before, now
	})
	if took := time.Since(ended); took > 8*time.Second { // 4.4 s, and what a busy machine takes.
		t.Errorf("nobody worked for %s", took)
	} else {
		t.Logf("nobody worked for %s", took.Round(100*time.Millisecond))
	}
	kubectl(t, "rollout", "status", "deployment/orlop-controller", "-n", system, "--timeout=60s")
}

// TestViewers: who has the view roles, and no other right, may look at everything.
func TestViewers(t *testing.T) {
	here.Apply(t, `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: viewer}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: orlop-view}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: viewer}]
`)
	name := at("viewed/a:1")
	here.Push(t, name)
	kept(t, "viewed", map[string]any{"images": images(name)})
	ready(t, "viewed")
	look := map[string][]string{
		"viewed/a": {"list", "--as", "viewer"}, "node3": {"df", "--as", "viewer"}, "3/3": {"status", "imagecache/viewed", "--as", "viewer"}, "": {"drift", "--offline", "--as", "viewer"},
	}
	for words, line := range look {
		stage.Eventually(t, strings.Join(line, " ")+" shows it", func() (bool, string) {
			got := here.Orlop(t, line...).Want(t, 0)
			return strings.Contains(got.Out, words), got.String()
		})
	}
	if got := here.Orlop(t, "list", "--as", "viewer").Want(t, 0); !strings.Contains(got.Err, "--role orlop-view --user viewer") {
		t.Errorf("it does not say how the agents could be seen: %s", got)
	}
	here.Apply(t, `
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: viewer, namespace: orlop-system}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: orlop-view}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: viewer}]
`)
	look["3/3 ready"] = []string{"status", "--as", "viewer"}
	for words, line := range look {
		if got := here.Orlop(t, line...).Want(t, 0); !strings.Contains(got.Out, words) || strings.Contains(got.Err, "may not") || strings.Contains(got.Err, "no right") {
			t.Errorf("%s: %s", line, got)
		}
	}
	if got := here.Orlop(t, "rm", name, "--yes", "--as", "viewer"); got.Code == 0 || !here.HasTag(t, "node1", name) {
		t.Errorf("a viewer removes: %s", got)
	}
}
