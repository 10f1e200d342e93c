// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"encoding/json"
	"strings"
	"testing"
)

const someDigest = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

func TestParse(t *testing.T) {
	for name, tt := range map[string]struct{ in, want, familiar string }{
		"a bare name":          {"nginx", "docker.io/library/nginx:latest", "nginx:latest"},
		"an account":           {"minchou/web:2", "docker.io/minchou/web:2", "minchou/web:2"},
		"a port and no tag":    {"host:5000/img", "host:5000/img:latest", "host:5000/img:latest"},
		"a port and a tag":     {"host:5000/img:1", "host:5000/img:1", "host:5000/img:1"},
		"localhost":            {"localhost/img", "localhost/img:latest", "localhost/img:latest"},
		"a digest":             {"nginx@" + someDigest, "docker.io/library/nginx@" + someDigest, "nginx@" + someDigest},
		"a tag and a digest":   {"nginx:1@" + someDigest, "docker.io/library/nginx:1@" + someDigest, "nginx:1@" + someDigest},
		"docker's old host":    {"index.docker.io/library/nginx:1", "docker.io/library/nginx:1", "nginx:1"},
		"a path below library": {"docker.io/library/a/b:1", "docker.io/library/a/b:1", "library/a/b:1"},
		"another registry":     {"ghcr.io/acme/web:v1", "ghcr.io/acme/web:v1", "ghcr.io/acme/web:v1"},
	} {
		t.Run(name, func(t *testing.T) {
			ref, err := Parse(tt.in)
			if err != nil {
				t.Fatal(err)
			}
			if ref.String() != tt.want || ref.Familiar() != tt.familiar {
				t.Errorf("Parse(%q) = %q, familiar %q; want %q, %q", tt.in, ref, ref.Familiar(), tt.want, tt.familiar)
			}
			again, err := Parse(ref.String())
			if err != nil || again != ref {
				t.Errorf("Parse(%q) = %v, %v; a normalised reference must stay itself", ref, again, err)
			}
			if short, err := Parse(ref.Familiar()); err != nil || short != ref {
				t.Errorf("Parse(%q) = %v, %v; the familiar form must mean the same", ref.Familiar(), short, err)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for name, tt := range map[string]struct{ in, says string }{
		"nothing":               {"", "empty"},
		"upper case":            {"Nginx", "lower-case"},
		"upper-case account":    {"ACME/web", "lower-case"},
		"a shell's characters":  {"nginx;rm -rf /", "REPOSITORY"},
		"a command":             {"$(id)", "REPOSITORY"},
		"a space":               {" nginx", "REPOSITORY"},
		"a new line":            {"nginx\n", "REPOSITORY"},
		"a flag":                {"--all", "REPOSITORY"},
		"five thousand letters": {strings.Repeat("a", 5000), "255"},
		"a short digest":        {"nginx@sha256:1234", "nginx@sha256:1234"},
		"an id":                 {strings.TrimPrefix(someDigest, "sha256:"), "64"},
		"a scheme":              {"https://nginx", "REPOSITORY"},
	} {
		t.Run(name, func(t *testing.T) {
			ref, err := Parse(tt.in)
			if err == nil {
				t.Fatalf("Parse(%.40q) = %v; want an error", tt.in, ref)
			}
			if !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %q does not say %q", err, tt.says)
			}
			if len(err.Error()) > 300 {
				t.Errorf("the error is %d characters long", len(err.Error()))
			}
		})
	}
}

func TestRefInJSON(t *testing.T) {
	type holder struct {
		Ref Ref `json:"ref,omitzero"`
	}
	out, err := json.Marshal(holder{Ref: Ref{repository: "docker.io/library/nginx", tag: "1"}})
	if err != nil || string(out) != `{"ref":"docker.io/library/nginx:1"}` {
		t.Fatalf("Marshal = %s, %v", out, err)
	}
	var in holder
	if err := json.Unmarshal([]byte(`{"ref":"nginx;ls"}`), &in); err == nil {
		t.Error("a malformed reference came in through JSON")
	}
	if out, err := json.Marshal(holder{}); err != nil || string(out) != `{}` {
		t.Errorf("Marshal of no reference = %s, %v", out, err)
	}
}

func TestPartsOfARef(t *testing.T) {
	ref, err := Parse("host:5000/a/b:1@" + someDigest)
	if err != nil {
		t.Fatal(err)
	}
	if ref.Registry() != "host:5000" || ref.Repository() != "host:5000/a/b" || ref.Tag() != "1" || ref.Digest().String() != someDigest {
		t.Errorf("parts are %q %q %q %q", ref.Registry(), ref.Repository(), ref.Tag(), ref.Digest())
	}
	if got := ref.WithoutTag().String(); got != "host:5000/a/b@"+someDigest {
		t.Errorf("WithoutTag = %q", got)
	}
	if got := ref.WithoutDigest().String(); got != "host:5000/a/b:1" {
		t.Errorf("WithoutDigest = %q", got)
	}
	if tagless := ref.WithoutTag(); tagless.WithoutDigest() != tagless {
		t.Error("WithoutDigest left a reference with neither tag nor digest")
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"nginx", "a/b:c@" + someDigest, "host:5000/x", "", "A", "x@y", "\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ref, err := Parse(s)
		if err != nil {
			return
		}
		if again, err := Parse(ref.String()); err != nil || again != ref {
			t.Errorf("Parse(%q) = %q, which parses to %q, %v", s, ref, again, err)
		}
	})
}

// Runtimes have names that a person hardly means: they must be seen, or their images look nameless.
func TestParseFoundTakesWhatRuntimesTake(t *testing.T) {
	const name = "HARBOR/team/app:1"
	if ref, err := ParseFound(name); err != nil || ref.String() != name {
		t.Errorf("ParseFound(%q) = %v, %v", name, ref, err)
	}
	if ref, err := Parse(name); err == nil {
		t.Errorf("Parse(%q) = %v; a person means an account of docker.io, in lower case", name, ref)
	}
	var ref Ref
	if err := ref.UnmarshalText([]byte(name)); err != nil || ref.Registry() != "HARBOR" {
		t.Errorf("on its way between node and command line it became %v, %v", ref, err)
	}
}
