// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package oci holds image names that cannot be malformed: what people and runtimes write is parsed once, at the
// edge, and is a comparable value from there on.
package oci

import (
	_ "crypto/sha256" // The hash that digests of images use.
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
)

// DefaultTag is what a reference without tag and digest means, as for every runtime.
const DefaultTag = "latest"

// maxShown bounds how much of a refused text an error repeats: enough to recognise it, never a screenful.
const maxShown = 80

// Ref is a normalised image reference: a repository with its registry, and a tag, a digest, or both.
// Its zero value is no reference. Refs are comparable, so they serve as map keys.
type Ref struct {
	repository string
	tag        string
	digest     digest.Digest
}

// Parse reads a reference as people write it: nginx is docker.io/library/nginx:latest, host:5000/img has a port
// and no tag. What is not a reference is refused with the offending text.
func Parse(s string) (Ref, error) {
	r, err := ParseFound(s)
	if host := r.Registry(); err == nil && !strings.ContainsAny(host, ".:") && host != strings.ToLower(host) {
		// Runtimes take a first element in upper case for a host: ACME/web would be looked for on a machine called ACME.
		return Ref{}, fmt.Errorf("%s is not an image reference: its repository must be lower-case", quote(s))
	}
	return r, err
}

// found remembers what names mean: runtimes give the same ones with every list, and to read one takes longer than
// all that brings it here.
var found = struct {
	sync.RWMutex
	refs map[string]Ref
}{refs: map[string]Ref{}}

// maxFound bounds what is remembered, to some two megabytes.
const maxFound = 8192

// ParseFound reads a name that a runtime or a pod has: what runtimes take, even where a person hardly means it.
func ParseFound(s string) (Ref, error) {
	found.RLock()
	r, known := found.refs[s]
	found.RUnlock()
	if known {
		return r, nil
	}
	r, err := parseFound(s)
	if err == nil {
		found.Lock()
		if len(found.refs) >= maxFound {
			clear(found.refs)
		}
		found.refs[s] = r
		found.Unlock()
	}
	return r, err
}

func parseFound(s string) (Ref, error) {
	if s == "" {
		return Ref{}, errors.New("an empty image reference: name an image, such as nginx:1.29")
	}
	named, err := reference.ParseNormalizedNamed(s)
	if err != nil {
		return Ref{}, fmt.Errorf("%s is not an image reference: %s", quote(s), plainReason(err))
	}
	r := Ref{repository: named.Name()}
	if tagged, ok := named.(reference.Tagged); ok {
		r.tag = tagged.Tag()
	}
	if digested, ok := named.(reference.Digested); ok {
		r.digest = digested.Digest()
	}
	if r.tag == "" && r.digest == "" {
		r.tag = DefaultTag
	}
	return r, nil
}

// plainReason says in words what the parser says in grammar.
func plainReason(err error) string {
	switch {
	case strings.Contains(err.Error(), "must be lowercase"): // ErrNameContainsUppercase is returned without being wrapped.
		return "its repository must be lower-case"
	case errors.Is(err, reference.ErrNameTooLong):
		return fmt.Sprintf("its name is longer than %d characters", reference.RepositoryNameTotalLengthMax)
	case errors.Is(err, reference.ErrReferenceInvalidFormat):
		return "it must read [REGISTRY/]REPOSITORY[:TAG][@DIGEST], with no other characters than a-z 0-9 . _ - / : @"
	}
	return err.Error()
}

func quote(s string) string {
	if len(s) > maxShown {
		return fmt.Sprintf("%q… (%d characters)", s[:maxShown], len(s))
	}
	return fmt.Sprintf("%q", s)
}

// Repository is the registry and path, such as docker.io/library/nginx.
func (r Ref) Repository() string { return r.repository }

// Registry is the host that serves the repository, such as docker.io or host:5000.
func (r Ref) Registry() string {
	host, _, _ := strings.Cut(r.repository, "/")
	return host
}

// Tag is the tag, empty for a reference by digest alone.
func (r Ref) Tag() string { return r.tag }

// Digest is the digest of the manifest or index, empty for a reference by tag alone.
func (r Ref) Digest() digest.Digest { return r.digest }

// IsZero reports whether r is no reference at all.
func (r Ref) IsZero() bool { return r.repository == "" }

// WithDigest is the same reference fixed to d.
func (r Ref) WithDigest(d digest.Digest) Ref {
	r.digest = d
	return r
}

// WithoutTag is the reference by digest alone; a reference that has no digest stays as it is.
func (r Ref) WithoutTag() Ref {
	if r.digest != "" {
		r.tag = ""
	}
	return r
}

// WithoutDigest is the reference by tag alone; a reference that has no tag stays as it is.
func (r Ref) WithoutDigest() Ref {
	if r.tag != "" {
		r.digest = ""
	}
	return r
}

// String is the whole, normalised form, such as docker.io/library/nginx:latest.
func (r Ref) String() string {
	if r.IsZero() {
		return ""
	}
	return r.join(r.repository)
}

// Familiar is the short form that people type, such as nginx:latest.
func (r Ref) Familiar() string {
	if r.IsZero() {
		return ""
	}
	short := strings.TrimPrefix(r.repository, "docker.io/")
	if rest, ok := strings.CutPrefix(short, "library/"); ok && short != r.repository && !strings.Contains(rest, "/") {
		short = rest
	}
	return r.join(short)
}

func (r Ref) join(repository string) string {
	if r.tag != "" {
		repository += ":" + r.tag
	}
	if r.digest != "" {
		repository += "@" + r.digest.String()
	}
	return repository
}

// MarshalText writes the whole form; with UnmarshalText, it makes a Ref a string in JSON and YAML.
func (r Ref) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText parses as ParseFound does; an empty text is the zero Ref.
func (r *Ref) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*r = Ref{}
		return nil
	}
	parsed, err := ParseFound(string(text))
	if err != nil {
		return err
	}
	*r = parsed
	return nil
}

// Compare orders references by repository, then tag, then digest.
func Compare(a, b Ref) int { return strings.Compare(a.String(), b.String()) }
