// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package images_test

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"orlop.dev/orlop/test/lab/internal/images"
)

func target(t *testing.T) (images.Target, string) {
	t.Helper()
	server := httptest.NewServer(registry.New())
	t.Cleanup(server.Close)
	address := strings.TrimPrefix(server.URL, "http://")
	return images.Plain(address), address
}

func push(t *testing.T, to images.Target, image string, spec images.Spec) string {
	t.Helper()
	digest, err := images.Push(t.Context(), to, image, spec)
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

func manifest(t *testing.T, address, stored string) *v1.Manifest {
	t.Helper()
	ref, err := name.ParseReference(address+"/"+stored, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	img, err := remote.Image(ref)
	if err != nil {
		t.Fatal(err)
	}
	m, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestPushIsRepeatable(t *testing.T) {
	to, _ := target(t)
	shape := images.Spec{Layers: []images.Layer{{Size: 1000}}}
	first := push(t, to, "acme/web:1", shape)
	if again := push(t, to, "acme/web:1", shape); again != first {
		t.Errorf("the same shape under the same name is %s, then %s", first, again)
	}
	shape.Seed = "other"
	if other := push(t, to, "acme/web:1", shape); other == first {
		t.Error("another seed gives the same image")
	}
}

func TestPushSharesLayers(t *testing.T) {
	to, address := target(t)
	for _, image := range []string{"acme/web:1", "ghcr.io/acme/web:1"} {
		push(t, to, image, images.Spec{Layers: []images.Layer{{Size: 1000}, {Size: 1000, Shared: "base"}}})
	}
	one, two := manifest(t, address, "docker.io/acme/web:1"), manifest(t, address, "ghcr.io/acme/web:1")
	if one.Layers[0].Digest == two.Layers[0].Digest || one.Layers[1].Digest != two.Layers[1].Digest {
		t.Errorf("layers %v and %v", one.Layers, two.Layers)
	}
}

func TestPushIsOfOneKind(t *testing.T) {
	to, address := target(t)
	for name, docker := range map[string]bool{"oci": false, "docker": true} {
		push(t, to, "acme/"+name+":1", images.Spec{Docker: docker, Layers: []images.Layer{{Size: 10}}, Annotations: map[string]string{"a": "b"}})
		m := manifest(t, address, "docker.io/acme/"+name+":1")
		for _, kind := range []string{string(m.MediaType), string(m.Config.MediaType), string(m.Layers[0].MediaType)} {
			if strings.Contains(kind, ".docker.") != docker {
				t.Errorf("%s: a part is %s", name, kind)
			}
		}
		if m.Annotations["a"] != "b" {
			t.Errorf("%s: annotations %v", name, m.Annotations)
		}
	}
}

func TestPushIndex(t *testing.T) {
	to, address := target(t)
	digest := push(t, to, "registry.example:5000/acme/web:1", images.Spec{Platforms: []string{"linux/amd64", "linux/arm64/v8"}})
	ref, err := name.ParseReference(address+"/registry.example__5000/acme/web@"+digest, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	index, err := remote.Index(ref)
	if err != nil {
		t.Fatal(err)
	}
	m, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Manifests) != 2 || m.Manifests[1].Platform.String() != "linux/arm64/v8" {
		t.Errorf("index %+v", m.Manifests)
	}
}

func TestPushRefuses(t *testing.T) {
	to, _ := target(t)
	for name, test := range map[string]struct {
		image string
		spec  images.Spec
	}{
		"no name":     {"", images.Spec{}},
		"upper case":  {"Acme/web", images.Spec{}},
		"no program":  {"acme/web", images.Spec{Program: "/nowhere"}},
		"no platform": {"acme/web", images.Spec{Platforms: []string{"a/b/c/d"}}},
	} {
		if _, err := images.Push(t.Context(), to, test.image, test.spec); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
