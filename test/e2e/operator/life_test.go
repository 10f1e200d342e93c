// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/test/e2e/stage"
	"orlop.dev/orlop/test/lab"
)

// at is a name of an image that the controller and the nodes find at the same place.
func at(path string) string { return lab.PlainHost + "/" + path }

// TestLife is kube-fledged's life of a cache, without its rules about what may be edited and when.
func TestLife(t *testing.T) {
	a, b, c := at("life/a:1"), at("life/b:1"), at("life/c:1")
	here.Push(t, a, b, c)
	kept(t, "life", map[string]any{"images": images(a, b)})
	status := ready(t, "life").Status
	if status.Summary != "3/3" || status.ImageCount != 2 || len(status.Failures) != 0 {
		t.Errorf("status %+v", status)
	}
	for _, name := range []string{a, b} {
		onNodes(t, name, nodes...)
		for _, node := range nodes {
			if !pinnedOn(t, node, name) {
				t.Errorf("%s is not pinned on %s", name, node)
			}
		}
	}
	row := strings.Fields(kubectl(t, "get", "imagecache", "life", "--no-headers"))
	if len(row) < 6 || row[1] != "2" || row[2] != "3/3" {
		t.Errorf("kubectl get shows %v", row)
	}
	kubectl(t, "wait", "imagecache/life", "--for=condition=Ready", "--timeout=5s")

	t.Run("add one, remove one", func(t *testing.T) {
		cache(t, "life", map[string]any{"images": images(b, c)})
		ready(t, "life")
		onNodes(t, c, nodes...)
		onNodes(t, a)
		onNodes(t, b, nodes...)
	})
	t.Run("empty it", func(t *testing.T) {
		cache(t, "life", map[string]any{"images": images()})
		onNodes(t, b)
		onNodes(t, c)
		ready(t, "life")
	})
	t.Run("fill it again, and delete it", func(t *testing.T) {
		cache(t, "life", map[string]any{"images": images(a)})
		onNodes(t, a, nodes...)
		gone(t, "life")
		onNodes(t, a)
	})
}

func TestKeepLeavesWhatItBrought(t *testing.T) {
	name := at("keep/a:1")
	here.Push(t, name)
	for _, node := range nodes {
		here.Emptied(t, node, at("keep/"))
	}
	kept(t, "keep", map[string]any{"images": images(name), "removalPolicy": "Keep"})
	ready(t, "keep")
	gone(t, "keep")
	for _, node := range nodes {
		if img, ok := here.Image(t, node, name); !ok || img.Pinned {
			t.Errorf("on %s the image is there: %v, pinned: %v", node, ok, img.Pinned)
		}
	}
}

func TestWhatWasFoundStays(t *testing.T) {
	name := at("found/a:1")
	here.Push(t, name)
	here.Emptied(t, "node1", at("found/"))
	if _, err := here.Lab(t).Crictl(t.Context(), "node1", "pull", name); err != nil {
		t.Fatal(err)
	}
	kept(t, "found", map[string]any{"images": images(name)})
	ready(t, "found")
	if !pinnedOn(t, "node1", name) {
		t.Error("what was found is not pinned")
	}
	gone(t, "found")
	onNodes(t, name, "node1")
	if pinnedOn(t, "node1", name) {
		t.Error("what was found is still pinned")
	}
}

