// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/test/e2e/stage"
	"orlop.dev/orlop/test/lab"
)

// TestTheNodesFollowATag: the controller cannot reach this registry, and the nodes can, by their mirror. One of them looks for all, at
// each refresh and on demand.
func TestTheNodesFollowATag(t *testing.T) {
	name := "docker.io/mirrored/moving:latest"
	push := func(seed string) string {
		return here.PushSpec(t, name, lab.ImageSpec{Layers: []lab.Layer{{Size: 100 << 10}}, Seed: seed})
	}
	spec := func(interval string) map[string]any {
		return map[string]any{"images": images("mirrored/moving"), "refreshInterval": interval}
	}
	first := push("first")
	kept(t, "followed", spec("10s"))
	if got := ready(t, "followed").Status.Images[0].Digest; got != first {
		t.Fatalf("status has the digest %q, want %s", got, first)
	}
	settled(t, "followed", "refreshed by a node", func(c v1alpha1.ImageCache) bool {
		return condition(c, v1alpha1.ConditionDegraded).Status == metav1.ConditionFalse
	})

	second := push("second")
	ended(t, "followed", name, second, first)

	cache(t, "followed", spec("0s"))
	ready(t, "followed")
	third := push("third")
	kubectl(t, "annotate", "imagecache", "followed", "orlop.dev/refresh=moved", "--overwrite")
	settled(t, "followed", "refreshed on demand", func(c v1alpha1.ImageCache) bool {
		return c.Status.Refresh == "moved" && c.Status.Images[0].Digest == third
	})
	ended(t, "followed", name, third, second)

	t.Run("and one that stands costs two writes", func(t *testing.T) {
		for _, node := range nodes { // The last words about the image that was let go are not this one's.
			stage.Eventually(t, node+" has nothing more to say", func() (bool, string) {
				store := storeOf(t, node)
				return len(store.Spec.Images) == 1 && len(store.Status.Images) == 1 && store.Status.ObservedRevision == store.Spec.Revision, fmt.Sprintf("%+v", store)
			})
		}
		mark, err := here.Lab(t).AuditMark()
		if err != nil {
			t.Fatal(err)
		}
		kubectl(t, "annotate", "imagecache", "followed", "orlop.dev/refresh=stands", "--overwrite")
		settled(t, "followed", "refreshed again", func(c v1alpha1.ImageCache) bool { return c.Status.Refresh == "stands" })
		ready(t, "followed")
		writes, err := here.Lab(t).Writes(mark)
		if err != nil {
			t.Fatal(err)
		}
		count := map[string]int{}
		for _, w := range writes {
			if (w.Object.Resource == "imagestores" || w.Object.Resource == "imagecaches") && w.Response.Code < 300 && strings.Contains(w.User.Name, "orlop") {
				count[strings.TrimSuffix(w.Object.Resource+"/"+w.Object.Subresource, "/")]++
			}
		}
		if count["imagestores"] != 1 || count["imagestores/status"] != 1 || count["imagecaches/status"] != 1 {
			t.Errorf("it took %v", count)
		}
	})
}

// ended waits until every node has the name as just this digest, pinned, and the old one nowhere.
func ended(t *testing.T, cache, name, digest, old string) {
	t.Helper()
	for _, node := range nodes {
		digestOn(t, node, name, digest)
		stage.Eventually(t, "the old digest has gone from "+node, func() (bool, string) {
			for _, img := range here.Images(t, node) {
				if strings.Contains(strings.Join(img.RepoDigests, " "), old) {
					return false, fmt.Sprintf("%+v", img)
				}
			}
			return true, ""
		})
		if !pinnedOn(t, node, name) {
			t.Errorf("it is not pinned on %s", node)
		}
	}
	settled(t, cache, "ready with "+digest, func(c v1alpha1.ImageCache) bool {
		return condition(c, v1alpha1.ConditionReady).Status == metav1.ConditionTrue && c.Status.Images[0].Digest == digest
	})
}

// TestTwoCachesFixATagDifferently: who loses is told by whom, until the other one goes.
func TestTwoCachesFixATagDifferently(t *testing.T) {
	name := at("fixed/a:1")
	digests := []string{
		here.PushSpec(t, name, lab.ImageSpec{Layers: []lab.Layer{{Size: 100 << 10}}}),
		here.PushSpec(t, name, lab.ImageSpec{Layers: []lab.Layer{{Size: 100 << 10}}, Seed: "other"}),
	}
	low, high := min(digests[0], digests[1]), max(digests[0], digests[1])
	kept(t, "fixed-high", map[string]any{"images": images(name + "@" + high)})
	ready(t, "fixed-high")
	without := func() {
		here.KubectlReads(t, "", "delete", "imagecache", "fixed-low", "-n", "default", "--ignore-not-found").Want(t, 0)
	}
	t.Cleanup(without)
	cache(t, "fixed-low", map[string]any{"images": images(name + "@" + low), "nodeSelector": map[string]any{"kubernetes.io/hostname": "node1"}})
	ready(t, "fixed-low")
	c := settled(t, "fixed-high", "in conflict", func(c v1alpha1.ImageCache) bool {
		return condition(c, v1alpha1.ConditionStalled).Reason == v1alpha1.ReasonConflict
	})
	if words := condition(c, v1alpha1.ConditionStalled).Message; !strings.Contains(words, "default/fixed-low") || c.Status.Summary != "2/3" {
		t.Errorf("%s, and it is told %q", c.Status.Summary, words)
	}
	without()
	ready(t, "fixed-high")
	for _, node := range nodes {
		digestOn(t, node, name, high)
	}
}
