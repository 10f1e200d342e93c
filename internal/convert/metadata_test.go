// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// TestMetadata: what people wrote goes on; what is of the live object goes without a word, what claims ownership with one.
func TestMetadata(t *testing.T) {
	found, report := caches(t, `
apiVersion: kubefledged.io/v1alpha2
kind: ImageCache
metadata:
  name: web
  namespace: shop
  generateName: web-
  uid: a
  resourceVersion: "1"
  generation: 2
  creationTimestamp: 2026-11-01T10:00:00Z
  managedFields: [{manager: kubectl}]
  ownerReferences: [{kind: X}]
  finalizers: [a/b]
  labels: {team: web, app.kubernetes.io/managed-by: Helm, helm.sh/chart: a, number: 1, controller-revision-hash: a, job-name: a}
  annotations:
    note: "two\nlines"
    kubectl.kubernetes.io/last-applied-configuration: "{}"
    meta.helm.sh/release-name: a
    argocd.argoproj.io/tracking-id: b
spec: {cacheSpec: [{images: [a]}]}
status: {status: Succeeded, reason: ImageCacheCreate}
`)
	if diff := cmp.Diff(map[string]string{"team": "web", "number": "1"}, found[0].Labels); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]string{"note": "two\nlines"}, found[0].Annotations); diff != "" {
		t.Error(diff)
	}
	want := []string{
		"both kinds are called ImageCache: to kubectl write imagecaches.orlop.dev while kube-fledged is installed",
		"left out, as another tool would take the new object for its own: app.kubernetes.io/managed-by, argocd.argoproj.io/tracking-id, helm.sh/chart, meta.helm.sh/release-name",
		"images that kube-fledged has pulled count as found: Orlop keeps them, and never removes them for the cache",
		"not converted: metadata.generateName",
	}
	if diff := cmp.Diff(want, report.Rows[0].Notes); diff != "" {
		t.Error(diff)
	}
}

// TestLive: an object of a cluster has no lines, and its mistakes are told by its name.
func TestLive(t *testing.T) {
	doc, err := Live(map[string]any{"apiVersion": "kubefledged.io/v1alpha2", "kind": "ImageCache",
		"metadata": map[string]any{"name": "web", "namespace": "shop", "managedFields": []any{map[string]any{}}},
		"spec":     map[string]any{"cacheSpec": []any{map[string]any{"images": []any{"A B"}}}}})
	if err != nil || !doc.Claimed() {
		t.Fatal(err)
	}
	_, err = Convert([]*Document{doc}, Options{})
	if want := `kubefledged.io ImageCache shop/web: spec.cacheSpec[0]: "A B" is not an image reference`; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("%v", err)
	}
	if doc, err := Live(map[string]any{"kind": "Pod"}); err != nil || doc.Claimed() {
		t.Errorf("a Pod is converted: %v", err)
	}
}

// TestLimits: the limits and the pattern here are those of the schema.
func TestLimits(t *testing.T) {
	text, err := os.ReadFile("../../charts/orlop/files/crds/orlop.dev_imagecaches.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var crd struct {
		Spec struct {
			Versions []struct {
				Schema struct{ OpenAPIV3Schema crdSchema }
			}
		}
	}
	if err := yaml.Unmarshal(text, &crd); err != nil {
		t.Fatal(err)
	}
	spec := crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"].Properties
	image := spec["images"].Items.Properties["image"]
	got := []int{spec["images"].MaxItems, image.MaxLength, spec["nodeSelector"].MaxProperties, spec["tolerations"].MaxItems, spec["imagePullSecrets"].MaxItems}
	if diff := cmp.Diff([]int{maxImages, maxImageLength, maxSelector, maxTolerations, maxSecrets}, got); diff != "" {
		t.Error(diff)
	}
	if rule := regexp.MustCompile(`matches\('(.*)'\)`).FindStringSubmatch(image.Rules[0].Rule); rule == nil || rule[1] != imageName.String() {
		t.Errorf("%v is not %s", rule, imageName)
	}
}

type crdSchema struct {
	Properties                         map[string]crdSchema
	Items                              *crdSchema
	MaxItems, MaxLength, MaxProperties int
	Rules                              []struct{ Rule string } `json:"x-kubernetes-validations"`
}
