// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/agent"
	"orlop.dev/orlop/internal/agent/agenttest"
	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/engine/enginetest"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/plan"
)

// world is one node: an agent over an in-memory runtime and an in-memory API.
type world struct {
	*testing.T
	api      *agenttest.API
	rt       *enginetest.Runtime
	runtime  engine.Interface
	registry *enginetest.Registry
	cfg      agent.Config
	gate     *gate
	stop     func()
}

// gate stands before the runtime, and lets the test say what is wrong with it.
type gate struct {
	engine.Interface
	mu         sync.Mutex
	disk       plan.Disk
	down, list error
	// late is called when a pull is broken off, before its caller hears of it.
	late func()
}

func (g *gate) Pull(ctx context.Context, req engine.PullRequest) (engine.Image, error) {
	img, err := g.Interface.Pull(ctx, req)
	g.mu.Lock()
	defer g.mu.Unlock()
	if ctx.Err() != nil && g.late != nil {
		g.late()
	}
	return img, err
}

func (g *gate) Unwrap() engine.Interface { return g.Interface }

func (g *gate) List(ctx context.Context, ids ...string) ([]engine.Image, error) {
	g.mu.Lock()
	err := g.list
	g.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return g.Interface.List(ctx, ids...)
}

// set changes the gate.
func (g *gate) set(change func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	change()
}

func (g *gate) open(context.Context, string) (engine.Interface, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g, g.down
}

func (g *gate) measure(string) plan.Disk {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.disk
}

const nodeName = "node1"

// inWorld runs a test under a clock of its own.
func inWorld(t *testing.T, test func(w *world)) {
	t.Helper()
	cryptotest.SetGlobalRandom(t, 1) // Go's FIPS 140-3 module takes its entropy from a clock that runs.
	synctest.Test(t, func(t *testing.T) {
		registry := enginetest.NewRegistry()
		rt := enginetest.NewContainerd(registry)
		w := &world{T: t, api: agenttest.New(nodeName), rt: rt.Runtime, runtime: engine.Verify(rt), registry: registry}
		w.gate = &gate{Interface: w.runtime, disk: plan.Disk{Capacity: 1 << 40, Available: 1 << 40}}
		w.cfg = agent.Config{
			Node: nodeName, NodeUID: "uid-1", Version: "test", API: w.api, Log: slog.New(slog.DiscardHandler),
			Open: w.gate.open, Disk: w.gate.measure,
		}
		test(w)
		if w.stop != nil {
			w.stop()
		}
	})
}

// eachWorld is inWorld with containerd, and with CRI-O, which has no marks, and tells nobody of changes.
func eachWorld(t *testing.T, test func(w *world)) {
	t.Helper()
	t.Run("containerd", func(t *testing.T) { inWorld(t, test) })
	t.Run("cri-o", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.rt = enginetest.NewCRIO(w.registry)
			w.runtime = engine.Verify(w.rt)
			w.gate.Interface = w.runtime
			test(w)
		})
	})
}

// start starts an agent; what runs already is stopped first.
func (w *world) start() {
	w.Helper()
	if w.stop != nil {
		w.stop()
	}
	a, err := agent.New(w.cfg)
	if err != nil {
		w.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	w.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			w.Errorf("the agent ended with %v", err)
		}
		w.stop = nil
	}
	synctest.Wait()
}

func (w *world) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func ref(name string) oci.Ref {
	r, err := oci.Parse(name)
	if err != nil {
		panic(err)
	}
	return r
}

func content(seed string, size int64) enginetest.Content {
	return enginetest.Content{Seed: seed, Layers: []enginetest.Blob{{Seed: seed, Size: size}}}
}

// push puts an image into the registry, and gives the entry that asks for it.
func (w *world) push(name, seed string, size int64) v1alpha1.StoreImage {
	digest := w.registry.Push(ref(name), content(seed, size))
	return v1alpha1.StoreImage{
		Image: ref(name).String(), Digest: digest.String(), Size: size, Pin: true,
		RemovalPolicy: v1alpha1.RemovalPolicyRemove, Caches: []string{"shop/web"},
	}
}

// want makes the spec ask for just these.
func (w *world) want(entries ...v1alpha1.StoreImage) {
	w.api.Change(func(s *v1alpha1.ImageStoreSpec) { s.Images = entries })
	synctest.Wait()
}

func (w *world) images() map[string]v1alpha1.StoreImageStatus {
	images := map[string]v1alpha1.StoreImageStatus{}
	for _, st := range w.api.Store().Status.Images {
		images[st.Image] = st
	}
	return images
}

// state is what the status says of one image.
func (w *world) state(name string) v1alpha1.StoreImageStatus { return w.images()[name] }

func (w *world) here(name string) (engine.Image, bool) {
	w.Helper()
	all, err := w.runtime.List(context.Background())
	if err != nil {
		w.Fatal(err)
	}
	for _, img := range all {
		for _, tag := range append(img.Tags, img.Digests...) {
			if tag == ref(name) {
				return img, true
			}
		}
	}
	return engine.Image{}, false
}

func TestNewCacheIsPulledPinnedAndTold(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		first := w.api.Store().Status
		if first.Key == nil || first.NodeUID != "uid-1" || first.Runtime != "containerd://2.4.2" || !first.CanPin {
			t.Errorf("the first status is %+v", first)
		}
		var entries []v1alpha1.StoreImage
		for _, name := range []string{"a:1", "b:1", "c:1", "d:1", "e:1"} {
			entries = append(entries, w.push(name, name, 1000))
		}
		w.rt.BytesPerSecond = 1000
		before := len(w.api.Writes())
		w.want(entries...)
		if got := w.api.Writes()[before]; len(got.Images) != 5 || !got.Images[4].Pulled || !got.Images[4].Pinned || got.ObservedGeneration != 2 {
			t.Errorf("what was written before the pulls: %+v", got)
		}
		w.pass(2 * time.Second)
		w.pass(time.Second)
		status := w.api.Store().Status
		if status.Summary != "5/5" || status.Failed != 0 {
			t.Errorf("after 3 s the status says %s, %d failed", status.Summary, status.Failed)
		}
		for _, e := range entries {
			img, here := w.here(e.Image)
			if st := w.state(e.Image); !here || !img.Pinned || st.State != v1alpha1.ImagePresent || st.Digest != e.Digest {
				t.Errorf("%s: here %t, pinned %t, %+v", e.Image, here, img.Pinned, st)
			}
		}
		if writes := len(w.api.Writes()) - before; writes > 2 {
			t.Errorf("it took %d writes, want 2", writes)
		}
		quiet := len(w.api.Writes())
		w.pass(time.Hour)
		if got := len(w.api.Writes()); got != quiet {
			t.Errorf("an hour in which nothing happened took %d writes: %+v", got-quiet, w.api.Writes()[quiet:])
		}
	})
}
