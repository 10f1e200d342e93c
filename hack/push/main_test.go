// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"orlop.dev/orlop/hack/image/archive"
	"orlop.dev/orlop/hack/image/static"
)

// anArchive has an image for two architectures.
func anArchive(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	var images []v1.Image
	for _, arch := range []string{"amd64", "arm64"} {
		path := filepath.Join(folder, "program")
		if err := os.WriteFile(path, []byte("built for "+arch), 0o755); err != nil {
			t.Fatal(err)
		}
		img, err := static.Image(static.Content{Binaries: []string{path}, Platform: v1.Platform{OS: "linux", Architecture: arch}})
		if err != nil {
			t.Fatal(err)
		}
		images = append(images, img)
	}
	index, err := static.Index(images, nil)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(folder, "image.tar")
	if err := archive.Write(path, "ghcr.io/acme/program", "v1", index); err != nil {
		t.Fatal(err)
	}
	return path
}

func aRegistry() http.Handler { return registry.New(registry.Logger(log.New(io.Discard, "", 0))) }

// TestEachPlatformFindsItsOwn: a node asks for its architecture, and gets that.
func TestEachPlatformFindsItsOwn(t *testing.T) {
	server := httptest.NewServer(aRegistry())
	defer server.Close()
	to := strings.TrimPrefix(server.URL, "http://") + "/some/where/"
	var out bytes.Buffer
	if err := run(t.Context(), options{to: to, plainHTTP: true}, []string{anArchive(t)}, nil, &out); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(out.String(), to+"program:v1@sha256:") {
		t.Errorf("it says %q", out.String())
	}
	ref, err := name.ParseReference(to+"program:v1", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	for _, arch := range []string{"amd64", "arm64"} {
		img, err := remote.Image(ref, remote.WithPlatform(v1.Platform{OS: "linux", Architecture: arch}))
		if err != nil {
			t.Fatal(err)
		}
		config, err := img.ConfigFile()
		if err != nil || config.Architecture != arch {
			t.Errorf("%s gets %s (%v)", arch, config.Architecture, err)
		}
		layers, err := img.Layers()
		if err != nil || len(layers) != 1 {
			t.Fatalf("%d layers: %v", len(layers), err)
		}
		content, err := layers[0].Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(content)
		if err != nil || !bytes.Contains(data, []byte("built for "+arch)) {
			t.Errorf("%s gets another's program (%v)", arch, err)
		}
	}
}

// TestOwnAuthorityAndPassword: a registry with a certificate of its own and a login takes the images, and no other way.
func TestOwnAuthorityAndPassword(t *testing.T) {
	inner := aRegistry()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "me" || password != "swordfish" {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	defer server.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	to := strings.TrimPrefix(server.URL, "https://") + "/orlop"
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	cases := map[string]struct {
		o    options
		in   string
		says string
	}{
		"all of it":          {options{to: to, ca: ca, user: "me", password: true}, "swordfish\n", ""},
		"unknown authority":  {options{to: to, user: "me", password: true}, "swordfish", "certificate"},
		"no login":           {options{to: to, ca: ca}, "", "UNAUTHORIZED"},
		"wrong password":     {options{to: to, ca: ca, user: "me", password: true}, "sword", "UNAUTHORIZED"},
		"a user alone":       {options{to: to, ca: ca, user: "me"}, "", "go together"},
		"no such authority":  {options{to: to, ca: ca + ".not"}, "", "no such file"},
		"not a registry":     {options{to: "Not/A Registry"}, "", "repository"},
		"nowhere":            {options{}, "", "--to"},
		"authority of words": {options{to: to, ca: "main_test.go"}, "", "no certificate"},
	}
	path := anArchive(t)
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			err := run(t.Context(), c.o, []string{path}, strings.NewReader(c.in), io.Discard)
			if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(strings.ToUpper(err.Error()), strings.ToUpper(c.says))) {
				t.Errorf("%v does not say %q", err, c.says)
			}
		})
	}
}
