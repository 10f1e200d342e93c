// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/test/e2e/stage"
	"orlop.dev/orlop/test/lab"
)

// regcred is a Secret for the private registry.
func regcred(t *testing.T, name string) {
	t.Helper()
	auth := base64.StdEncoding.EncodeToString([]byte(lab.PrivateUser + ":" + lab.PrivatePassword))
	config, err := json.Marshal(map[string]any{"auths": map[string]any{lab.PrivateHost: map[string]any{"auth": auth}}})
	if err != nil {
		t.Fatal(err)
	}
	object, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": name, "namespace": "default"},
		"type": "kubernetes.io/dockerconfigjson", "stringData": map[string]any{".dockerconfigjson": string(config)}})
	if err != nil {
		t.Fatal(err)
	}
	here.Apply(t, string(object))
}

// labelled gives a node a label for the length of a test.
func labelled(t *testing.T, node, label string) {
	t.Helper()
	here.Kubectl(t, "label", "node", node, label, "--overwrite")
	key, _, _ := strings.Cut(label, "=")
	t.Cleanup(func() { here.KubectlReads(t, "", "label", "node", node, key+"-").Want(t, 0) })
}

// reapplied converts anew and applies it, as after an edit.
func reapplied(t *testing.T, manifest string) {
	t.Helper()
	yaml, _ := converted(t, manifest)
	here.KubectlReads(t, yaml, "apply", "--server-side", "--force-conflicts", "-f", "-").Want(t, 0)
}

// until waits until a cache is as it should be.
func until(t *testing.T, name, what string, is func(v1alpha1.ImageCache) bool) {
	t.Helper()
	stage.Within(t, 2*stage.Patience, "the cache "+name+" is "+what, func() (bool, string) {
		cache := cacheOf(t, name)
		words, _ := json.Marshal(cache.Status)
		return cache.Status.ObservedGeneration == cache.Generation && is(cache), string(words)
	})
}

func ready(cache v1alpha1.ImageCache) bool {
	return slices.ContainsFunc(cache.Status.Conditions, func(c metav1.Condition) bool {
		return c.Type == v1alpha1.ConditionReady && c.Status == metav1.ConditionTrue
	})
}

// everywhere waits until a tag is this image on every node.
func everywhere(t *testing.T, tag, digest string) {
	t.Helper()
	for _, node := range nodes {
		stage.Within(t, 2*stage.Patience, tag+" is the new one on "+node, func() (bool, string) {
			image, _ := here.Image(t, node, tag)
			return slices.ContainsFunc(image.RepoDigests, func(d string) bool { return strings.HasSuffix(d, digest) }), strings.Join(image.RepoDigests, " ")
		})
	}
}

// fledged is an ImageCache of kube-fledged's with two lists: of all nodes, and of those labelled tier=backend.
func fledged(name string, all, backend []string) string {
	manifest, err := json.Marshal(map[string]any{
		"apiVersion": "kubefledged.io/v1alpha2", "kind": "ImageCache",
		"metadata": map[string]any{"name": name, "namespace": "default", "labels": map[string]any{"app": "kubefledged", "kubefledged": "imagecache"}},
		"spec": map[string]any{
			"cacheSpec": []any{
				map[string]any{"images": all},
				map[string]any{"images": backend, "nodeSelector": map[string]any{"tier": "backend"}},
			},
			"imagePullSecrets": []any{map[string]any{"name": "myregistrykey"}},
		},
	})
	if err != nil {
		panic(err)
	}
	return string(manifest)
}

