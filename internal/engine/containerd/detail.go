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
	blobs   map[string]blob
	parents map[snapshotKey]string
	used    map[snapshotKey]int64 // committed snapshots alone
	unknown map[string]bool       // snapshotters that do not tell
}

// newStore reads the stream of content.
func (r *Runtime) newStore(ctx context.Context) (*store, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	blobs, err := r.readContent(ctx)
	return &store{blobs: blobs, parents: map[snapshotKey]string{}, used: map[snapshotKey]int64{}, unknown: map[string]bool{}}, err
}

// unpacked reads what the content was unpacked to: a stream of snapshots, and the usage of those that are new.
func (r *Runtime) unpacked(ctx context.Context, s *store) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	for snapshotter, tops := range topSnapshots(s.blobs) {
		if err := r.readSnapshots(ctx, s, snapshotter, tops); err != nil {
			return err
		}
	}
	r.mu.Lock()
	r.usage = s.used // No more than what is there.
	r.mu.Unlock()
	return nil
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

func topSnapshots(blobs map[string]blob) map[string][]snapshotKey {
	tops := map[string][]snapshotKey{}
	for _, b := range blobs {
		for _, top := range b.snapshots {
			tops[top.snapshotter] = append(tops[top.snapshotter], top)
		}
	}
	return tops
}

func (r *Runtime) readSnapshots(ctx context.Context, s *store, snapshotter string, tops []snapshotKey) error {
	committed, err := r.listSnapshots(ctx, s, snapshotter)
	if errors.Is(err, engine.NotFound) || errors.Is(err, engine.Unsupported) || errors.Is(err, engine.InvalidReference) {
		s.unknown[snapshotter] = true // Unpacked once by a snapshotter that is no longer loaded.
		return nil
	}
	if err != nil {
		return fmt.Errorf("listing snapshots of %s: %w", snapshotter, err)
	}
	wanted := map[snapshotKey]bool{}
	for _, top := range tops {
		for at := top; at.name != "" && committed[at] && !wanted[at]; at.name = s.parents[at] {
			wanted[at] = true
		}
	}
	return r.readUsage(ctx, s, wanted)
}

func (r *Runtime) listSnapshots(ctx context.Context, s *store, snapshotter string) (committed map[snapshotKey]bool, err error) {
	stream, err := r.snapshots.List(ctx, &snapshotsapi.ListSnapshotsRequest{Snapshotter: snapshotter})
	if err != nil {
		return nil, socket.Why(err)
	}
	committed = map[snapshotKey]bool{}
	for {
		batch, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return committed, nil
		}
		if err != nil {
			return nil, socket.Why(err)
		}
		for _, info := range batch.Info {
			key := snapshotKey{snapshotter, info.Name}
			s.parents[key] = info.Parent
			committed[key] = info.Kind == snapshotsapi.Kind_COMMITTED
		}
	}
}

// readUsage asks for what it does not know from an earlier time.
func (r *Runtime) readUsage(ctx context.Context, s *store, wanted map[snapshotKey]bool) error {
	r.mu.Lock()
	var ask []snapshotKey
	for key := range wanted {
		if bytes, ok := r.usage[key]; ok {
			s.used[key] = bytes
		} else {
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

// under walks from an image's targets through everything that they hold and that is here. Where a snapshotter does not
// tell, both are unknown.
func (s *store) under(targets []string) (layers []engine.Layer, bytes int64) {
	seen := map[string]bool{}
	add := func(id string, size int64) {
		layers = append(layers, engine.Layer{ID: id, Bytes: size})
		bytes += size
	}
	for queue := targets; len(queue) > 0; {
		digest := queue[0]
		queue = queue[1:]
		b, here := s.blobs[digest]
		if !here || seen[digest] {
			continue
		}
		seen[digest] = true
		add(digest, b.size)
		queue = append(queue, b.children...)
		for _, top := range b.snapshots {
			if s.unknown[top.snapshotter] {
				return nil, 0
			}
			s.chain(top, seen, add)
		}
	}
	return layers, bytes
}

func (s *store) chain(at snapshotKey, seen map[string]bool, add func(string, int64)) {
	for ; at.name != ""; at.name = s.parents[at] {
		id := at.snapshotter + "/" + at.name
		bytes, known := s.used[at]
		if seen[id] || !known {
			return
		}
		seen[id] = true
		add(id, bytes)
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
