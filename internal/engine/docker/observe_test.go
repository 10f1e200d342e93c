// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package docker_test

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
)

// TestCallsAreObserved without the names in them, of which there are any number.
func TestCallsAreObserved(t *testing.T) {
	d := newDaemon(t)
	d.on("POST /images/create", refuse(http.StatusNotFound, "manifest unknown"))
	rt := d.connect()
	ref, err := oci.Parse("r.test/some/web:1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rt.Pull(t.Context(), engine.PullRequest{Ref: ref}); err == nil {
		t.Fatal("the pull succeeded")
	}
	d.on("GET /images/json", say([]map[string]any{{"Id": webID, "RepoTags": []string{"r.test/some/web:1"}}}))
	d.has(webID, "r.test/some/web:1")
	d.on("GET /images/"+webID+"/history", say([]map[string]any{}))
	if _, err := rt.List(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	want := map[string]bool{"HEAD _ping 200": true, "POST images/create 404": true, "GET images/json 200": true}
	got := map[string]bool{}
	for _, call := range d.told {
		got[call] = true
	}
	for call := range want {
		if !got[call] {
			t.Errorf("nobody was told of %s, but of %v", call, d.told)
		}
		delete(got, call)
	}
	delete(got, "GET images/{}/json 200")
	delete(got, "GET images/{}/history 200")
	if diff := cmp.Diff(map[string]bool{}, got); diff != "" {
		t.Errorf("besides (-want +got):\n%s", diff)
	}
}
