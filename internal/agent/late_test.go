// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/engine"
)

// A pull is given up, and brings its image all the same: its answer was lost, or the runtime heard too late that nobody waits any more.
// The image is let go like one that was not in doubt.
func TestAPullThatComesThoughItWasGivenUp(t *testing.T) {
	for name, after := range map[string]time.Duration{"before it was given up": 0, "a moment later": 200 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			eachWorld(t, func(w *world) {
				e := w.push("a:1", "a", 10_000)
				w.beginPull(e)
				came := w.bring("a", e, after)
				e.Released = true
				w.want(e)
				w.wantLetGo("a:1", e, came)
			})
		})
	}
}

// The same where the tag has moved: what it stood for is released under its digest.
func TestAPullThatComesThoughItsTagHasMoved(t *testing.T) {
	for name, after := range map[string]time.Duration{"before it was given up": 0, "a moment later": 200 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			eachWorld(t, func(w *world) {
				old := w.push("a:1", "a", 10_000)
				w.beginPull(old)
				came := w.bring("a", old, after)
				newer, left := w.push("a:1", "new", 1000), old
				left.Image, left.Released = ref("a:1").Repository()+"@"+old.Digest, true
				w.api.Change(func(s *v1alpha1.ImageStoreSpec) {
					s.Images, s.Needs = []v1alpha1.StoreImage{newer, left}, &v1alpha1.PodNeeds{AsOf: metav1.NowMicro()}
				})
				w.wantLetGo("a@"+old.Digest, old, came)
				w.wantState("a:1", v1alpha1.ImagePresent, "")
			})
		})
	}
}

// beginPull starts an agent that is in the middle of a pull.
func (w *world) beginPull(e v1alpha1.StoreImage) {
	w.Helper()
	w.rt.BytesPerSecond = 1000
	w.start()
	w.want(e)
	w.pass(5 * time.Second)
	w.wantState(e.Image, v1alpha1.ImagePulling, "")
}

// bring has the image come under its digest some time from now; at once: when its pull is given up. came is whether it has.
func (w *world) bring(seed string, e v1alpha1.StoreImage, after time.Duration) (came *bool) {
	came = new(bool)
	come := func() {
		*came = true
		w.rt.Load(content(seed, e.Size), ref(e.Image).Repository()+"@"+e.Digest)
	}
	if after > 0 {
		time.AfterFunc(after, come)
	} else {
		w.gate.set(func() { w.gate.late = come })
	}
	return came
}

// wantLetGo wants nothing left of the image after a while, neither by its digest nor in the record.
func (w *world) wantLetGo(record string, e v1alpha1.StoreImage, came *bool) {
	w.Helper()
	for range 10 {
		w.pass(time.Second)
		w.answer()
	}
	if !*came {
		w.Error("the image did not come")
	}
	w.wantHere(ref(e.Image).Repository()+"@"+e.Digest, false)
	w.wantForgotten(record)
}

// Somebody else has just removed a released image, as the agent before this one, and puts it back when it is told to end: what is back is
// let go, and what is not is forgotten.
func TestWhatIsPutBackByAnotherProcess(t *testing.T) {
	for name, back := range map[string]bool{"it is put back": true, "it is not": false} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				e := w.push("a:1", "a", 1000)
				e.Pin = false
				w.start()
				w.want(e)
				w.pass(time.Second)
				w.wantState("a:1", v1alpha1.ImagePresent, "")
				w.stop()
				img, batch := w.removeElsewhere("a:1")
				w.release(e)
				w.start()
				w.pass(time.Second)
				w.wantState("a:1", v1alpha1.ImageReleasing, "")
				if back {
					if err := batch.Restore(t.Context(), img.ID); err != nil {
						t.Fatal(err)
					}
				}
				if err := batch.Close(t.Context()); err != nil {
					t.Fatal(err)
				}
				for range 12 {
					w.pass(time.Second)
					w.answer()
				}
				w.wantHere("a:1", false)
				w.wantForgotten("a:1")
			})
		})
	}
}

// removeElsewhere removes the names of an image in a batch that stays open.
func (w *world) removeElsewhere(name string) (engine.Image, engine.Batch) {
	w.Helper()
	img, _ := w.here(name)
	batcher, _ := engine.As[engine.Batcher](w.runtime)
	batch, err := batcher.Batch(w.Context())
	if err == nil {
		err = batch.Hold(w.Context(), img)
	}
	if err == nil {
		err = batch.Remove(w.Context(), engine.RemoveRequest{Image: img})
	}
	if err != nil {
		w.Fatal(err)
	}
	w.wantHere(name, false)
	return img, batch
}
