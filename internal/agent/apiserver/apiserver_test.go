// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/agent"
	"orlop.dev/orlop/internal/agent/apiserver"
)

const path = "/apis/orlop.dev/v1alpha1/imagestores"

func client(t *testing.T, handler http.Handler) *apiserver.Client {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	c, err := apiserver.New(&rest.Config{Host: server.URL}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func store(version int) string {
	return fmt.Sprintf(`{"apiVersion":"orlop.dev/v1alpha1","kind":"ImageStore","metadata":{"name":"node1","uid":"u","resourceVersion":"%d","generation":%d},"spec":{"runtime":"containerd://2.4.2"}}`, version, version)
}

// follows is an API server whose watches each give what is next in its script, and end.
type follows struct {
	mu      sync.Mutex
	lists   int
	watched []string // from which version
	script  []string
}

func (f *follows) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	query := r.URL.Query()
	if query.Get("fieldSelector") != "metadata.name=node1" {
		http.Error(w, "too much was asked for: "+r.URL.String(), http.StatusForbidden)
		return
	}
	if query.Get("watch") == "" {
		f.lists++
		fmt.Fprintf(w, `{"apiVersion":"orlop.dev/v1alpha1","kind":"ImageStoreList","metadata":{"resourceVersion":"%d"},"items":[%s]}`, f.lists, store(f.lists))
		return
	}
	f.watched = append(f.watched, query.Get("resourceVersion"))
	if len(f.script) > 0 {
		fmt.Fprint(w, f.script[0])
		f.script = f.script[1:]
	}
}

func TestWatchGoesOn(t *testing.T) {
	f := &follows{script: []string{
		`{"type":"MODIFIED","object":` + store(20) + `}`,
		`{"type":"MODIFIED","object":` + store(22) + `}`, // written, for all that is known, while there was no watch
		`{"type":"BOOKMARK","object":` + store(25) + `}`,
		`{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Expired","code":410}}`,
		`{"type":"DELETED","object":` + store(30) + `}`,
	}}
	c := client(t, f)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var seen []int64
	var late []bool
	c.Watch(ctx, "node1", func(s *v1alpha1.ImageStore, old bool) {
		late = append(late, old)
		if s == nil {
			seen = append(seen, 0)
			cancel()
			return
		}
		seen = append(seen, s.Generation)
	})
	if want := []int64{1, 20, 22, 2, 0}; fmt.Sprint(seen) != fmt.Sprint(want) {
		t.Errorf("seen %v, want %v", seen, want)
	}
	if want := "[1 20 22 25 2]"; fmt.Sprint(f.watched) != want {
		t.Errorf("watched from %v, want %s", f.watched, want)
	}
	if want := "[true false true true false]"; fmt.Sprint(late) != want {
		t.Errorf("late %v, want %s", late, want)
	}
}

// An API server that shuts down, or a proxy before it, may take each watch and end it at once.
func TestWatchesThatEndAtOnceAreSpaced(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var mu sync.Mutex
	var at []time.Time
	c := client(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Query().Get("watch") == "" {
			fmt.Fprint(w, `{"apiVersion":"orlop.dev/v1alpha1","kind":"ImageStoreList","metadata":{"resourceVersion":"1"},"items":[]}`)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if at = append(at, time.Now()); len(at) == 3 {
			cancel()
		}
	}))
	c.Watch(ctx, "node1", func(*v1alpha1.ImageStore, bool) {})
	mu.Lock()
	defer mu.Unlock()
	if len(at) != 3 || at[1].Sub(at[0]) < 200*time.Millisecond || at[2].Sub(at[1]) < 400*time.Millisecond {
		t.Errorf("watched at %v", at)
	}
}

func TestApply(t *testing.T) {
	var got struct {
		Metadata map[string]string
		Status   map[string]any
	}
	c := client(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if err := json.Unmarshal(body, &got); err != nil {
			t.Errorf("%v in %s", err, body)
		}
		if r.Method != http.MethodPatch || r.URL.Path != path+"/node1/status" || r.URL.Query().Get("force") != "true" ||
			r.URL.Query().Get("fieldManager") != "orlop-agent" || r.Header.Get("Content-Type") != "application/apply-patch+yaml" {
			t.Errorf("%s %s %s", r.Method, r.URL, r.Header.Get("Content-Type"))
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"77"}}`)
	}))
	s := &v1alpha1.ImageStore{Status: v1alpha1.ImageStoreStatus{Summary: "1/2"}}
	s.Name, s.UID = "node1", "u-1"
	version, err := c.ApplyStore(t.Context(), s)
	if err != nil || version != "77" {
		t.Errorf("version %q, error %v", version, err)
	}
	if got.Metadata["uid"] != "u-1" || got.Status["summary"] != "1/2" {
		t.Errorf("sent %+v", got)
	}
}

func TestMayRead(t *testing.T) {
	for name, c := range map[string]struct {
		code int
		gone bool
		fine bool
	}{
		"there":     {http.StatusOK, false, true},
		"deleted":   {http.StatusNotFound, true, false},
		"forbidden": {http.StatusForbidden, true, false},
		"unknown":   {http.StatusUnauthorized, true, false},
		"broken":    {http.StatusBadGateway, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			err := client(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(c.code)
				fmt.Fprint(w, store(1))
			})).MayRead(t.Context(), "node1")
			if errors.Is(err, agent.ErrGone) != c.gone || (err == nil) != c.fine {
				t.Errorf("error %v", err)
			}
		})
	}
}
