// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package docker_test

import (
	"encoding/base64"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"orlop.dev/orlop/internal/engine"
)

const (
	webID     = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
	otherID   = "sha256:2222222222222222222222222222222222222222222222222222222222222222"
	webDigest = "sha256:3333333333333333333333333333333333333333333333333333333333333333"
)

func stream(lines string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, lines) }
}

// TestPullAsks proves that no pull is ever for all tags of a repository.
func TestPullAsks(t *testing.T) {
	cases := map[string]struct {
		ref   string
		posts []string
	}{
		"a tag":    {"web:1", []string{"POST /images/create?fromImage=docker.io%2Flibrary%2Fweb&tag=1"}},
		"no tag":   {"web", []string{"POST /images/create?fromImage=docker.io%2Flibrary%2Fweb&tag=latest"}},
		"a digest": {"web@" + webDigest, []string{"POST /images/create?fromImage=docker.io%2Flibrary%2Fweb&tag=" + strings.Replace(webDigest, ":", "%3A", 1)}},
		"both": {"web:1@" + webDigest, []string{
			"POST /images/create?fromImage=docker.io%2Flibrary%2Fweb&tag=" + strings.Replace(webDigest, ":", "%3A", 1),
			"POST /images/" + webID + "/tag?repo=docker.io%2Flibrary%2Fweb&tag=1",
		}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			d := newDaemon(t)
			d.on("POST /images/create", stream(`{"status":"Pull complete","id":"a"}`))
			d.on("POST /images/"+webID+"/tag", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) })
			d.has(webID, "docker.io/library/web:1", "docker.io/library/web:latest", "docker.io/library/web@"+webDigest)
			if _, err := d.connect().Pull(t.Context(), engine.PullRequest{Ref: ref(t, c.ref)}); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.posts, d.called("POST")); diff != "" {
				t.Errorf("asked otherwise (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPullFails(t *testing.T) {
	cut := func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"status":"Pulling fs layer","id":"a"}`+"\n"+`{"status":"Downl`)
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	cases := map[string]struct {
		answer http.HandlerFunc
		reason engine.Reason
		says   string
	}{
		"an error inside a success":   {stream(`{"status":"Pulling"}` + "\n" + `{"errorDetail":{"message":"toomanyrequests: slow down"},"error":"x"}`), engine.RateLimited, "slow down"},
		"a full disk":                 {stream(`{"errorDetail":{"message":"write /x: no space left on device"}}`), engine.InsufficientDisk, "no space left"},
		"no platform":                 {stream(`{"errorDetail":{"message":"no matching manifest for linux/amd64 in the manifest list entries"}}`), engine.NoMatchingPlatform, "linux/amd64"},
		"unknown, in a registry":      {refuse(http.StatusNotFound, "manifest for web:1 not found: manifest unknown"), engine.NotFound, "manifest unknown"},
		"refused, though it says 404": {refuse(http.StatusNotFound, "pull access denied for web, repository does not exist or may require 'docker login'"), engine.Unauthorized, "access denied"},
		"refused, though it says 500": {refuse(http.StatusInternalServerError, "Get https://r/v2/: unauthorized: authentication required"), engine.Unauthorized, "authentication required"},
		"a registry that is away":     {refuse(http.StatusInternalServerError, "Get https://r/v2/: dial tcp: lookup r: no such host"), engine.RegistryUnavailable, "no such host"},
		"words that say nothing":      {refuse(http.StatusBadRequest, "oh dear"), engine.InvalidReference, "oh dear"},
		"a daemon that dies":          {cut, engine.RuntimeUnavailable, "unexpected EOF"},
		"a success without an image":  {stream(`{"status":"Status: Downloaded newer image"}`), engine.NoEffect, "there is no docker.io/library/web:1"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			d := newDaemon(t)
			d.on("POST /images/create", c.answer)
			_, err := d.connect().Pull(t.Context(), engine.PullRequest{Ref: ref(t, "web:1")})
			if got := engine.ReasonOf(err); got != c.reason {
				t.Errorf("reason = %q, want %q (error: %v)", got, c.reason, err)
			}
			if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "pulling docker.io/library/web:1") {
				t.Errorf("error = %v, want it to name the image and to say %q", err, c.says)
			}
		})
	}
}