func TestRefreshFollowsATag(t *testing.T) {
	name := at("moving/web:latest")
	first := here.PushSpec(t, name, lab.ImageSpec{Layers: []lab.Layer{{Size: 100 << 10}}})
	kept(t, "moving", map[string]any{"images": images(name), "refreshInterval": "0s"})
	if got := ready(t, "moving").Status.Images[0].Digest; got != first {
		t.Errorf("the digest in status is %s, want %s", got, first)
	}

	cut := spare(t)
	if err := here.Lab(t).CutNetwork(t.Context(), cut); err != nil {
		t.Fatal(err)
	}
	restored := false
	restore := func() {
		if !restored {
			restored = true
			if err := here.Lab(t).RestoreNetwork(t.Context(), cut); err != nil {
				t.Fatal(err)
			}
		}
	}
	defer restore()
	second := here.PushSpec(t, name, lab.ImageSpec{Layers: []lab.Layer{{Size: 100 << 10}}, Seed: "moved"})
	kubectl(t, "annotate", "imagecache", "moving", "orlop.dev/refresh=now", "--overwrite")
	for _, node := range nodes {
		if node != cut {
			digestOn(t, node, name, second)
		}
	}
	settled(t, "moving", "refreshed", func(c v1alpha1.ImageCache) bool {
		return c.Status.Refresh == "now" && c.Status.Images[0].Digest == second
	})
	if !here.HasTag(t, cut, name) {
		t.Error("the node that is cut off has lost its image")
	}
	restore()
	digestOn(t, cut, name, second)
	ready(t, "moving")
	for _, node := range nodes {
		stage.Eventually(t, "the old digest has gone from "+node, func() (bool, string) {
			for _, img := range here.Images(t, node) {
				if strings.Contains(strings.Join(img.RepoDigests, " "), first) {
					return false, fmt.Sprintf("%+v", img)
				}
			}
			return true, ""
		})
		if !pinnedOn(t, node, name) {
			t.Errorf("the new image is not pinned on %s", node)
		}
	}
}

// digestOn waits until crictl shows the name with just this digest.
func digestOn(t *testing.T, node, name, digest string) {
	t.Helper()
	stage.Eventually(t, fmt.Sprintf("%s is %s on %s", name, digest, node), func() (bool, string) {
		img, ok := here.Image(t, node, name)
		return ok && strings.Contains(strings.Join(img.RepoDigests, " "), digest), fmt.Sprintf("%+v", img)
	})
}

func TestPurge(t *testing.T) {
	name := at("purged/a:1")
	here.Push(t, name)
	kept(t, "purged", map[string]any{"images": images(name), "refreshInterval": "10s"})
	ready(t, "purged")
	kubectl(t, "annotate", "imagecache", "purged", "orlop.dev/purge=1", "--overwrite")
	onNodes(t, name)
	settled(t, "purged", "purged", func(c v1alpha1.ImageCache) bool { return c.Status.Purge == "1" })
	kubectl(t, "annotate", "imagecache", "purged", "orlop.dev/refresh=1", "--overwrite")
	onNodes(t, name, nodes...)
	ready(t, "purged")
}

func TestTwoCachesShareAnImage(t *testing.T) {
	name := at("shared/a:1")
	here.Push(t, name)
	here.KubectlReads(t, `{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "other"}}`, "apply", "-f", "-").Want(t, 0)
	t.Cleanup(func() { here.KubectlReads(t, "", "delete", "namespace", "other", "--wait=false") })
	kept(t, "shared", map[string]any{"images": images(name)})
	second, _ := json.Marshal(map[string]any{"apiVersion": "orlop.dev/v1alpha1", "kind": "ImageCache",
		"metadata": map[string]any{"name": "shared", "namespace": "other"}, "spec": map[string]any{"images": images(name), "nodeSelector": map[string]any{"kubernetes.io/hostname": "node2"}}})
	here.KubectlReads(t, string(second), "apply", "-f", "-").Want(t, 0)
	ready(t, "shared")
	stage.Eventually(t, "the second cache is ready too", func() (bool, string) {
		c := get[v1alpha1.ImageCache](t, "imagecache", "other", "shared")
		return condition(c, v1alpha1.ConditionReady).Status == metav1.ConditionTrue && c.Status.Summary == "1/1", fmt.Sprintf("%+v", c.Status)
	})
	kubectl(t, "delete", "imagecache", "shared", "-n", "default")
	onNodes(t, name, "node2")
	if !pinnedOn(t, "node2", name) {
		t.Error("the image that a cache still wants is not pinned any more")
	}
	kubectl(t, "delete", "imagecache", "shared", "-n", "other")
	onNodes(t, name)
}

