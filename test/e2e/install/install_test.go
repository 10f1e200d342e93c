// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/test/e2e/stage"
	"orlop.dev/orlop/test/lab"
)

// kept is what a cache keeps through an installation's life.
const kept = lab.PlainHost + "/install/kept:1"

const cache = `{apiVersion: orlop.dev/v1alpha1, kind: ImageCache, metadata: {name: kept, namespace: default}, spec: {images: [{image: "` + kept + `"}]}}`

// An installation's life: it comes and is ready, keeps an image, is upgraded while that stays where it is, and goes: the image stays,
// and its pin does not. What people wrote stays until the kinds go, and then nothing is left.
func TestLife(t *testing.T) {
	for _, w := range []struct {
		name string
		way
	}{{"Helm 3", byHelm("v3")}, {"Helm 4", byHelm("v4")}, {"Kustomize", byKustomize()}} {
		t.Run(w.name, func(t *testing.T) {
			here.Push(t, kept)
			for _, node := range nodes {
				here.Emptied(t, node, lab.PlainHost+"/install/")
			}
			w.apply(t, settings{tag: stage.Tag, atOnce: 3})
			running(t, stage.Tag, 3)
			here.KubectlReads(t, cache, "apply", "--server-side", "-f", "-").Want(t, 0)
			here.Kubectl(t, "wait", "imagecache/kept", "-n", "default", "--for=condition=Ready", "--timeout=2m")
			pinned(t, true)

			if err := here.Lab(t).ResetCounts(t.Context()); err != nil {
				t.Fatal(err)
			}
			w.apply(t, settings{tag: upgraded, atOnce: 5, replace: true})
			running(t, upgraded, 5)
			here.Kubectl(t, "wait", "imagecache/kept", "-n", "default", "--for=condition=Ready", "--timeout=2m")
			pinned(t, true)
			notPulledAgain(t)

			w.remove(t)
			pinned(t, false)
			stay := slices.Concat(w.stays, []string{"imagecache/kept"})
			for _, kind := range kinds {
				stay = append(stay, "customresourcedefinition/"+kind)
			}
			onlyLeft(t, stay...)

			w.rest(t)
			if w.name == "Kustomize" {
				w.stays = nil
			}
			onlyLeft(t, w.stays...)
		})
	}
}

// running makes sure that every node's agent and the controller are of this version and ready, now.
func running(t *testing.T, tag string, atOnce int) {
	t.Helper()
	for _, what := range []string{"deployment/orlop-controller", "daemonset/orlop-agent"} {
		here.Kubectl(t, "rollout", "status", what, "-n", stage.System, "--timeout", "2m")
	}
	out := here.Kubectl(t, "get", "daemonset", "orlop-agent", "-n", stage.System, "-o",
		"jsonpath={.status.numberReady} {.status.updatedNumberScheduled} {.spec.template.spec.containers[0].image} {.spec.template.spec.containers[0].args}")
	want := fmt.Sprintf("%d %[1]d %s/orlop-node:%s ", len(nodes), stage.Registry, tag)
	if !strings.HasPrefix(out, want) || !strings.Contains(out, fmt.Sprintf("--max-parallel-pulls=%d", atOnce)) {
		t.Errorf("the agents are %s, want %s", out, want)
	}
	// The pods that an upgrade replaces take a moment to end.
	stage.Eventually(t, "all pods are of "+tag, func() (bool, string) {
		images := strings.Fields(here.Kubectl(t, "get", "pods", "-n", stage.System, "-o", "jsonpath={.items[*].spec.containers[0].image}"))
		other := slices.DeleteFunc(slices.Clone(images), func(image string) bool { return strings.HasSuffix(image, ":"+tag) })
		return len(images) == len(nodes)+1 && len(other) == 0, fmt.Sprint(images)
	})
}

// pinned waits until crictl finds the image on every node, and its pin or none.
func pinned(t *testing.T, want bool) {
	t.Helper()
	stage.Eventually(t, fmt.Sprintf("on every node it is there, and pinned: %v", want), func() (bool, string) {
		var words []string
		well := 0
		for _, node := range nodes {
			img, ok := here.Image(t, node, kept)
			words = append(words, fmt.Sprintf("%s: there %v, pinned %v", node, ok, img.Pinned))
			if ok && img.Pinned == want {
				well++
			}
		}
		return well == len(nodes), strings.Join(words, "; ")
	})
}

// notPulledAgain makes sure that no node has fetched anything of the image since the counts were reset, and that the new agents have
// told of it by now.
func notPulledAgain(t *testing.T) {
	t.Helper()
	for _, node := range nodes {
		store := stage.Get[v1alpha1.ImageStore](t, here, "imagestore", "", node)
		if len(store.Status.Images) != 1 || store.Status.Images[0].State != v1alpha1.ImagePresent {
			t.Errorf("%s says %+v", node, store.Status.Images)
		}
	}
	counts, err := here.Lab(t).Counts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range counts {
		if strings.Contains(c.Image, "install/kept") && c.Kind == "blobs" {
			t.Errorf("%s was fetched again: %d requests, %d bytes", c.Image, c.Requests, c.Bytes)
		}
	}
}
