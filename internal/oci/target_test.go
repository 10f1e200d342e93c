// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"strings"
	"testing"
)

func mustParse(t *testing.T, s string) Ref {
	t.Helper()
	ref, err := Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func TestTargetMatchRef(t *testing.T) {
	digested := "ghcr.io/acme/web@" + someDigest
	for name, tt := range map[string]struct {
		target, name, digest string
		want                 bool
	}{
		"the same":                           {"nginx", "docker.io/library/nginx:latest", "", true},
		"another tag":                        {"nginx", "docker.io/library/nginx:1", "", false},
		"everything of an account":           {"docker.io/minchou/*", "docker.io/minchou/a:1", "", true},
		"… whatever its tag":                 {"minchou/*", "docker.io/minchou/a:x-y", "", true},
		"… not what lies deeper":             {"minchou/*", "docker.io/minchou/a/b:1", "", false},
		"… which ** takes":                   {"minchou/**", "docker.io/minchou/a/b:1", "", true},
		"… not another account":              {"minchou/*", "docker.io/minchou2/a:1", "", false},
		"… not another registry":             {"minchou/*", "ghcr.io/minchou/a:1", "", false},
		"any registry":                       {"**/web", "ghcr.io/acme/web:1", "", true},
		"any registry, an account in it":     {"**/acme/web:*", "ghcr.io/acme/web:1", "", true},
		"any tag of one":                     {"nginx:*", "docker.io/library/nginx:1.2", "", true},
		"some tags of one":                   {"nginx:1.?", "docker.io/library/nginx:1.2", "", true},
		"… not the others":                   {"nginx:1.?", "docker.io/library/nginx:1.22", "", false},
		"a dot is a dot":                     {"nginx:1.*", "docker.io/library/nginx:1x2", "", false},
		"a name's beginning":                 {"ghcr.io/acme/w*", "ghcr.io/acme/web:1", "", true},
		"everything":                         {"*", "registry.k8s.io/pause:3.11", "", true},
		"a port":                             {"host:5000/*", "host:5000/a:1", "", true},
		"a name without a tag":               {"ghcr.io/acme/*", digested, "", true},
		"a digest, and its tag":              {digested, "ghcr.io/acme/web:1", digested, true},
		"a digest, in another repository":    {digested, "ghcr.io/acme/other:1", "ghcr.io/acme/other@" + someDigest, false},
		"a digest that the tag left":         {digested, "ghcr.io/acme/web:1", "", false},
		"tag and digest, and another tag":    {"ghcr.io/acme/web:2@" + someDigest, "ghcr.io/acme/web:1", digested, false},
		"tag and digest, and that very name": {"ghcr.io/acme/web:1@" + someDigest, "ghcr.io/acme/web:1", digested, true},
	} {
		t.Run(name, func(t *testing.T) {
			target, err := ParseTarget(tt.target)
			if err != nil {
				t.Fatal(err)
			}
			var digests []Ref
			if tt.digest != "" {
				digests = []Ref{mustParse(t, tt.digest)}
			}
			if got := target.MatchRef(mustParse(t, tt.name), digests); got != tt.want {
				t.Errorf("%q fits %q: %v, want %v", tt.target, tt.name, got, tt.want)
			}
		})
	}
}

func TestTargetMatchID(t *testing.T) {
	const id = "sha256:5b2c7f1e90aa0000000000000000000000000000000000000000000000000000"
	for name, tt := range map[string]struct {
		target string
		want   bool
	}{
		"its beginning":              {"5b2c7f1e90aa", true},
		"a word of hex digits":       {"5b2c", false},
		"its beginning, with sha256": {"sha256:5b2c7f", true},
		"the whole":                  {strings.TrimPrefix(id, "sha256:"), true},
		"another":                    {"5b2d7f1e90aa", false},
		"a name":                     {"nginx", false},
		"the manifest's digest":      {someDigest, true},
	} {
		t.Run(name, func(t *testing.T) {
			target, err := ParseTarget(tt.target)
			if err != nil {
				t.Fatal(err)
			}
			if got := target.MatchID(id, []Ref{mustParse(t, "nginx@"+someDigest)}); got != tt.want {
				t.Errorf("MatchID = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestParseTargetRefuses(t *testing.T) {
	for name, in := range map[string]string{
		"nothing":                "",
		"a shell's characters":   "docker.io/*;reboot",
		"a substitution":         "$(x)*",
		"upper case":             "docker.io/Minchou/*",
		"a star for a registry":  "*/web",
		"a digest in a pattern":  "a/*@" + someDigest,
		"an id with other signs": "sha256:xyz0",
		"a very long pattern":    strings.Repeat("a", 5000) + "*",
	} {
		t.Run(name, func(t *testing.T) {
			if target, err := ParseTarget(in); err == nil {
				t.Errorf("ParseTarget(%.40q) = %v; want an error", in, target)
			} else if len(err.Error()) > 300 {
				t.Errorf("the error is %d characters long", len(err.Error()))
			}
		})
	}
}