// TestFiveEditsInASecond: what the list ends with is there, and of the rest nothing stays, in seconds, under any name: at whatever moment
// of a pull the edit came that took its image off the list.
func TestFiveEditsInASecond(t *testing.T) {
	const released = 30 * time.Second
	for round, pause := range []time.Duration{0, 50 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond} {
		t.Run(pause.String(), func(t *testing.T) {
			folder := fmt.Sprintf("edits%d/", round)
			var names []string
			for i := range 6 {
				names = append(names, at(fmt.Sprintf("%sa%d:1", folder, i)))
			}
			here.Push(t, names...)
			t.Cleanup(func() { gone(t, "edits") })
			cache(t, "edits", map[string]any{"images": images(names[0], names[1])})
			begun := time.Now()
			edit(t, "edits", pause, [][]string{names[1:3], names[2:4], names[3:5], names[4:6]})
			t.Logf("the edits took %s", time.Since(begun).Round(time.Millisecond))
			begun = time.Now()
			ready(t, "edits")
			for _, node := range nodes {
				stage.Within(t, released, "nothing of what was taken off the list is on "+node, func() (bool, string) {
					left := slices.DeleteFunc(here.Names(t, node), func(name string) bool {
						return !strings.HasPrefix(name, at(folder)) || strings.HasPrefix(name, at(folder+"a4")) || strings.HasPrefix(name, at(folder+"a5"))
					})
					return len(left) == 0, fmt.Sprint(left)
				})
			}
			t.Logf("the rest was let go %s after the last edit", time.Since(begun).Round(time.Millisecond))
			for _, name := range names[4:] {
				onNodes(t, name, nodes...)
			}
		})
	}
}

// edit replaces the list of a cache again and again, by one process: a program for each edit would take longer than a second.
func edit(t *testing.T, name string, pause time.Duration, lists [][]string) {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", here.Lab(t).Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	for i, list := range lists {
		if i > 0 && pause > 0 {
			<-time.After(pause) // How far the pulls are by then is what differs.
		}
		body, err := json.Marshal(map[string]any{"spec": map[string]any{"images": images(list...)}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = client.Resource(v1alpha1.GroupVersion.WithResource("imagecaches")).Namespace("default").
			Patch(t.Context(), name, types.MergePatchType, body, metav1.PatchOptions{})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestOneBadImageHoldsUpNothing(t *testing.T) {
	good, bad := at("mixed/good:1"), at("mixed/absent:1")
	here.Push(t, good)
	begun := time.Now()
	kept(t, "mixed", map[string]any{"images": images(bad, good)})
	c := settled(t, "mixed", "stalled", func(c v1alpha1.ImageCache) bool {
		return condition(c, v1alpha1.ConditionStalled).Status == metav1.ConditionTrue
	})
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("it took %s until status told of the missing image", took)
	}
	if len(c.Status.Failures) == 0 || c.Status.Failures[0].Image != bad || c.Status.Failures[0].Reason != "NotFound" || c.Status.Failures[0].Message == "" {
		t.Errorf("failures %+v", c.Status.Failures)
	}
	onNodes(t, good, nodes...)
	t.Run("and is had once it is there", func(t *testing.T) {
		here.Push(t, bad)
		kubectl(t, "annotate", "imagecache", "mixed", "orlop.dev/refresh=again", "--overwrite")
		onNodes(t, bad, nodes...)
		ready(t, "mixed")
	})
}

// TestTheNodesHaveTheLastWord: the controller cannot reach this registry, and the nodes can, by their mirror.
func TestTheNodesHaveTheLastWord(t *testing.T) {
	name := "docker.io/mirrored/a:1"
	digest := here.PushSpec(t, name, lab.ImageSpec{Layers: []lab.Layer{{Size: 100 << 10}}})
	kept(t, "mirrored", map[string]any{"images": images("mirrored/a:1")})
	if got := ready(t, "mirrored").Status.Images[0].Digest; got != digest {
		t.Errorf("status has the digest %q, want %s", got, digest)
	}
	onNodes(t, name, nodes...)
}
