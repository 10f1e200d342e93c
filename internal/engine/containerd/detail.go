// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package containerd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"golang.org/x/sync/errgroup"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/engine/socket"
)

// The labels on content by which containerd's garbage collector, and we, find what belongs together.
const (
	labelChild    = "containerd.io/gc.ref.content"
	labelSnapshot = "containerd.io/gc.ref.snapshot."
)

// maxChildren bounds a walk through an index; the largest have some dozens of manifests.
const maxChildren = 512

// blob is one piece of content: an index, a manifest, a config or a layer.
type blob struct {
	size      int64
	children  []string      // digests that it refers to; of an index, those of other platforms as well
	snapshots []snapshotKey // what the layers under this config were unpacked to, the topmost of each snapshotter
}

type snapshotKey struct{ snapshotter, name string }

// store is containerd's content and snapshots at one moment.
type store struct {
	blobs     map[string]blob
	parents   map[snapshotKey]string
	committed map[snapshotKey]bool
	used      map[snapshotKey]int64 // of those that were asked for
	unknown   map[string]bool       // snapshotters that do not tell
}

// newStore reads the stream of content.
func (r *Runtime) newStore(ctx context.Context) (*store, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	blobs, err := r.readContent(ctx)
	return &store{
		blobs: blobs, parents: map[snapshotKey]string{}, committed: map[snapshotKey]bool{}, used: map[snapshotKey]int64{}, unknown: map[string]bool{},
	}, err
}

// unpacked reads what the content was unpacked to: a stream of snapshots, and the usage of those under these indexes and manifests, a call for each
// that is new.
func (r *Runtime) unpacked(ctx context.Context, s *store, sized []string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	for snapshotter := range s.snapshotters() {
		err := r.listSnapshots(ctx, s, snapshotter)
		switch engine.ReasonOf(err) {
		case "":
		case engine.NotFound, engine.Unsupported, engine.InvalidReference:
			s.unknown[snapshotter] = true // Unpacked once by a snapshotter that is no longer loaded.
		default:
			return fmt.Errorf("listing snapshots of %s: %w", snapshotter, err)
		}
	}
	return r.readUsage(ctx, s, sized)
}

func (r *Runtime) readContent(ctx context.Context) (map[string]blob, error) {
	stream, err := r.content.List(ctx, &contentapi.ListContentRequest{})
	if err != nil {
		return nil, fmt.Errorf("listing content: %w", socket.Why(err))
	}
	blobs := map[string]blob{}
	for {
		batch, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return blobs, nil
		}
		if err != nil {
			return nil, fmt.Errorf("listing content: %w", socket.Why(err))
		}
		for _, info := range batch.Info {
			blobs[info.Digest] = blobOf(info)
		}
	}
}

func blobOf(info *contentapi.Info) blob {
	b := blob{size: info.Size}
	for name, value := range info.Labels {
		if strings.HasPrefix(name, labelChild) {
			b.children = append(b.children, value)
		} else if snapshotter, ok := strings.CutPrefix(name, labelSnapshot); ok {
			snapshotter, _, _ = strings.Cut(snapshotter, "/")
			b.snapshots = append(b.snapshots, snapshotKey{snapshotter, value})
		}
	}
	slices.Sort(b.children)
	return b
}

// snapshotters are those that have unpacked some of the content.
func (s *store) snapshotters() map[string]bool {
	all := map[string]bool{}
	for _, b := range s.blobs {
		for _, top := range b.snapshots {
			all[top.snapshotter] = true
		}
	}
	return all
}

func (r *Runtime) listSnapshots(ctx context.Context, s *store, snapshotter string) error {
	stream, err := r.snapshots.List(ctx, &snapshotsapi.ListSnapshotsRequest{Snapshotter: snapshotter})
	if err != nil {
		return socket.Why(err)
	}
	for {
		batch, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return socket.Why(err)
		}
		for _, info := range batch.Info {
			key := snapshotKey{snapshotter, info.Name}
			s.parents[key] = info.Parent
			s.committed[key] = info.Kind == snapshotsapi.Kind_COMMITTED
		}
	}
}

