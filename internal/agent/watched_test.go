// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/engine/enginetest"
)

// slowly makes a pull of ten layers that takes a minute.
func (w *world) slowly(name string) v1alpha1.StoreImage {
	const layers, size = 10, 1000
	slow := enginetest.Content{Seed: name}
	for i := range layers {
		slow.Layers = append(slow.Layers, enginetest.Blob{Seed: name + string(rune('a'+i)), Size: size})
	}
	entry := w.push(name, name, layers*size)
	entry.Digest = w.registry.Push(ref(name), slow).String()
	w.rt.BytesPerSecond = layers * size / 60
	return entry
}

func (w *world) watchFor(d time.Duration) {
	w.api.Change(func(s *v1alpha1.ImageStoreSpec) { s.WatchedUntil = &metav1.Time{Time: time.Now().Add(d)} })
}

func TestProgressIsToldWhileSomebodyLooksOn(t *testing.T) {
	inWorld(t, func(w *world) {
		e := w.slowly("a:1")
		w.start()
		w.want(e)
		w.pass(10 * time.Second)
		if p := w.state(e.Image).Progress; p != nil {
			t.Errorf("nobody looks on, and it tells %+v", p)
		}
		before := len(w.api.Writes())
		w.pass(5 * time.Second)
		if n := len(w.api.Writes()) - before; n > 0 {
			t.Errorf("%d writes, and nothing to tell", n)
		}

		w.watchFor(20 * time.Second)
		before = len(w.api.Writes())
		var last int64
		for range 9 {
			w.pass(2 * time.Second)
			p := w.state(e.Image).Progress
			if p == nil || p.TotalBytes != e.Size || p.DoneBytes < last {
				t.Fatalf("progress is %+v after %d", p, last)
			}
			last = p.DoneBytes
		}
		if n := len(w.api.Writes()) - before; last < e.Size/3 || n > 10 {
			t.Errorf("%d bytes of %d, %d writes in 18 s", last, e.Size, n)
		}

		w.pass(10 * time.Second) // Nobody renews it.
		before = len(w.api.Writes())
		w.pass(5 * time.Second)
		if p, n := w.state(e.Image).Progress, len(w.api.Writes())-before; p != nil || n > 0 {
			t.Errorf("nobody looks on any more, and it tells %+v, in %d writes", p, n)
		}
		w.pass(30 * time.Second)
		if st := w.wantState("a:1", v1alpha1.ImagePresent, ""); st.Progress != nil {
			t.Errorf("it is here, and there is progress: %+v", st.Progress)
		}
	})
}

// TestAWatchWithoutEnd: what is written for somebody who looks on has an end, whatever the spec says.
func TestAWatchWithoutEnd(t *testing.T) {
	inWorld(t, func(w *world) {
		e := w.slowly("a:1")
		w.start()
		w.watchFor(365 * 24 * time.Hour)
		w.want(e)
		w.pass(10 * time.Second)
		if st := w.state(e.Image); st.State != v1alpha1.ImagePulling || st.Progress != nil {
			t.Errorf("%+v", st)
		}
	})
}