// TestFledgedLife is what kube-fledged promises of a cache, from its creation to its end.
func TestFledgedLife(t *testing.T) {
	a, b, moving := at("fledged/a:1"), at("fledged/b:1"), at("fledged/moving:latest")
	private := lab.PrivateHost + "/fledged/private:1"
	here.Push(t, a, b, private)
	first := here.PushSpec(t, moving, lab.ImageSpec{Layers: []lab.Layer{{Size: 100 << 10}}})
	regcred(t, "myregistrykey")
	labelled(t, "node2", "tier=backend")
	here.Kubectl(t, "cordon", "node3")
	t.Cleanup(func() { here.KubectlReads(t, "", "uncordon", "node3").Want(t, 0) })

	applied(t, fledged("life", []string{a, moving}, []string{b, private}))
	onNodes(t, a, nodes...) // Every node, a cordoned one too.
	onNodes(t, b, "node2")
	onNodes(t, private, "node2")
	for _, name := range []string{"life", "life-2"} {
		until(t, name, "ready", ready)
	}
	if digest := cacheOf(t, "life").Status.Images[1].Digest; digest != first {
		t.Errorf("the digest is %s, want %s", digest, first)
	}

	t.Run("a node that gets the label is served", func(t *testing.T) {
		labelled(t, "node3", "tier=backend")
		onNodes(t, b, "node2", "node3")
	})
	onNodes(t, b, "node2")
	t.Run("a refresh follows :latest", func(t *testing.T) {
		second := here.PushSpec(t, moving, lab.ImageSpec{Layers: []lab.Layer{{Size: 100 << 10}}, Seed: "moved"})
		here.Orlop(t, "cache", "refresh", "life").Want(t, 0)
		everywhere(t, moving, second)
	})
	t.Run("a purge, and a refresh after it", func(t *testing.T) {
		here.Orlop(t, "cache", "purge", "life", "--yes").Want(t, 0)
		onNodes(t, a)
		here.Orlop(t, "cache", "refresh", "life").Want(t, 0)
		onNodes(t, a, nodes...)
	})
	t.Run("an image that leaves its list is removed, and a list may be emptied", func(t *testing.T) {
		reapplied(t, fledged("life", []string{moving}, []string{"", b}))
		onNodes(t, a)
		onNodes(t, private)
		onNodes(t, b, "node2")
	})
	t.Run("with Keep, as the remark says, a deleted cache leaves its images", func(t *testing.T) {
		emptied(t, at("fledged/"))
		here.Kubectl(t, "patch", "imagecaches.orlop.dev", "life", "-n", "default", "--type=merge", "-p", `{"spec":{"removalPolicy":"Keep"}}`)
		until(t, "life", "ready with Keep", ready)
		here.Kubectl(t, "delete", "imagecaches.orlop.dev", "life", "life-2", "-n", "default")
		onNodes(t, b)
		onNodes(t, moving, nodes...)
	})
}

// TestFledgedByHelm: with the values of its chart, every tag is looked for at each refresh, by the credentials of the ServiceAccount
// that its Jobs have.
func TestFledgedByHelm(t *testing.T) {
	const values = `COMPUTED VALUES:
args:
  controllerImageCacheRefreshFrequency: 10s
  controllerImagePullPolicy: Always
  controllerServiceAccountName: fledged-puller
  controllerJobsMaxSurge: 2
  controllerLogLevel: INFO
---
`
	moving, private := at("fledged/stable:1"), lab.PrivateHost+"/fledged/helm:1"
	here.Push(t, private)
	first := here.PushSpec(t, moving, lab.ImageSpec{Layers: []lab.Layer{{Size: 100 << 10}}})
	regcred(t, "fledged-helm")
	here.Apply(t, `{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "fledged-puller", "namespace": "default"}, "imagePullSecrets": [{"name": "fledged-helm"}]}`)
	applied(t, values+`{"apiVersion": "kubefledged.io/v1alpha2", "kind": "ImageCache", "metadata": {"name": "helm", "namespace": "default"},
		"spec": {"cacheSpec": [{"images": ["`+moving+`", "`+private+`"]}]}}`)
	onNodes(t, private, nodes...)
	everywhere(t, moving, first)
	second := here.PushSpec(t, moving, lab.ImageSpec{Layers: []lab.Layer{{Size: 100 << 10}}, Seed: "moved"})
	everywhere(t, moving, second) // Nobody asks for it.
}

// TestFledgedPurged: what was purged there is not pulled here until somebody asks for it.
func TestFledgedPurged(t *testing.T) {
	name := at("purged/a:1")
	here.Push(t, name)
	_, words := applied(t, `{"apiVersion": "kubefledged.io/v1alpha2", "kind": "ImageCache", "metadata": {"name": "purged", "namespace": "default"},
		"spec": {"cacheSpec": [{"images": ["`+name+`"]}]}, "status": {"status": "Succeeded", "reason": "ImageCachePurge", "message": "", "startTime": "2026-11-01T10:00:00Z"}}`)
	if !strings.Contains(words, "1 needs a look") {
		t.Errorf("%s", words)
	}
	until(t, "purged", "purged", func(c v1alpha1.ImageCache) bool {
		return c.Status.PurgedGeneration == c.Generation && slices.ContainsFunc(c.Status.Conditions, func(c metav1.Condition) bool { return c.Reason == v1alpha1.ReasonPurged })
	})
	onNodes(t, name)
	here.Orlop(t, "cache", "refresh", "purged").Want(t, 0)
	onNodes(t, name, nodes...)
}
