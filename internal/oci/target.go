// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"fmt"
	"regexp"
	"strings"
)

// How much of an image id a person must type. A bare word of hex digits may be a name as well, such as cafe, and what
// has that name on one node must not be an id on another: only as much as runtimes print is taken for an id.
const (
	minIDPrefix = 4
	minBareID   = 12
)

var (
	hexID       = regexp.MustCompile(`^[0-9a-f]{4,64}$`)
	patternText = regexp.MustCompile(`^[a-z0-9._/:*?-]+$`)
	tagText     = regexp.MustCompile(`^[A-Za-z0-9_.*?-]+$`)
)

// Target is what a person may name on a command line: a reference, a pattern of references, or an image id.
type Target struct {
	text    string
	ref     Ref
	id      string
	pattern *regexp.Regexp
}

// ParseTarget reads a reference (nginx, ghcr.io/acme/web@sha256:…), a pattern with * (within one path element),
// ** (across them) and ? in it (docker.io/minchou/*), or an image's id: sha256: and its beginning, or at least 12 of its
// hex digits. A pattern without a tag takes every tag.
func ParseTarget(s string) (Target, error) {
	t := Target{text: s}
	if strings.ContainsAny(s, "*?") {
		pattern, err := parsePattern(s)
		t.pattern = pattern
		return t, err
	}
	if id, ok := strings.CutPrefix(s, "sha256:"); ok {
		if !hexID.MatchString(id) {
			return t, fmt.Errorf("%s is not an image id: after sha256: come %d to 64 hex digits", quote(s), minIDPrefix)
		}
		t.id = id
		return t, nil
	}
	if hexID.MatchString(s) && len(s) >= minBareID {
		t.id = s
		if len(s) == 64 { // The parser refuses such a name, since it is always an id.
			return t, nil
		}
	}
	ref, err := Parse(s)
	t.ref = ref
	return t, err
}

// AllTags makes a bare repository, such as nginx, a pattern of all its tags; other texts stay as they are. It is for
// choosing among what is there, where a name without a tag means the whole repository.
func AllTags(s string) string {
	bareID := hexID.MatchString(s) && len(s) >= minBareID
	if s == "" || bareID || strings.ContainsAny(s, "*?@") || strings.LastIndex(s, ":") > strings.LastIndex(s, "/") {
		return s
	}
	return s + ":*"
}

// parsePattern completes a pattern as Parse completes a reference, so that minchou/* is docker.io/minchou/*.
func parsePattern(s string) (*regexp.Regexp, error) {
	refuse := func(why string) (*regexp.Regexp, error) {
		return nil, fmt.Errorf("%s is not a pattern of image references: %s", quote(s), why)
	}
	if strings.Contains(s, "@") {
		return refuse("a digest is matched whole; name it without * and ?")
	}
	repository, tag := s, ""
	if colon := strings.LastIndex(s, ":"); colon > strings.LastIndex(s, "/") {
		repository, tag = s[:colon], s[colon+1:]
		if !tagText.MatchString(tag) {
			return refuse("its tag may have no other characters than A-Z a-z 0-9 . _ - * ?")
		}
	}
	if !patternText.MatchString(repository) || len(s) > 512 {
		return refuse("it may have no other characters than a-z 0-9 . _ - / : * ? and no more than 512")
	}
	first, _, hasPath := strings.Cut(repository, "/")
	switch {
	case repository == "*" || repository == "**":
		repository = "**"
	case hasPath && first == "*":
		return refuse("it could mean any registry or any account of docker.io; write **/… or docker.io/*/…")
	case !hasPath:
		repository = "docker.io/library/" + repository
	case first != "**" && first != "localhost" && !strings.ContainsAny(first, ".:"):
		repository = "docker.io/" + repository
	}
	if tag == "" {
		tag = "**"
	}
	return regexp.Compile("^" + globToRegexp(repository) + ":" + globToRegexp(tag) + "$")
}

func globToRegexp(glob string) string {
	quoted := regexp.QuoteMeta(glob)
	return strings.NewReplacer(`\*\*/`, `(.*/)?`, `\*\*`, `.*`, `\*`, `[^/]*`, `\?`, `[^/]`).Replace(quoted)
}

// String is the text as it was typed.
func (t Target) String() string { return t.text }

// Exact reports whether t names one reference or image, rather than all that fit a pattern.
func (t Target) Exact() bool { return t.pattern == nil }

// AnyRegistry is a pattern in which no registry is named, and which therefore means Docker Hub, for every registry.
func (t Target) AnyRegistry() (Target, bool) {
	first, _, _ := strings.Cut(t.text, "/")
	if t.Exact() || !strings.HasPrefix(t.pattern.String(), `^docker\.io/`) || first == "docker.io" {
		return Target{}, false
	}
	wider, err := ParseTarget("**/" + t.text)
	return wider, err == nil
}

// Ref is the reference that t names; ok is false for patterns and for what can only be an id.
func (t Target) Ref() (ref Ref, ok bool) { return t.ref, !t.ref.IsZero() }

// MatchRef reports whether a name of an image is meant by t. A reference by digest means every name of its
// repository with that digest, which is given beside the name, since a tag does not tell.
func (t Target) MatchRef(name Ref, digests []Ref) bool {
	switch {
	case t.pattern != nil:
		return t.pattern.MatchString(name.tagged())
	case t.ref.IsZero() || t.ref.repository != name.repository:
		return false
	case t.ref.digest == "":
		return t.ref.tag == name.tag
	case t.ref.tag != "" && name.tag != "" && t.ref.tag != name.tag:
		return false
	}
	for _, d := range digests {
		if d.repository == t.ref.repository && d.digest == t.ref.digest {
			return true
		}
	}
	return name.digest == t.ref.digest
}

// tagged is the text that patterns are compared with: a name known only by digest fits like one without a tag to it.
func (r Ref) tagged() string { return r.repository + ":" + r.tag }

// MatchID reports whether t is the beginning of an image's id, or names the digest of its manifest as sha256:….
// Names come before ids: ask this only where no image has a name that t means.
func (t Target) MatchID(id string, digests []Ref) bool {
	if t.id == "" {
		return false
	}
	if strings.HasPrefix(strings.TrimPrefix(id, "sha256:"), t.id) {
		return true
	}
	for _, d := range digests {
		if strings.HasPrefix(t.text, "sha256:") && strings.HasPrefix(d.digest.Encoded(), t.id) {
			return true
		}
	}
	return false
}

// MarshalText writes the text as it was typed; with UnmarshalText, it makes a Target a string in JSON.
func (t Target) MarshalText() ([]byte, error) { return []byte(t.text), nil }

// UnmarshalText parses as ParseTarget does.
func (t *Target) UnmarshalText(text []byte) error {
	parsed, err := ParseTarget(string(text))
	if err != nil {
		return err
	}
	*t = parsed
	return nil
}
