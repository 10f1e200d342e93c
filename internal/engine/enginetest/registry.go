// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package enginetest

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
)

// Content is what an image consists of. Equal contents are one image, under whatever names they are pushed.
type Content struct {
	Seed   string // makes this image another than those with the same layers
	Layers []Blob
	// Index: it is pushed as one of several platforms, and known by the digest of their index.
	Index bool
	// Known is the digest of its manifest, where it stands for an image that a real registry has too.
	Known digest.Digest
}

// Blob is a layer. Equal blobs are one layer, which images share.
type Blob struct {
	Seed string
	Size int64 // compressed
}

// unpackFactor is how much larger the in-memory runtimes hold a layer on disk than it was on the wire.
const unpackFactor = 2

// ID is the layer's digest.
func (b Blob) ID() string { return digestOf("layer", b.Seed, fmt.Sprint(b.Size)).String() }

// Config is the digest of the image's configuration, which most runtimes take for its id.
func (c Content) Config() digest.Digest {
	parts := []string{"config", c.Seed}
	for _, layer := range c.Layers {
		parts = append(parts, layer.ID())
	}
	return digestOf(parts...)
}

// Manifest is the digest of the image's manifest, or of the index that has it, by which it is pulled.
func (c Content) Manifest() digest.Digest {
	if c.Known != "" {
		return c.Known
	}
	manifest := digestOf("manifest", c.Config().String())
	if c.Index {
		return digestOf("index", manifest.String())
	}
	return manifest
}

// Size is the compressed size of all layers.
func (c Content) Size() int64 {
	var sum int64
	for _, layer := range c.Layers {
		sum += layer.Size
	}
	return sum
}

func digestOf(parts ...string) digest.Digest { return digest.FromString(strings.Join(parts, "\n")) }

// Registry is an in-memory registry for all hosts, which any number of in-memory runtimes may share.
type Registry struct {
	mu       sync.Mutex
	images   map[oci.Ref]Content // by tag and by digest
	logins   map[string]engine.Credentials
	faults   map[string]error // by repository
	stalled  map[string]bool  // by repository
	requests map[string]int   // by repository
}

// NewRegistry is a registry without images.
func NewRegistry() *Registry {
	return &Registry{
		images: map[oci.Ref]Content{}, logins: map[string]engine.Credentials{},
		faults: map[string]error{}, stalled: map[string]bool{}, requests: map[string]int{},
	}
}

// Push puts an image under a name, which moves there if it named another one.
func (r *Registry) Push(ref oci.Ref, content Content) digest.Digest {
	r.mu.Lock()
	defer r.mu.Unlock()
	byDigest := ref.WithDigest(content.Manifest()).WithoutTag()
	r.images[ref.WithoutDigest()] = content
	r.images[byDigest] = content
	return byDigest.Digest()
}

// Delete takes a name away, a tag or a digest.
func (r *Registry) Delete(ref oci.Ref) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.images, ref)
}

// Protect asks everyone for credentials who pulls from a host.
func (r *Registry) Protect(host string, login engine.Credentials) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.logins[host] = login
}

// Fail answers every pull from a repository with err, until it is nil.
func (r *Registry) Fail(repository string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults[repository] = err
}

// Stall lets pulls from a repository begin and never end, until it is lifted for later ones.
func (r *Registry) Stall(repository string, stalled bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stalled[repository] = stalled
}

// Requests is how many pulls asked for something of a repository.
func (r *Registry) Requests(repository string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.requests[repository]
}

// resolve answers as registries do, in their words.
func (r *Registry) resolve(ref oci.Ref, login *engine.Credentials) (Content, bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	repository := ref.Repository()
	r.requests[repository]++
	if err := r.faults[repository]; err != nil {
		return Content{}, false, err
	}
	if want, protected := r.logins[ref.Registry()]; protected && (login == nil || *login != want) {
		return Content{}, false, engine.Becausef(engine.Unauthorized, "%s: authentication required", ref)
	}
	asked := ref
	if ref.Digest() != "" {
		asked = ref.WithoutTag()
	}
	content, found := r.images[asked]
	if !found {
		return Content{}, false, engine.Becausef(engine.NotFound, "%s: not found: manifest unknown", ref)
	}
	return content, r.stalled[repository], nil
}

// deliver moves the layers that are not there yet at the given rate, and reports each step.
func deliver(ctx context.Context, layers []Blob, pause func(context.Context, int64) error, report func(engine.Progress)) error {
	var total, done int64
	for _, layer := range layers {
		total += layer.Size
	}
	report(engine.Progress{Phase: engine.PhaseDownloading, Total: total})
	for _, layer := range layers {
		if err := pause(ctx, layer.Size); err != nil {
			return err
		}
		done += layer.Size
		report(engine.Progress{Phase: engine.PhaseDownloading, Done: done, Total: total})
	}
	report(engine.Progress{Phase: engine.PhaseUnpacking, Done: done, Total: total})
	return ctx.Err()
}
