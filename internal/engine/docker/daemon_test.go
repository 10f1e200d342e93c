// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package docker_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"orlop.dev/orlop/internal/engine/docker"
	"orlop.dev/orlop/internal/oci"
)

// daemon answers as a Docker daemon that one test scripts: for the answers that a real one gives too rarely to wait for.
type daemon struct {
	t        *testing.T
	endpoint string

	mu      sync.Mutex
	answers map[string]http.HandlerFunc // by "METHOD /path", the version left out
	calls   []string                    // with their queries
	headers []http.Header
	told    []string // by the observer: methods and codes
}

func (d *daemon) observe(method, code string, _ time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.told = append(d.told, method+" "+code)
}

var apiVersion = regexp.MustCompile(`^/v[0-9.]+`)

func newDaemon(t *testing.T) *daemon {
	t.Helper()
	dir, err := os.MkdirTemp("", "d") //nolint:usetesting // A socket's path has at most 107 characters, and t.TempDir's is long.
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	d := &daemon{t: t, endpoint: "unix://" + filepath.Join(dir, "s"), answers: map[string]http.HandlerFunc{}}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(d.serve))
	_ = server.Listener.Close()
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
	d.on("HEAD /_ping", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("API-Version", "1.41") })
	return d
}

func (d *daemon) serve(w http.ResponseWriter, r *http.Request) {
	path := apiVersion.ReplaceAllString(r.URL.Path, "")
	d.mu.Lock()
	answer := d.answers[r.Method+" "+path]
	if path != "/_ping" {
		call := r.Method + " " + path
		if r.URL.RawQuery != "" {
			call += "?" + r.URL.RawQuery
		}
		d.calls = append(d.calls, call)
		d.headers = append(d.headers, r.Header.Clone())
	}
	d.mu.Unlock()
	if answer == nil {
		answer = refuse(http.StatusNotFound, "No such image: "+path)
	}
	answer(w, r)
}

func (d *daemon) on(call string, answer http.HandlerFunc) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.answers[call] = answer
}

// called are the calls so far of one method.
func (d *daemon) called(method string) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var calls []string
	for _, call := range d.calls {
		if strings.HasPrefix(call, method+" ") {
			calls = append(calls, call)
		}
	}
	return calls
}

func (d *daemon) connect() *docker.Runtime {
	d.t.Helper()
	rt, err := docker.Connect(d.t.Context(), d.endpoint, d.observe)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { _ = rt.Close() })
	return rt
}

// has makes an image be there under its id and names.
func (d *daemon) has(id string, tags ...string) {
	for _, name := range append(tags, id) {
		d.on("GET /images/"+name+"/json", say(map[string]any{"Id": id, "RepoTags": tags, "Size": 7}))
	}
}

func say(answer any) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(answer) }
}

func refuse(status int, message string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"message":%q}`, message)
	}
}

func ref(t *testing.T, text string) oci.Ref {
	t.Helper()
	r, err := oci.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func refs(t *testing.T, texts ...string) []oci.Ref {
	t.Helper()
	var parsed []oci.Ref
	for _, text := range texts {
		parsed = append(parsed, ref(t, text))
	}
	return parsed
}
