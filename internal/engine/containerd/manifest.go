// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package containerd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	goruntime "runtime"
	"strings"
	"time"

	contentapi "github.com/containerd/containerd/api/services/content/v1"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/engine/socket"
	"orlop.dev/orlop/internal/oci"
)

const (
	// labelSource, before a registry's host, is set to the repositories from which content came.
	labelSource = "containerd.io/distribution.source."

	// maxManifest bounds what is read of content that may be a manifest; registries take no larger one.
	maxManifest = 4 << 20

	// maxParts bounds the layers that are followed; runtimes refuse images of more than some hundred.
	maxParts = 512
)

// descriptors is what an index and a manifest have in common with what is needed of them.
type descriptors struct {
	Manifests []struct {
		Digest   string `json:"digest"`
		Platform struct {
			OS           string `json:"os"`
			Architecture string `json:"architecture"`
		} `json:"platform"`
	} `json:"manifests"`
	Config descriptor   `json:"config"`
	Layers []descriptor `json:"layers"`
}

type descriptor struct {
	Digest string `json:"digest"`
	Size   int64  `json:"size"`
}

// findParts learns what this pull consists of, from the index or the manifest which it writes first.
func (w *watcher) findParts(ctx context.Context) (found bool) {
	if w.manifest == "" && !w.findManifest(ctx) {
		return false
	}
	document, err := w.runtime.readDescriptors(ctx, w.manifest)
	if err != nil {
		return false
	}
	if len(document.Manifests) > 0 {
		child := ofThisPlatform(document)
		if child == "" {
			return false
		}
		if document, err = w.runtime.readDescriptors(ctx, child); err != nil {
			return false
		}
	}
	if len(document.Layers) == 0 || len(document.Layers) > maxParts {
		return false
	}
	known := map[string]bool{}
	for _, d := range append(document.Layers, document.Config) {
		if !known[d.Digest] {
			known[d.Digest] = true
			w.parts = append(w.parts, part{digest: d.Digest, size: d.Size})
		}
	}
	return true
}

func ofThisPlatform(document descriptors) string {
	for _, m := range document.Manifests {
		if m.Platform.OS == "linux" && m.Platform.Architecture == goruntime.GOARCH {
			return m.Digest
		}
	}
	return ""
}

// findManifest looks for what has come from this repository since the pull began. Where several pulls of one
// repository run at once, each takes what no other has taken: their sums are right.
func (w *watcher) findManifest(ctx context.Context) (found bool) {
	infos, err := w.runtime.contentFrom(ctx, w.req.Ref)
	if err != nil {
		return false
	}
	roots := map[string]*contentapi.Info{}
	for _, info := range infos {
		if !info.CreatedAt.AsTime().Before(w.started) && info.Size <= maxManifest && !w.refused[info.Digest] {
			roots[info.Digest] = info
		}
	}
	for _, info := range infos {
		for _, child := range blobOf(info).children {
			delete(roots, child) // The manifest under an index is not the pull's own name.
		}
	}
	for digest := range roots {
		document, err := w.runtime.readDescriptors(ctx, digest)
		if err != nil || len(document.Manifests)+len(document.Layers) == 0 {
			w.refused[digest] = true
			continue
		}
		if w.runtime.claim(digest) {
			w.manifest, w.claimed = digest, digest
			return true
		}
	}
	return false
}

func (r *Runtime) claim(digest string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.claims[digest] {
		return false
	}
	r.claims[digest] = true
	return true
}

func (r *Runtime) disclaim(digest string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.claims, digest)
}

// contentFrom lists what was fetched from a reference's repository, by the label that containerd puts on it.
func (r *Runtime) contentFrom(ctx context.Context, ref oci.Ref) ([]*contentapi.Info, error) {
	path := strings.TrimPrefix(ref.Repository(), ref.Registry()+"/")
	host, _, _ := strings.Cut(ref.Registry(), ":") // The label does not name the port.
	filter := fmt.Sprintf("labels.%q~=%q", labelSource+host, "(^|,)"+regexp.QuoteMeta(path)+"(,|$)")
	return r.listContent(ctx, filter)
}

func (r *Runtime) listContent(ctx context.Context, filter string) ([]*contentapi.Info, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	stream, err := r.content.List(ctx, &contentapi.ListContentRequest{Filters: []string{filter}})
	if err != nil {
		return nil, socket.Why(err)
	}
	var infos []*contentapi.Info
	for {
		batch, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return infos, nil
		}
		if err != nil {
			return nil, socket.Why(err)
		}
		infos = append(infos, batch.Info...)
	}
}

// info is nil where there is no such content.
func (r *Runtime) info(ctx context.Context, digest string) (*contentapi.Info, error) {
	answer, err := r.content.Info(ctx, &contentapi.InfoRequest{Digest: digest})
	if socket.Gone(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking at content %s: %w", digest, socket.Why(err))
	}
	return answer.Info, nil
}

func (r *Runtime) readDescriptors(ctx context.Context, digest string) (descriptors, error) {
	var document descriptors
	text, err := r.read(ctx, digest)
	if err != nil {
		return document, err
	}
	if err := json.Unmarshal(text, &document); err != nil {
		return document, fmt.Errorf("reading manifest %s: %w", digest, err)
	}
	return document, nil
}

func (r *Runtime) read(ctx context.Context, digest string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	stream, err := r.content.Read(ctx, &contentapi.ReadContentRequest{Digest: digest})
	if err != nil {
		return nil, socket.Why(err)
	}
	var text []byte
	for {
		part, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return text, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading content %s: %w", digest, socket.Why(err))
		}
		if text = append(text, part.Data...); len(text) > maxManifest {
			return nil, engine.Becausef(engine.Unsupported, "content %s is larger than any manifest", digest)
		}
	}
}
