// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	v2 "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"sigs.k8s.io/yaml"

	"orlop.dev/orlop/hack/manifests/chart"
)

func packedChart(t *testing.T, m made) *v2.Chart {
	t.Helper()
	c, err := loader.LoadFile(m.path("orlop-" + strings.TrimPrefix(m.version, "v") + ".tgz"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestChart: the chart as it is packed has its versions, its schema, and names the images of this release.
func TestChart(t *testing.T) {
	m := theRelease(t)
	c := packedChart(t, m)
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	if c.Metadata.AppVersion != m.version || "v"+c.Metadata.Version != m.version {
		t.Errorf("version %s of %s", c.Metadata.Version, c.Metadata.AppVersion)
	}
	if len(c.Schema) == 0 {
		t.Error("it has no schema")
	}
	if _, err := chart.Render(c, map[string]any{"regisry": "x"}, nil); err == nil {
		t.Error("its schema lets a mistyped value pass")
	}
	var kinds []kind
	if err := yaml.Unmarshal([]byte(c.Metadata.Annotations["artifacthub.io/crds"]), &kinds); err != nil || len(kinds) != 5 {
		t.Errorf("%d kinds: %v", len(kinds), err)
	}
	for _, k := range kinds {
		if k.Kind == "" || k.Version != "v1alpha1" || k.Name == "" || len(k.Description) < 10 {
			t.Errorf("%+v", k)
		}
	}
	var images []listed
	if err := yaml.Unmarshal([]byte(c.Metadata.Annotations["artifacthub.io/images"]), &images); err != nil || len(images) != 3 {
		t.Errorf("%d images: %v", len(images), err)
	}
}

// TestImagesOfAnotherRegistry: the one value that an air-gapped cluster sets moves every image.
func TestImagesOfAnotherRegistry(t *testing.T) {
	m := theRelease(t)
	rendered, err := chart.Render(packedChart(t, m), map[string]any{"registry": "registry.example/orlop"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(rendered)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{node, controller} {
		if !strings.Contains(string(text), "registry.example/orlop/"+name+":"+m.version) {
			t.Errorf("%s is not from there", name)
		}
	}
	if strings.Contains(string(text), registry) {
		t.Errorf("something is still from %s", registry)
	}
}

// TestInstallYAML names just the images of this release.
func TestInstallYAML(t *testing.T) {
	m := theRelease(t)
	var images []string
	for line := range strings.Lines(string(m.read(t, installFile))) {
		if _, image, ok := strings.Cut(line, "image: "+registry+"/"); ok {
			images = append(images, strings.TrimSpace(image))
		}
	}
	slices.Sort(images)
	if want := []string{controller + ":" + m.version, node + ":" + m.version}; !slices.Equal(slices.Compact(images), want) {
		t.Errorf("%v, not %v", images, want)
	}
}