func TestPullSendsCredentials(t *testing.T) {
	d := newDaemon(t)
	basic := base64.StdEncoding.EncodeToString([]byte("me:pa/ss?wörd"))
	d.on("POST /images/create", refuse(http.StatusInternalServerError, "sent pa/ss?wörd as Basic "+basic+": denied: requested access to the resource is denied"))
	_, err := d.connect().Pull(t.Context(), engine.PullRequest{
		Ref: ref(t, "r.test/web:1"), Credentials: &engine.Credentials{Username: "me", Password: "pa/ss?wörd"},
	})
	if engine.ReasonOf(err) != engine.Unauthorized || !strings.Contains(err.Error(), "sent *** as Basic ***: denied") {
		t.Errorf("error = %v (%s), want one without the password", err, engine.ReasonOf(err))
	}
	text, err := base64.URLEncoding.DecodeString(d.headers[0].Get("X-Registry-Auth"))
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"username":"me","password":"pa/ss?wörd","serveraddress":"r.test"}`; string(text) != want {
		t.Errorf("credentials = %s, want %s", text, want)
	}
	if call := d.called("POST")[0]; call != "POST /images/create?fromImage=r.test%2Fweb&tag=1" {
		t.Errorf("asked %s, want nothing of the credentials there", call)
	}
}

func TestPullProgress(t *testing.T) {
	resolving := engine.Progress{Phase: engine.PhaseResolving}
	downloading := func(done, total int64) engine.Progress {
		return engine.Progress{Phase: engine.PhaseDownloading, Done: done, Total: total}
	}
	unpacking := func(bytes int64) engine.Progress {
		return engine.Progress{Phase: engine.PhaseUnpacking, Done: bytes, Total: bytes}
	}
	cases := map[string]struct {
		stream string
		want   []engine.Progress
	}{
		"a graph driver": {
			stream: `{"status":"Pulling from library/web","id":"1"}
				{"status":"Already exists","progressDetail":{},"id":"base"}
				{"status":"Pulling fs layer","progressDetail":{},"id":"a"}
				{"status":"Pulling fs layer","progressDetail":{},"id":"b"}
				{"status":"Downloading","progressDetail":{"current":10,"total":100},"id":"a"}
				{"status":"Downloading","progressDetail":{"current":50,"total":50},"id":"b"}
				{"status":"Verifying Checksum","progressDetail":{},"id":"b"}
				{"status":"Download complete","progressDetail":{},"id":"b"}
				{"status":"Extracting","progressDetail":{"current":1,"total":50},"id":"b"}
				{"status":"Download complete","progressDetail":{},"id":"a"}
				{"status":"Extracting","progressDetail":{"current":1,"total":100},"id":"a"}
				{"status":"Pull complete","progressDetail":{},"id":"a"}
				{"status":"Pull complete","progressDetail":{},"id":"b"}
				{"status":"Status: Downloaded newer image for web:1"}`,
			want: []engine.Progress{resolving, downloading(0, 0), downloading(10, 100), downloading(60, 150), unpacking(150), unpacking(150)},
		},
		"the containerd store, which counts seconds of unpacking and forgets small layers": {
			stream: `{"status":"Pulling fs layer","id":"a"}
				{"status":"Download complete","progressDetail":{"hidecounts":true},"id":"a"}
				{"status":"Downloading","progressDetail":{"current":1048576,"total":25168375},"id":"b"}
				{"status":"Download complete","progressDetail":{"hidecounts":true},"id":"b"}
				{"status":"Extracting","progressDetail":{"current":1,"units":"s"},"id":"b"}
				{"status":"Pull complete","progressDetail":{"hidecounts":true},"id":"a"}`,
			want: []engine.Progress{resolving, downloading(0, 0), downloading(1048576, 25168375), downloading(25168375, 25168375),
				unpacking(25168375), unpacking(25168375)},
		},
		"all is there": {
			stream: `{"status":"Digest: sha256:x"}
				{"status":"Status: Image is up to date for web:1"}`,
			want: []engine.Progress{resolving, unpacking(0)},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			d := newDaemon(t)
			d.on("POST /images/create", stream(c.stream))
			d.has(webID, "docker.io/library/web:1")
			var got []engine.Progress
			_, err := d.connect().Pull(t.Context(), engine.PullRequest{
				Ref: ref(t, "web:1"), Progress: func(p engine.Progress) { got = append(got, p) },
			})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("progress differs (-want +got):\n%s", diff)
			}
		})
	}
}
