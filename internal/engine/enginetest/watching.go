// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package enginetest

import (
	"context"
	"slices"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
)

// Mark is part of engine.Marker.
func (c *Containerd) Mark(ctx context.Context, ref oci.Ref, pulled bool) error {
	if err := c.begin(ctx, Call{Op: OpMark, Ref: ref}); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	img := c.find(ref)
	if img == nil {
		return engine.Becausef(engine.NotFound, "marking %s: not found", ref)
	}
	img.marked = pulled
	return nil
}

// Marked is part of engine.Marker.
func (c *Containerd) Marked(ctx context.Context) ([]oci.Ref, error) {
	if err := c.begin(ctx, Call{Op: OpMarked}); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var marked []oci.Ref
	for _, img := range c.images {
		if img.marked {
			marked = append(marked, img.Digests...)
		}
	}
	slices.SortFunc(marked, oci.Compare)
	return marked, nil
}

// Watch is part of engine.Watcher.
func (c *Containerd) Watch(ctx context.Context, changed func()) error {
	if err := c.begin(ctx, Call{Op: OpWatch}); err != nil {
		return err
	}
	heard := make(chan struct{}, 1)
	c.mu.Lock()
	c.watchers[heard] = true
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.watchers, heard)
	}()
	for {
		changed()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case _, listening := <-heard:
			if !listening {
				return engine.Becausef(engine.RuntimeUnavailable, "the stream has ended")
			}
		}
	}
}

// Hangup ends what watches, as a restart of the runtime does.
func (r *Runtime) Hangup() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for heard := range r.watchers {
		close(heard)
		delete(r.watchers, heard)
	}
}

// tell wakes those who watch. Its caller holds the lock.
func (r *Runtime) tell() {
	for heard := range r.watchers {
		select {
		case heard <- struct{}{}:
		default: // It has not looked since the last time.
		}
	}
}
