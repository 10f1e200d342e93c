// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package enginetest

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
)

// State is what a container does.
type State string

// The states.
const (
	Created State = "created"
	Running State = "running"
	Exited  State = "exited"
)

// Container is something that uses an image.
type Container struct {
	Name  string
	Pod   string // namespace/name
	State State  // Running, unless set
	// Kind is engine.UseContainer, unless set.
	Kind engine.UseKind

	imageID string
}

// Load puts an image there as if it had been pulled, under the given names. A name that is a tag brings its
// repository's digest name along.
func (r *Runtime) Load(content Content, names ...string) engine.Image {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.tell()
	var img *image
	for _, name := range names {
		img = r.add(content, mustParse(name))
	}
	if img == nil {
		img = r.add(content, oci.Ref{})
	}
	return r.shown(img)
}

// Start makes a container that uses the image which a name or an id names. It replaces one of the same name.
func (r *Runtime) Start(nameOrID string, c Container) {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.tell()
	img := r.mustFind(nameOrID)
	if c.State == "" {
		c.State = Running
	}
	if c.Kind == "" {
		c.Kind = engine.UseContainer
	}
	c.imageID = img.ID
	r.containers[c.Name] = c
	if r.kind.times && c.State == Running {
		img.LastUsed = r.now()
	}
}

// Exit ends a container, which stays as exited.
func (r *Runtime) Exit(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.tell()
	c := r.containers[name]
	c.State = Exited
	r.containers[name] = c
}

// Forget removes a container.
func (r *Runtime) Forget(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.tell()
	delete(r.containers, name)
}

// Configure pins an image as the runtime's own configuration does; sandbox makes it also the one pods start with.
func (r *Runtime) Configure(nameOrID string, sandbox bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.tell()
	img := r.mustFind(nameOrID)
	img.config, img.Sandbox = true, sandbox
}

// Wipe loses every image, as CRI-O does after an upgrade.
func (r *Runtime) Wipe() {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.tell()
	clear(r.images)
	clear(r.content)
}

// HasContent reports whether a layer is on disk, with or without an image.
func (r *Runtime) HasContent(layer string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.content[layer]
}

// Uses is part of engine.Interface.
func (r *Runtime) Uses(ctx context.Context) ([]engine.Use, error) {
	if err := r.begin(ctx, Call{Op: OpUses}); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	uses := []engine.Use{}
	for _, name := range slices.Sorted(maps.Keys(r.containers)) {
		c := r.containers[name]
		if r.Traps.UsesRunningOnly && c.State != Running {
			continue
		}
		uses = append(uses, engine.Use{
			ImageID: c.imageID, Kind: c.Kind, Exited: c.State == Exited, Pod: c.Pod, Container: c.Name,
		})
	}
	return uses, nil
}

// mustFind is the image for a test that names it. Its caller holds the lock.
func (r *Runtime) mustFind(nameOrID string) *image {
	if img := r.images[nameOrID]; img != nil {
		return img
	}
	img := r.find(mustParse(nameOrID))
	if img == nil {
		panic(fmt.Sprintf("enginetest: there is no image %s", nameOrID))
	}
	return img
}

func mustParse(name string) oci.Ref {
	ref, err := oci.Parse(name)
	if err != nil {
		panic("enginetest: " + err.Error())
	}
	return ref
}
