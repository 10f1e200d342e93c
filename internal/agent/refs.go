// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"sync"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/oci"
)

// maxParsed bounds how many names are remembered: a node has 1000 at most, and the agents of one process have the same.
const maxParsed = 4096

// parsed remembers what names mean: every decision reads all of them, and parsing is most of its work.
var parsed = struct {
	mu    sync.Mutex
	names map[entryName]meaning
}{names: map[entryName]meaning{}}

type entryName struct{ image, digest string }

type meaning struct {
	ref oci.Ref
	err error
}

// wantOf is the name that an entry stands for, fixed to its digest where it has one.
func wantOf(e v1alpha1.StoreImage) (oci.Ref, error) { return wantNamed(e.Image, e.Digest) }

func wantNamed(image, digest string) (oci.Ref, error) {
	name := entryName{image, digest}
	parsed.mu.Lock()
	defer parsed.mu.Unlock()
	m, known := parsed.names[name]
	if !known {
		m.ref, m.err = parseWant(image, digest)
		if len(parsed.names) >= maxParsed {
			clear(parsed.names)
		}
		parsed.names[name] = m
	}
	return m.ref, m.err
}

func parseWant(image, digest string) (oci.Ref, error) {
	ref, err := oci.ParseFound(image)
	if err != nil || digest == "" || ref.Tag() == "" { // A name by digest has its own.
		return ref, err
	}
	return oci.ParseFound(ref.WithoutDigest().String() + "@" + digest)
}