// readUsage asks for what it does not know from an earlier time.
func (r *Runtime) readUsage(ctx context.Context, s *store, sized []string) error {
	wanted := map[snapshotKey]bool{} // false: its snapshotter does not tell
	s.walk(sized, func(string, int64) {}, func(at snapshotKey) { wanted[at] = !s.unknown[at.snapshotter] })
	r.mu.Lock()
	var ask []snapshotKey
	for key, told := range wanted {
		if bytes, ok := r.usage[key]; ok {
			s.used[key] = bytes
		} else if told {
			ask = append(ask, key)
		}
	}
	r.mu.Unlock()
	answers := make([]int64, len(ask))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(maxParallelCalls)
	for n, key := range ask {
		group.Go(func() (err error) {
			answers[n], err = r.askUsage(ctx, key)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for n, key := range ask {
		if answers[n] == usageUnknown {
			s.unknown[key.snapshotter] = true
		} else {
			s.used[key] = answers[n]
		}
	}
	return nil
}

// usageUnknown is the answer of a snapshotter that does not tell, as some that fetch lazily do not.
const usageUnknown = -1

func (r *Runtime) askUsage(ctx context.Context, key snapshotKey) (int64, error) {
	usage, err := r.snapshots.Usage(ctx, &snapshotsapi.UsageRequest{Snapshotter: key.snapshotter, Key: key.name})
	switch err = socket.Why(err); {
	case err == nil:
		return usage.Size, nil
	case errors.Is(err, engine.NotFound):
		return 0, nil // Collected since it was listed.
	case errors.Is(err, engine.Unsupported):
		return usageUnknown, nil
	}
	return 0, fmt.Errorf("asking for the size of snapshot %s: %w", key.name, err)
}

// leadsTo reports whether what is here of an index or a manifest is that of the image with this id.
func (s *store) leadsTo(target, id string) bool {
	seen := map[string]bool{}
	for queue := []string{target}; len(queue) > 0; {
		digest := queue[0]
		queue = queue[1:]
		b, here := s.blobs[digest]
		if !here || seen[digest] {
			continue
		}
		if digest == id {
			return true
		}
		seen[digest] = true
		queue = append(queue, b.children...)
	}
	return false
}

// under is everything that an image's targets hold and that is here, and what it takes together. Where a snapshotter does not tell, both are unknown.
func (s *store) under(targets []string) (layers []engine.Layer, bytes int64) {
	add := func(id string, size int64) {
		layers = append(layers, engine.Layer{ID: id, Bytes: size})
		bytes += size
	}
	told := true
	s.walk(targets, add, func(at snapshotKey) {
		told = told && !s.unknown[at.snapshotter]
		add(at.snapshotter+"/"+at.name, s.used[at])
	})
	if !told {
		return nil, 0
	}
	return layers, bytes
}

// walk goes from targets through everything that they hold and that is here: each once.
func (s *store) walk(targets []string, content func(digest string, size int64), snapshot func(snapshotKey)) {
	seen, unpacked := map[string]bool{}, map[snapshotKey]bool{}
	for queue := slices.Clone(targets); len(queue) > 0; {
		digest := queue[0]
		queue = queue[1:]
		b, here := s.blobs[digest]
		if !here || seen[digest] {
			continue
		}
		seen[digest] = true
		content(digest, b.size)
		queue = append(queue, b.children...)
		for _, at := range b.snapshots {
			for ; at.name != "" && (s.committed[at] || s.unknown[at.snapshotter]) && !unpacked[at]; at.name = s.parents[at] {
				unpacked[at] = true
				snapshot(at)
			}
		}
	}
}

// leadsTo reports whether an index or a manifest is that of the image with this id, the digest of its config. It asks
// once for each: what a digest means does not change.
func (r *Runtime) leadsTo(ctx context.Context, target, id string) (bool, error) {
	r.mu.Lock()
	known := slices.Contains(r.leads[target], id)
	r.mu.Unlock()
	if known {
		return true, nil
	}
	leads, err := r.walk(ctx, target, id)
	if leads {
		r.remember(target, id)
	}
	return leads, err
}

func (r *Runtime) remember(target, id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Contains(r.leads[target], id) {
		r.leads[target] = append(r.leads[target], id)
	}
}

func (r *Runtime) walk(ctx context.Context, target, id string) (bool, error) {
	seen := map[string]bool{}
	for queue := []string{target}; len(queue) > 0 && len(seen) < maxChildren; {
		digest := queue[0]
		queue = queue[1:]
		if digest == id {
			return true, nil
		}
		if seen[digest] {
			continue
		}
		seen[digest] = true
		info, err := r.info(ctx, digest)
		if err != nil {
			return false, err
		}
		if info != nil { // A manifest of another platform is not here.
			queue = append(queue, withoutLayers(info)...)
		}
	}
	return false, nil
}

// withoutLayers gives the children that may have children.
func withoutLayers(info *contentapi.Info) []string {
	var children []string
	for name, digest := range info.Labels {
		if strings.HasPrefix(name, labelChild) && !strings.HasPrefix(name, labelChild+".l.") {
			children = append(children, digest)
		}
	}
	return children
}
