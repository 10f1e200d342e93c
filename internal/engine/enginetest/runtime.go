// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package enginetest stands in for container runtimes, and proves them: in-memory ones that behave as containerd,
// CRI-O and Docker do behind their adapters, and Run, the promises of the port which every one must keep.
package enginetest

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
)

// kind is what tells one runtime from another behind the same port.
type kind struct {
	name, version, endpoint string

	id               func(Content) string
	refusesUse       bool // knows itself what is in use
	forceLiftsExited bool // and lets an exited container's image go when forced
	oneTag           bool // can take one tag of several
	movesTags        bool // can set a tag to a digest that the registry's tag does not name
	progress         bool
	layers           bool
	measures         bool // tells layers, and bytes on disk, only to Measure
	times            bool
	pullBytes        bool
}

// Op is one of the port's operations.
type Op string

// The operations.
const (
	OpDescribe Op = "describe"
	OpList     Op = "list"
	OpUses     Op = "uses"
	OpPull     Op = "pull"
	OpRemove   Op = "remove"
	OpMeasure  Op = "measure"
	OpPin      Op = "pin"
	OpBatch    Op = "batch"
	OpRestore  Op = "restore"
	OpClose    Op = "close"
	OpMark     Op = "mark"
	OpMarked   Op = "marked"
	OpWatch    Op = "watch"
)

// Call is one call of an operation: the image's id where one is named, or the reference.
type Call struct {
	Op      Op
	ImageID string
	Ref     oci.Ref
}

// Runtime is an in-memory container runtime. Its exported fields are set before it is used.
type Runtime struct {
	Registry *Registry
	Traps    Traps
	// Now is the clock; nil is the real one.
	Now func() time.Time
	// BytesPerSecond slows pulls down; 0 is at once.
	BytesPerSecond int64
	// Before is called at the start of each operation, unlocked: it may change this runtime, and so be the other one
	// who starts a container between a look and a removal.
	Before func(Call)

	kind kind

	mu         sync.Mutex
	images     map[string]*image
	containers map[string]Container
	fails      map[Op][]error
	calls      map[Op]int
	content    map[string]bool // layers on disk
	held       []*batch
	stale      []engine.Image // what lagging lists show
	lags       int
	watchers   map[chan struct{}]bool
}

// image is an image with what the port does not tell of it.
type image struct {
	engine.Image
	content Content
	ours    bool // pinned by Pin
	byHand  bool // pinned by PinByHand
	config  bool // pinned by the runtime's configuration
	marked  bool
}

// NewCRIO is an in-memory CRI-O: it has bare ids, refuses to remove what any container uses, and cannot pin, set a
// tag to a digest, or tell layers, times and progress.
func NewCRIO(registry *Registry) *Runtime {
	return newRuntime(registry, kind{
		name: "cri-o", version: "1.36.0", endpoint: "unix:///run/crio/crio.sock",
		id:         func(c Content) string { return c.Config().Encoded() },
		refusesUse: true, oneTag: true,
	})
}

// NewDocker is an in-memory Docker Engine with a graph driver, whose ids are digests of configurations.
func NewDocker(registry *Registry) *Runtime {
	return newRuntime(registry, docker(func(c Content) string { return c.Config().String() }))
}

// NewDockerContainerd is an in-memory Docker Engine with the containerd store, whose ids are digests of manifests.
func NewDockerContainerd(registry *Registry) *Runtime {
	return newRuntime(registry, docker(func(c Content) string { return c.Manifest().String() }))
}

// NewCRIDockerd is an in-memory cri-dockerd: a Docker Engine that can remove only whole images.
func NewCRIDockerd(registry *Registry) *Runtime {
	k := docker(func(c Content) string { return c.Config().String() })
	k.endpoint, k.oneTag, k.movesTags, k.progress, k.forceLiftsExited = "unix:///run/cri-dockerd.sock", false, false, false, false
	return newRuntime(registry, k)
}

