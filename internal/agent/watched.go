// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"sync/atomic"
	"time"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
)

// progressGap is the least time between two writes of progress, which are made only while somebody looks on.
const progressGap = 2 * time.Second

// watch is until when somebody looks on. Pulls under way ask it.
type watch struct{ until atomic.Int64 }

func (w *watch) take(spec *v1alpha1.ImageStoreSpec, now time.Time) {
	var until int64
	if at := spec.WatchedUntil; at != nil && at.Sub(now) <= v1alpha1.MaxWatch {
		until = at.UnixNano()
	}
	w.until.Store(until)
}

func (w *watch) is(now time.Time) bool { return now.UnixNano() < w.until.Load() }

// gauge is how far one pull is. The pull writes it, who tells reads it.
type gauge struct {
	now atomic.Pointer[engine.Progress]
}

func (g *gauge) note(p engine.Progress) { g.now.Store(&p) }

// read is what there is to tell; nil where the runtime does not.
func (g *gauge) read() *v1alpha1.PullProgress {
	p := g.now.Load()
	if p == nil {
		return nil
	}
	return &v1alpha1.PullProgress{DoneBytes: p.Done, TotalBytes: p.Total}
}

// requestFor asks for what a pull is to bring, and for how far it is whenever somebody looks on.
func (a *Agent) requestFor(want oci.Ref, g *gauge) engine.PullRequest {
	return engine.PullRequest{Ref: want, Progress: g.note, Watched: func() bool { return a.watched.is(time.Now()) }}
}

// tellsProgress reports whether there is progress, and somebody looks on.
func (a *Agent) tellsProgress(now time.Time) bool {
	return a.fetching() && a.watched.is(now)
}

// addProgress tells of each pull under way how far it is.
func (a *Agent) addProgress(images []v1alpha1.StoreImageStatus, now time.Time) {
	for i := range images {
		images[i].Progress = nil
		if p := a.pulls[images[i].Image]; p != nil && a.watched.is(now) && images[i].State != v1alpha1.ImagePresent {
			images[i].Progress = p.gauge.read()
		}
	}
}
