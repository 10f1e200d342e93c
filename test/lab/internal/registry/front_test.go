// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package registry_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"orlop.dev/orlop/test/lab/internal/registry"
)

// echo answers with the path it was asked for, then with many bytes.
func echo(t *testing.T, host string) (*registry.Faults, *httptest.Server) {
	t.Helper()
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("long") {
			_, _ = w.Write(make([]byte, 1<<20))
			return
		}
		_, _ = io.WriteString(w, r.URL.Path)
	}))
	t.Cleanup(backend.Close)
	address, err := url.Parse(backend.URL)
	if err != nil {
		t.Fatal(err)
	}
	faults := &registry.Faults{}
	front := httptest.NewServer(&registry.Front{Backend: address, Host: host, Faults: faults})
	t.Cleanup(front.Close)
	return faults, front
}

func get(t *testing.T, server *httptest.Server, host, path string) *http.Response {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Host = host
	response, err := server.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { response.Body.Close() })
	return response
}

func read(t *testing.T, r io.Reader) string {
	t.Helper()
	content, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func TestFrontFindsTheHost(t *testing.T) {
	for name, test := range map[string]struct{ fixed, host, path, want string }{
		"mirror with ns":            {"", "172.30.0.1:5000", "/v2/acme/web/manifests/1?ns=ghcr.io", "/v2/ghcr.io/acme/web/manifests/1"},
		"ns with a port":            {"", "172.30.0.1:5000", "/v2/acme/web/blobs/sha256:0?ns=reg.example:5000", "/v2/reg.example__5000/acme/web/blobs/sha256:0"},
		"named directly":            {"", "quay.io", "/v2/acme/web/tags/list", "/v2/quay.io/acme/web/tags/list"},
		"mirror by name":            {"", "docker.io.mirror.lab:5000", "/v2/library/nginx/manifests/latest", "/v2/docker.io/library/nginx/manifests/latest"},
		"other names of Docker Hub": {"", "registry-1.docker.io", "/v2/library/nginx/manifests/latest", "/v2/docker.io/library/nginx/manifests/latest"},
		"repository of that word":   {"", "quay.io", "/v2/acme/manifests/manifests/1", "/v2/quay.io/acme/manifests/manifests/1"},
		"a registry of its own":     {"private.lab:5443", "private.lab:5443", "/v2/acme/web/manifests/1", "/v2/acme/web/manifests/1"},
		"ping":                      {"", "quay.io", "/v2/", "/v2/"},
	} {
		t.Run(name, func(t *testing.T) {
			_, front := echo(t, test.fixed)
			if diff := cmp.Diff(test.want, read(t, get(t, front, test.host, test.path).Body)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFaultRefuses(t *testing.T) {
	faults, front := echo(t, "")
	if err := faults.Add(registry.Fault{Images: "quay.io/acme/*", Only: "manifests", Status: 429, RetryAfter: 7 * time.Second, Times: 1}); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{"other repository": "/v2/other/web/manifests/1", "other kind": "/v2/acme/web/blobs/1", "ping": "/v2/"} {
		if response := get(t, front, "quay.io", path); response.StatusCode != http.StatusOK {
			t.Errorf("%s: status %d", name, response.StatusCode)
		}
	}
	refused := get(t, front, "quay.io", "/v2/acme/web/manifests/1")
	if refused.StatusCode != 429 || refused.Header.Get("Retry-After") != "7" || !strings.Contains(read(t, refused.Body), "TOOMANYREQUESTS") {
		t.Errorf("refusal: %v", refused)
	}
	if again := get(t, front, "quay.io", "/v2/acme/web/manifests/1"); again.StatusCode != http.StatusOK {
		t.Errorf("used up, and still status %d", again.StatusCode)
	}
	read(t, get(t, front, "quay.io", "/v2/acme/web/manifests/1").Body)
	want := registry.Count{Image: "quay.io/acme/web", Kind: "manifests", Requests: 3}
	for _, count := range faults.Counts() {
		if count.Image == want.Image && count.Kind == want.Kind && count.Requests == want.Requests && count.Bytes > 0 {
			return
		}
	}
	t.Errorf("counts %+v, want %+v with bytes", faults.Counts(), want)
}

func TestFaultStallsUntilCleared(t *testing.T) {
	faults, front := echo(t, "")
	if err := faults.Add(registry.Fault{Stall: true, StallAfter: 1000}); err != nil {
		t.Fatal(err)
	}
	body := get(t, front, "quay.io", "/v2/acme/web/blobs/1?long").Body
	if _, err := io.ReadFull(body, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	rest := make(chan int, 1)
	go func() {
		content, _ := io.ReadAll(body)
		rest <- len(content)
	}()
	select {
	case n := <-rest:
		t.Fatalf("%d bytes came through the stall", n)
	case <-time.After(200 * time.Millisecond):
	}
	faults.Clear()
	if n := <-rest; n != 1<<20-1000 {
		t.Errorf("%d bytes after the stall", n)
	}
}

func TestFaultSlows(t *testing.T) {
	faults, front := echo(t, "")
	if err := faults.Add(registry.Fault{BytesPerSecond: 4 << 20}); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if n := len(read(t, get(t, front, "quay.io", "/v2/acme/web/blobs/1?long").Body)); n != 1<<20 {
		t.Errorf("%d bytes", n)
	}
	if took := time.Since(begin); took < 200*time.Millisecond {
		t.Errorf("a quarter of a second's worth of bytes took %s", took)
	}
}

func TestStalledClientMayLeave(t *testing.T) {
	faults, front := echo(t, "")
	if err := faults.Add(registry.Fault{Stall: true}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, front.URL+"/v2/acme/web/blobs/1?long", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := front.Client().Do(request)
	if err == nil {
		defer response.Body.Close()
		_, err = io.ReadAll(response.Body)
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("stalled read: %v", err)
	}
	// Close waits for the handler, which must have seen that the client left.
	front.Close()
}

func TestAddRefusesNonsense(t *testing.T) {
	for name, fault := range map[string]registry.Fault{
		"no effect": {Images: "*"}, "a kind that is none": {Only: "tags", Status: 500},
		"status of success": {Status: 200}, "status of nothing": {Status: 1000},
	} {
		if err := new(registry.Faults).Add(fault); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
