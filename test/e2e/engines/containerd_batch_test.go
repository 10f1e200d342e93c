// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package engines

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/engine/enginetest"
	"orlop.dev/orlop/internal/oci"
)

func TestBatchOutlivesACollectionAndRestoresRecordsAsTheyWere(t *testing.T) {
	b := onContainerd(t)
	one, two := b.ref("a:1"), b.ref("b:1")
	b.push("x", one, two)
	image := b.pull(one, two)
	if err := b.rt.Pin(t.Context(), one, true); err != nil {
		t.Fatal(err)
	}
	b.ctr("images", "label", two.String(), "somebody.else/label=kept")
	before, recordsBefore := b.mustLook(image.ID), b.records(image.ID)
	batch, err := b.rt.Batch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := batch.Remove(t.Context(), engine.RemoveRequest{Image: before}); err != nil {
		t.Fatal(err)
	}
	if left := b.records(image.ID); len(left) > 0 {
		t.Errorf("records are left: %s", left)
	}
	b.collect()
	if err := batch.Restore(t.Context(), image.ID); err != nil {
		t.Fatal(err)
	}
	if err := batch.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.collect()
	if diff := cmp.Diff(recordsBefore, b.records(image.ID)); diff != "" {
		t.Errorf("containerd's records (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(before, b.mustLook(image.ID), cmp.Comparer(func(a, b oci.Ref) bool { return a == b })); diff != "" {
		t.Errorf("the image (-before +after):\n%s", diff)
	}
	// Only whole content can be unpacked and run.
	startWith(t, b.lab, enginetest.Running, image.ID, "")()
	if leases := b.ctr("leases", "ls", "-q"); strings.TrimSpace(leases) != "" {
		t.Errorf("leases are left: %s", leases)
	}
}

// collect makes containerd collect its garbage, as any removal by anybody may.
func (b *bench) collect() {
	b.Helper()
	b.ctr("leases", "delete", "--sync", strings.TrimSpace(b.ctr("leases", "create")))
}

func TestBatchWhoseOwnerDiesHoldsContentForTenMinutesAtMost(t *testing.T) {
	b := onContainerd(t)
	batch, err := b.rt.Batch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := batch.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	_, after, found := strings.Cut(b.ctr("leases", "ls", `labels."orlop.dev/batch"`), "containerd.io/gc.expire=")
	if !found || len(after) < len(time.RFC3339)-5 {
		t.Fatalf("the lease does not expire: %q", after)
	}
	expires, err := time.Parse(time.RFC3339, after[:len("2006-01-02T15:04:05Z")])
	if err != nil {
		t.Fatal(err)
	}
	if left := time.Until(expires); left < 9*time.Minute || left > 10*time.Minute {
		t.Errorf("it expires in %s", left)
	}
}

// TestRemovalsOnAFullDisk: root has no more room here than anybody else, since the lab's disks keep none back.
func TestRemovalsOnAFullDisk(t *testing.T) {
	for name, batched := range map[string]bool{"in a batch": true, "one by one": false} {
		t.Run(name, func(t *testing.T) {
			b := onContainerd(t)
			var images []engine.Image
			for _, name := range []string{"a:1", "b:1", "c:1"} {
				b.push(name, b.ref(name))
				images = append(images, b.pull(b.ref(name)))
			}
			b.fillDisk()
			if batched {
				b.removeInBatch(images)
			} else {
				b.removeBy(b.rt.Remove, images)
			}
			for _, image := range images {
				if left := b.records(image.ID); len(left) > 0 {
					t.Errorf("records are left: %s", left)
				}
			}
			if out, err := b.write("count=40"); err != nil {
				t.Errorf("no room came: %v %s", err, out)
			}
		})
	}
}

func (b *bench) removeInBatch(images []engine.Image) {
	b.Helper()
	batch, err := b.rt.Batch(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	if err := batch.Hold(b.Context(), images...); err != nil {
		b.Fatal(err)
	}
	b.removeBy(batch.Remove, images)
	if err := batch.Close(b.Context()); err != nil {
		b.Error(err)
	}
}

func (b *bench) removeBy(remove func(context.Context, engine.RemoveRequest) error, images []engine.Image) {
	b.Helper()
	for _, image := range images {
		if err := remove(b.Context(), engine.RemoveRequest{Image: image}); err != nil {
			b.Error(err)
		}
	}
}

// fillDisk leaves not one block.
func (b *bench) fillDisk() {
	b.Helper()
	b.Cleanup(func() {
		ctx := context.WithoutCancel(b.Context())
		if _, err := b.lab.Exec(ctx, engineNode, "rm", "-f", filler); err != nil {
			b.Error(err)
		}
		if err := b.lab.FreeDisk(ctx, engineNode); err != nil {
			b.Error(err)
		}
	})
	if err := b.lab.FillDisk(b.Context(), engineNode, 100); err != nil {
		b.Fatal(err)
	}
	if out, err := b.write(); err == nil || !strings.Contains(out+err.Error(), "No space left") {
		b.Fatalf("the disk is not full: %v %s", err, out)
	}
}

const filler = "/var/lib/containerd/filler"

func (b *bench) write(more ...string) (string, error) {
	return b.lab.Exec(b.Context(), engineNode, append([]string{"dd", "if=/dev/zero", "of=" + filler, "bs=4k", "conv=notrunc", "oflag=append,direct"}, more...)...)
}

func TestPinOfAnImageThatWasImported(t *testing.T) {
	b := onContainerd(t)
	tag := b.ref("a:1")
	b.push("x", tag)
	image := b.pull(tag)
	for _, digest := range image.Digests { // What an import leaves: a tag alone.
		b.ctr("images", "rm", digest.String())
	}
	for _, pinned := range []bool{true, false} {
		if err := b.rt.Pin(t.Context(), tag, pinned); err != nil {
			t.Fatal(err)
		}
		if got := b.mustLook(image.ID).Pinned; got != pinned {
			t.Errorf("pinned = %t, want %t", got, pinned)
		}
	}
}

func TestUnpinLeavesThePinsOfOthers(t *testing.T) {
	b := onContainerd(t)
	tag := b.ref("a:1")
	b.push("x", tag)
	image := b.pull(tag)
	b.ctr("images", "label", tag.String(), "io.cri-containerd.pinned=pinned")
	b.await("CRI sees the pin", func() bool { return b.mustLook(image.ID).Pinned })
	for _, pinned := range []bool{true, false} {
		if err := b.rt.Pin(t.Context(), tag, pinned); err != nil {
			t.Fatal(err)
		}
		if !b.mustLook(image.ID).Pinned {
			t.Errorf("after Pin(%t) the pin of somebody else is gone", pinned)
		}
	}
	if records := b.records(); slices.ContainsFunc(records, func(r string) bool { return strings.Contains(r, "orlop.dev/pinned") }) {
		t.Errorf("our pin is left: %s", records)
	}
}
