// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package containerd

import (
	"context"
	"slices"
	"strings"
	"time"

	contentapi "github.com/containerd/containerd/api/services/content/v1"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
)

// progressInterval is how often a pull is looked at: often enough for a person, rare enough to cost nothing.
const progressInterval = 250 * time.Millisecond

// watcher follows one pull from outside: CRI says nothing until it is done, but containerd's content store tells of
// every blob that is being written, whoever writes it.
type watcher struct {
	runtime *Runtime
	req     engine.PullRequest
	started time.Time

	manifest string          // its digest, once known
	claimed  string          // the same where it was found by looking
	refused  map[string]bool // content that turned out to be no manifest of this pull
	parts    []part          // config and layers, once the manifest is here
	last     engine.Progress
}

// part is one blob that a pull needs.
type part struct {
	digest string
	size   int64
	had    bool // here before the pull began: not moved, not counted
	done   bool
	offset int64
}

// watch reports a pull's progress until finish is called, with what came or nil, which waits for the last report.
func (r *Runtime) watch(ctx context.Context, req engine.PullRequest) (finish func(*engine.Image)) {
	if req.Progress == nil {
		return func(*engine.Image) {}
	}
	follow, cancel := context.WithCancel(ctx)
	// Blobs carry the time of this machine's clock, as does the watcher.
	w := &watcher{runtime: r, req: req, started: time.Now(), refused: map[string]bool{}}
	w.manifest = req.Ref.Digest().String()
	result, ended := make(chan *engine.Image, 1), make(chan struct{})
	go func() {
		defer close(ended)
		if came := w.run(follow, result); came != nil && w.watched() {
			w.conclude(ctx, *came)
		}
	}()
	return func(came *engine.Image) {
		cancel()
		result <- came
		<-ended
		r.disclaim(w.claimed)
	}
}

func (w *watcher) run(ctx context.Context, result <-chan *engine.Image) *engine.Image {
	w.report(engine.Progress{Phase: engine.PhaseResolving})
	tick := time.NewTicker(progressInterval)
	defer tick.Stop()
	for {
		select {
		case came := <-result:
			return came
		case <-tick.C:
			if w.watched() {
				w.step(ctx)
			}
		}
	}
}

func (w *watcher) watched() bool { return w.req.Watched == nil || w.req.Watched() }

// conclude reports the end. What a quick pull consisted of is known only now, and whether a manifest that was found
// is its own.
func (w *watcher) conclude(ctx context.Context, came engine.Image) {
	own := slices.DeleteFunc(slices.Clone(came.Digests), func(d oci.Ref) bool { return d.Repository() != w.req.Ref.Repository() })
	found := slices.ContainsFunc(own, func(d oci.Ref) bool { return d.Digest().String() == w.manifest })
	if !found && len(own) > 0 {
		w.manifest, w.parts = own[0].Digest().String(), nil
	}
	w.step(ctx)
	w.report(engine.Progress{Phase: engine.PhaseUnpacking, Done: w.last.Total, Total: w.last.Total})
}

// report never goes back: an ingest that is taken up again begins anew, and a person should not see that.
func (w *watcher) report(now engine.Progress) {
	now.Total = max(now.Total, w.last.Total)
	now.Done = min(max(now.Done, w.last.Done), now.Total)
	if now != w.last {
		w.last = now
		w.req.Progress(now)
	}
}

// step looks once. What cannot be had now, the next step looks for again: a pull does not fail for its progress.
func (w *watcher) step(ctx context.Context) {
	if w.parts == nil && !w.findParts(ctx) {
		return
	}
	offsets, err := w.runtime.ingests(ctx)
	if err != nil {
		return
	}
	now := engine.Progress{Phase: engine.PhaseUnpacking}
	for n := range w.parts {
		p := &w.parts[n]
		if !w.lookAt(ctx, p, offsets) {
			return
		}
		if p.had {
			continue
		}
		now.Total += p.size
		if p.done {
			now.Done += p.size
			continue
		}
		now.Done += p.offset
		now.Phase = engine.PhaseDownloading
	}
	w.report(now)
}

func (w *watcher) lookAt(ctx context.Context, p *part, offsets map[string]int64) (ok bool) {
	if p.done {
		return true
	}
	info, err := w.runtime.info(ctx, p.digest)
	switch {
	case err != nil:
		return false
	case info == nil:
		p.offset = min(max(p.offset, offsets[p.digest]), p.size)
	default:
		p.done = true
		p.had = info.CreatedAt.AsTime().Before(w.started)
	}
	return true
}

// ingests gives how many bytes of each digest have been written so far. Their names end with it, after what it is.
func (r *Runtime) ingests(ctx context.Context) (map[string]int64, error) {
	list, err := r.content.ListStatuses(ctx, &contentapi.ListStatusesRequest{})
	if err != nil {
		return nil, err
	}
	offsets := map[string]int64{}
	for _, s := range list.Statuses {
		if at := strings.LastIndex(s.Ref, "sha256:"); at >= 0 {
			offsets[s.Ref[at:]] = s.Offset
		}
	}
	return offsets, nil
}