func docker(id func(Content) string) kind {
	return kind{
		name: "docker", version: "29.0.0", endpoint: "unix:///run/docker.sock", id: id,
		refusesUse: true, forceLiftsExited: true, oneTag: true, movesTags: true, progress: true,
	}
}

func newRuntime(registry *Registry, k kind) *Runtime {
	return &Runtime{
		Registry: registry, kind: k,
		images: map[string]*image{}, containers: map[string]Container{},
		fails: map[Op][]error{}, calls: map[Op]int{}, content: map[string]bool{}, watchers: map[chan struct{}]bool{},
	}
}

// FailNext makes the next calls of an operation fail, one for each error; a nil among them lets one succeed.
func (r *Runtime) FailNext(op Op, errs ...error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fails[op] = append(r.fails[op], errs...)
}

// Calls is how often an operation was called.
func (r *Runtime) Calls(op Op) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.calls[op]
}

// begin is the start of every operation. Its caller holds no lock.
func (r *Runtime) begin(ctx context.Context, call Call) error {
	if r.Before != nil {
		r.Before(call)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls[call.Op]++
	queue := r.fails[call.Op]
	if len(queue) == 0 {
		return nil
	}
	r.fails[call.Op] = queue[1:]
	return queue[0]
}

func (r *Runtime) now() time.Time {
	if r.Now != nil {
		return r.Now()
	}
	return time.Now()
}

// Describe is part of engine.Interface.
func (r *Runtime) Describe(ctx context.Context) (engine.Description, error) {
	if err := r.begin(ctx, Call{Op: OpDescribe}); err != nil {
		return engine.Description{}, err
	}
	return engine.Description{Name: r.kind.name, Version: r.kind.version, Endpoint: r.kind.endpoint}, nil
}

// List is part of engine.Interface.
func (r *Runtime) List(ctx context.Context, ids ...string) ([]engine.Image, error) {
	if err := r.begin(ctx, Call{Op: OpList, ImageID: strings.Join(ids, ",")}); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.Traps.ListFails {
		return nil, engine.Becausef(engine.Unknown, "listing images: layer not known")
	}
	all := r.snapshot()
	if r.lags > 0 {
		r.lags--
		all = r.stale
	}
	if r.Traps.ListShort {
		all = all[:len(all)/2]
	}
	if len(ids) == 0 {
		return all, nil
	}
	return slices.DeleteFunc(all, func(i engine.Image) bool { return !slices.Contains(ids, i.ID) }), nil
}

// snapshot is every image, in the order of ids. Its caller holds the lock.
func (r *Runtime) snapshot() []engine.Image {
	images := make([]engine.Image, 0, len(r.images))
	for _, id := range slices.Sorted(maps.Keys(r.images)) {
		images = append(images, r.shown(r.images[id]))
	}
	return images
}

// shown is an image as a list has it.
func (r *Runtime) shown(i *image) engine.Image {
	shown := i.shown()
	if r.kind.measures {
		shown.DiskBytes, shown.Layers = 0, nil
	}
	return shown
}

func (i *image) shown() engine.Image {
	shown := i.Image
	shown.Tags = slices.SortedFunc(slices.Values(i.Tags), oci.Compare)
	shown.Digests = slices.SortedFunc(slices.Values(i.Digests), oci.Compare)
	shown.PinnedByOthers = i.byHand || i.config
	shown.Pinned = i.ours || shown.PinnedByOthers
	return shown
}

// changing keeps what lagging lists go on to show, and tells those who watch. Its caller holds the lock.
func (r *Runtime) changing() {
	r.tell()
	if r.Traps.ListLags > 0 {
		r.stale, r.lags = r.snapshot(), r.Traps.ListLags
	}
}

// find is the image that a tag or a digest names. Its caller holds the lock.
func (r *Runtime) find(ref oci.Ref) *image {
	for _, img := range r.images {
		if slices.Contains(img.Tags, ref) || slices.Contains(img.Digests, ref) {
			return img
		}
	}
	return nil
}
