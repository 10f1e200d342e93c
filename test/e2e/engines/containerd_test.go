// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package engines

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/engine/containerd"
	"orlop.dev/orlop/internal/engine/cri"
	"orlop.dev/orlop/internal/engine/enginetest"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/test/lab"
)

// bench is one test's corner of the machine with containerd.
type bench struct {
	*testing.T
	lab   *lab.Cluster
	rt    *containerd.Runtime
	plain *cri.Runtime
	path  string
}

func onContainerd(t *testing.T) *bench {
	t.Helper()
	c := needEngines(t)
	rt, plain := connect(t, c)
	return &bench{T: t, lab: c, rt: rt, plain: plain, path: "registry.test/" + strings.ToLower(rand.Text()[:8]) + "/"}
}

func (b *bench) ref(name string) oci.Ref {
	b.Helper()
	ref, err := oci.Parse(b.path + name)
	if err != nil {
		b.Fatal(err)
	}
	return ref
}

// push makes an image of its own for a seed, under several names.
func (b *bench) push(seed string, names ...oci.Ref) {
	b.Helper()
	for _, name := range names {
		push(b, b.lab, name, enginetest.Content{Seed: seed, Layers: []enginetest.Blob{{Seed: b.path + seed, Size: 64 << 10}}})
	}
}

func (b *bench) pull(names ...oci.Ref) (image engine.Image) {
	b.Helper()
	for _, name := range names {
		var err error
		if image, err = b.rt.Pull(b.Context(), engine.PullRequest{Ref: name}); err != nil {
			b.Fatal(err)
		}
	}
	b.Cleanup(func() {
		if err := b.rt.Remove(context.WithoutCancel(b.Context()), engine.RemoveRequest{Image: image}); err != nil {
			b.Error(err)
		}
	})
	return image
}

func (b *bench) look(id string) (engine.Image, bool) {
	b.Helper()
	images, err := b.rt.List(b.Context(), id)
	if err != nil {
		b.Fatal(err)
	}
	if len(images) == 0 {
		return engine.Image{}, false
	}
	return images[0], true
}

func (b *bench) ctr(args ...string) string {
	b.Helper()
	out, err := b.lab.Exec(b.Context(), engineNode, append([]string{"ctr", "-n", "k8s.io"}, args...)...)
	if err != nil {
		b.Fatal(err)
	}
	return out
}

// records are containerd's lines about this test's images, with targets and labels.
func (b *bench) records(more ...string) []string {
	b.Helper()
	var lines []string
	for line := range strings.Lines(b.ctr("images", "ls")) {
		mine := func(name string) bool { return strings.HasPrefix(line, name) }
		if slices.ContainsFunc(append(more, b.path), mine) {
			lines = append(lines, strings.Join(strings.Fields(line), " "))
		}
	}
	return lines
}

// TestRemovalByAnOldListSparesTheNewImage: also one in a batch that was opened before.
func TestRemovalByAnOldListSparesTheNewImage(t *testing.T) {
	for name, batched := range map[string]bool{"alone": false, "in a batch": true} {
		t.Run(name, func(t *testing.T) {
			b := onContainerd(t)
			tag := b.ref("a:1")
			b.push("old", tag)
			old := b.pull(tag)
			batch, err := b.rt.Batch(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := batch.Hold(t.Context(), old); err != nil {
				t.Fatal(err)
			}
			b.push("new", tag)
			newer := b.pull(tag)
			remove := b.rt.Remove
			if batched {
				remove = batch.Remove
			}
			b.removeBy(remove, []engine.Image{old})
			if err := batch.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, there := b.look(old.ID); there {
				t.Error("the old image is still there")
			}
			if after, there := b.look(newer.ID); !there || !slices.Contains(after.Tags, tag) {
				t.Errorf("the new image lost its name: %v", after.Tags)
			}
		})
	}
}

func (b *bench) mustLook(id string) engine.Image {
	b.Helper()
	image, there := b.look(id)
	if !there {
		b.Fatalf("image %s is not there", id)
	}
	return image
}

func TestIndexAndManifestOfOneImage(t *testing.T) {
	b := onContainerd(t)
	index, plain := b.ref("a:index"), b.ref("a:plain")
	layers := []lab.Layer{{Size: 64 << 10, Shared: b.path}}
	for ref, platforms := range map[oci.Ref][]string{index: {"linux/amd64", "linux/arm64", "linux/s390x"}, plain: nil} {
		if _, err := b.lab.PushImage(t.Context(), ref.String(), lab.ImageSpec{Layers: layers, Platforms: platforms}); err != nil {
			t.Fatal(err)
		}
	}
	image := b.pull(index, plain)
	if len(image.Tags) != 2 || len(image.Digests) != 2 {
		t.Fatalf("tags %v, digests %v: want one image with two of each", image.Tags, image.Digests)
	}
	if err := b.rt.Remove(t.Context(), engine.RemoveRequest{Image: image, Tags: []oci.Ref{plain}}); err != nil {
		t.Fatal(err)
	}
	if after := b.mustLook(image.ID); !slices.Equal(after.Tags, []oci.Ref{index}) {
		t.Errorf("tags %v", after.Tags)
	}
	if err := b.rt.Remove(t.Context(), engine.RemoveRequest{Image: image}); err != nil {
		t.Fatal(err)
	}
	if left := b.records(image.ID); len(left) > 0 {
		t.Errorf("records are left: %s", left)
	}
}

func (b *bench) await(what string, holds func() bool) {
	b.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatalf("still not so: %s", what)
		}
	}
}

