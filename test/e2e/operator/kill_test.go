// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/test/e2e/stage"
	"orlop.dev/orlop/test/lab"
)

// killers end one part of the whole, hard; what they end comes back by itself, or by them.
var killers = map[string]func(t *testing.T){
	"the controller": func(t *testing.T) { killPods(t, controllerPods(t)...) },
	"an agent":       func(t *testing.T) { killPods(t, agentPod(t, "node1")) },
	"a containerd": func(t *testing.T) {
		cluster := here.Lab(t)
		if err := cluster.StopEngine(t.Context(), "node1"); err != nil {
			t.Fatal(err)
		}
		if err := cluster.StartEngine(t.Context(), "node1"); err != nil {
			t.Fatal(err)
		}
	},
	"the API server": func(t *testing.T) {
		if err := here.Lab(t).RestartAPIServer(t.Context()); err != nil {
			t.Fatal(err)
		}
	},
}

func killPods(t *testing.T, pods ...string) {
	t.Helper()
	kubectl(t, append([]string{"delete", "pod", "-n", system, "--grace-period=0", "--force"}, pods...)...)
}

// oneLeads waits until a controller that is there leads. After a restart of the API server, Kubernetes was seen to take 20 s until it replaced a pod that
// was killed; and where that one could not give its lease back, half a minute goes by until it has run out. What comes after that is Orlop's.
func oneLeads(t *testing.T) {
	t.Helper()
	stage.Within(t, 2*stage.Patience, "a controller leads", func() (bool, string) {
		holder := kubectl(t, "get", "lease", "orlop-controller", "-n", system, "-o", "jsonpath={.spec.holderIdentity}")
		return slices.ContainsFunc(controllerPods(t), func(pod string) bool { return strings.HasPrefix(holder, pod) }), holder
	})
}

// TestKilledInTheMiddleOfAPull: each part is killed while the nodes pull slowly, and it ends right all the same.
func TestKilledInTheMiddleOfAPull(t *testing.T) {
	for what, kill := range killers {
		t.Run(what, func(t *testing.T) {
			repository := "killed/" + map[string]string{"the controller": "a", "an agent": "b", "a containerd": "c", "the API server": "d"}[what]
			name := at(repository + ":1")
			here.PushSpec(t, name, lab.ImageSpec{Layers: []lab.Layer{{Size: 4 << 20}}})
			slow(t, name)
			kept(t, "killed", map[string]any{"images": images(name)})
			stage.Eventually(t, "the pull is under way", func() (bool, string) {
				store := storeOf(t, "node1")
				return slices.ContainsFunc(store.Status.Images, func(i v1alpha1.StoreImageStatus) bool {
					return i.Image == name && i.State == v1alpha1.ImagePulling && i.Pulled
				}), fmt.Sprintf("%+v", store.Status.Images)
			})
			kill(t)
			fast(t)
			oneLeads(t)
			ready(t, "killed")
			onNodes(t, name, nodes...)
			gone(t, "killed")
			onNodes(t, name)
		})
	}
}

// TestKilledInTheMiddleOfARemoval: what the cache let go of is gone in the end, and what it keeps is there.
func TestKilledInTheMiddleOfARemoval(t *testing.T) {
	for what, kill := range killers {
		t.Run(what, func(t *testing.T) {
			var names []string
			for i := range 12 {
				names = append(names, at(fmt.Sprintf("dropped/a%d:1", i)))
			}
			here.Push(t, names...)
			kept(t, "dropped", map[string]any{"images": images(names...)})
			ready(t, "dropped")
			cache(t, "dropped", map[string]any{"images": images(names[0])})
			kill(t)
			oneLeads(t)
			for _, name := range names[1:] {
				onNodes(t, name)
			}
			onNodes(t, names[0], nodes...)
			ready(t, "dropped")
			gone(t, "dropped")
		})
	}
}

// slow makes the registry serve the content of an image at a trickle, until fast or the test's end.
func slow(t *testing.T, name string) {
	t.Helper()
	repository := untagged(name)
	if err := here.Lab(t).AddFault(t.Context(), lab.Fault{Images: repository, Only: "blobs", BytesPerSecond: 256 << 10}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { fast(t) })
}

func fast(t *testing.T) {
	t.Helper()
	if err := here.Lab(t).ClearFaults(detached(t)); err != nil {
		t.Error(err)
	}
}

// TestAnImageInUseIsNotLetGo: the cache goes, and the pod's image stays until the pod has gone too.
func TestAnImageInUseIsNotLetGo(t *testing.T) {
	name := at("used/a:1")
	here.Push(t, name)
	kept(t, "used", map[string]any{"images": images(name)})
	ready(t, "used")
	pod := fmt.Sprintf(`{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "used", "namespace": "default"},
	  "spec": {"nodeName": "node1", "terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": %q}]}}`, name)
	here.Apply(t, pod)
	kubectl(t, "wait", "pod/used", "--for=condition=Ready", "--timeout=60s")
	kubectl(t, "delete", "imagecache", "used")
	onNodes(t, name, "node1")
	stage.Eventually(t, "the store says what holds it", func() (bool, string) {
		store := storeOf(t, "node1")
		return slices.ContainsFunc(store.Status.Images, func(i v1alpha1.StoreImageStatus) bool {
			return i.Image == name && i.State == v1alpha1.ImageReleasing && i.Message != ""
		}), fmt.Sprintf("%+v", store.Status.Images)
	})
	if pinnedOn(t, "node1", name) {
		t.Error("what no cache wants is still pinned")
	}
	kubectl(t, "delete", "pod", "used", "--grace-period=0", "--force")
	stage.Within(t, 30*time.Second, "the image goes once its pod is gone", func() (bool, string) {
		return !here.HasTag(t, "node1", name), fmt.Sprintf("%+v", storeOf(t, "node1").Status.Images)
	})
}

// TestAWaitingPodHoldsItsImage: the pod cannot start, and names the image all the same.
func TestAWaitingPodHoldsItsImage(t *testing.T) {
	name := at("waited/a:1")
	here.Push(t, name)
	here.Emptied(t, "node1", at("waited/"))
	kept(t, "waited", map[string]any{"images": images(name)})
	ready(t, "waited")
	here.Apply(t, fmt.Sprintf(`{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "waiting", "namespace": "default"},
	  "spec": {"nodeName": "node1", "terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": %q, "envFrom": [{"configMapRef": {"name": "no-such"}}]}]}}`, name))
	kubectl(t, "delete", "imagecache", "waited")
	onNodes(t, name, "node1")
	stage.Eventually(t, "the store names the pod", func() (bool, string) {
		store := storeOf(t, "node1")
		return slices.ContainsFunc(store.Status.Images, func(i v1alpha1.StoreImageStatus) bool {
			return i.Image == name && i.State == v1alpha1.ImageReleasing && i.Reason == "Needed"
		}), fmt.Sprintf("%+v", store.Status.Images)
	})
	kubectl(t, "delete", "pod", "waiting", "--grace-period=0", "--force")
	stage.Within(t, 3*time.Minute, "the image goes with the pod", func() (bool, string) {
		return !here.HasTag(t, "node1", name), fmt.Sprintf("%+v", storeOf(t, "node1").Status.Images)
	})
}