func TestProgressOfParallelPulls(t *testing.T) {
	b := onContainerd(t)
	if err := b.lab.AddFault(t.Context(), lab.Fault{Images: b.path + "*", Only: "blobs", BytesPerSecond: 2 << 20}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.lab.ClearFaults(context.WithoutCancel(t.Context())) })
	sizes := map[string]int64{"a:1": 3 << 20, "b:1": 5 << 20}
	var wg sync.WaitGroup
	for name, size := range sizes {
		ref := b.ref(name)
		if _, err := b.lab.PushImage(t.Context(), ref.String(), lab.ImageSpec{Layers: []lab.Layer{{Size: size}}}); err != nil {
			t.Fatal(err)
		}
		wg.Go(func() { b.followPull(ref, size) })
	}
	wg.Wait()
}

func (b *bench) followPull(ref oci.Ref, size int64) {
	var seen []engine.Progress
	image, err := b.rt.Pull(b.Context(), engine.PullRequest{Ref: ref, Progress: func(p engine.Progress) { seen = append(seen, p) }})
	if err != nil {
		b.Error(err)
		return
	}
	halfway := func(p engine.Progress) bool {
		return p.Phase == engine.PhaseDownloading && p.Done > size/10 && p.Done < size
	}
	if !slices.ContainsFunc(seen, halfway) {
		b.Errorf("%s: nothing was told on the way: %+v", ref, seen)
	}
	if last := seen[len(seen)-1]; last.Done != last.Total || last.Total < size {
		b.Errorf("%s: ended with %+v, want all of %d bytes or more", ref, last, size)
	}
	if err := b.rt.Remove(b.Context(), engine.RemoveRequest{Image: image}); err != nil {
		b.Error(err)
	}
}

func TestUsesTellVolumesAndSandboxes(t *testing.T) {
	b := onContainerd(t)
	app, volume := b.ref("app:1"), b.ref("volume:1")
	b.push("app", app)
	b.push("volume", volume)
	appImage, volumeImage := b.pull(app), b.pull(volume)
	remove := startWith(t, b.lab, enginetest.Running, appImage.ID, volumeImage.ID)
	for range 2 { // The second time from what is known of the container.
		uses, err := b.rt.Uses(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		byVolume := func(u engine.Use) bool {
			return u.Kind == engine.UseVolume && u.ImageID == volumeImage.ID && u.Pod != ""
		}
		if !slices.ContainsFunc(uses, byVolume) {
			t.Errorf("no use as a volume in %+v", uses)
		}
		bySandbox := func(u engine.Use) bool { return u.Kind == engine.UseSandbox && !u.Ref.IsZero() && u.Pod != "" }
		if !slices.ContainsFunc(uses, bySandbox) {
			t.Errorf("no sandbox's use in %+v", uses)
		}
	}
	images, err := b.rt.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(images, func(i engine.Image) bool { return i.Sandbox && i.Pinned }) {
		t.Error("no image is the sandbox's")
	}
	remove()
	uses, err := b.rt.Uses(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if slices.ContainsFunc(uses, func(u engine.Use) bool { return u.ImageID == volumeImage.ID }) {
		t.Errorf("the volume is still told as used: %+v", uses)
	}
}

// TestUsesOfContainersThatCRIDidNotMake: ctr makes one; its image's tag then moves on.
func TestUsesOfContainersThatCRIDidNotMake(t *testing.T) {
	b := onContainerd(t)
	tag := b.ref("debug:1")
	b.push("old", tag)
	old := b.pull(tag)
	for id, labels := range map[string][]string{"plain": nil, "labelled": {"--label", "nerdctl/name=debug"}} {
		b.ctr(append(append([]string{"containers", "create"}, labels...), tag.String(), id)...)
		b.Cleanup(func() {
			_, _ = b.lab.Exec(context.WithoutCancel(t.Context()), engineNode, "ctr", "-n", "k8s.io", "containers", "rm", id)
		})
	}
	b.push("new", tag)
	newer := b.pull(tag)
	for range 2 { // The second time from what is known of them.
		uses, err := b.rt.Uses(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"plain", "debug"} {
			if want := (engine.Use{ImageID: old.ID, Kind: engine.UseContainer, Container: name}); !slices.Contains(uses, want) {
				t.Errorf("no %+v in %+v", want, uses)
			}
		}
		if slices.ContainsFunc(uses, func(u engine.Use) bool { return u.ImageID == newer.ID || u.Ref == tag }) {
			t.Errorf("the new image is told as used: %+v", uses)
		}
	}
}

func TestEngineThatStopsFailsAtOnceAndIsFoundAgain(t *testing.T) {
	b := onContainerd(t)
	if err := b.lab.StopEngine(t.Context(), engineNode); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	images, err := b.rt.List(t.Context())
	if !errors.Is(err, engine.RuntimeUnavailable) || len(images) != 0 {
		t.Errorf("a list of a stopped engine: %d images, error %v", len(images), err)
	}
	if _, err := cri.Connect(t.Context(), "unix://"+b.lab.ContainerdSocket(engineNode)); !errors.Is(err, engine.RuntimeUnavailable) {
		t.Errorf("connecting to a stopped engine: %v", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %s to say so", took)
	}
	if err := b.lab.StartEngine(context.WithoutCancel(t.Context()), engineNode); err != nil {
		t.Fatal(err)
	}
	b.await("the same connection works again", func() bool { _, err := b.rt.List(t.Context()); return err == nil })
}
