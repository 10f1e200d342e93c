// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/session"
)

// Pull fetches images, several at once, and says for each what became of it. One that fails holds up no other; the
// error says why nothing was tried at all. on, if set, hears of the progress and of each image as it is done, from
// one goroutine at a time.
func (n *Node) Pull(ctx context.Context, req session.PullRequest, on func(session.Message)) ([]session.Step, error) {
	images, err := n.Runtime.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing the images: %w", err)
	}
	p := &pulls{node: n, req: req, on: on, steps: make([]session.Step, len(req.Images)), progress: make([]engine.Progress, len(req.Images))}
	var group errgroup.Group
	group.SetLimit(cmp.Or(req.Parallel, session.DefaultParallel))
	for i, ref := range req.Images {
		if here, ok := find(images, ref); ok && req.Policy.For(ref) == session.PullIfNotPresent {
			p.finish(i, pulledStep(ref, here, session.StatePresent))
			continue
		}
		group.Go(func() error {
			p.pull(ctx, i, ref)
			return nil
		})
	}
	return p.steps, group.Wait()
}

// find gives the image that answers to the reference, by tag and digest where both are given.
func find(images []engine.Image, ref oci.Ref) (engine.Image, bool) {
	for _, img := range images {
		byTag := ref.Tag() == "" || slices.Contains(img.Tags, ref.WithoutDigest())
		byDigest := ref.Digest() == "" || slices.Contains(img.Digests, ref.WithoutTag())
		if byTag && byDigest {
			return img, true
		}
	}
	return engine.Image{}, false
}

// pulls is the state of one call of Pull.
type pulls struct {
	node *Node
	req  session.PullRequest
	on   func(session.Message)

	mu       sync.Mutex
	steps    []session.Step
	progress []engine.Progress
	finished int
	last     time.Time
}

func (p *pulls) pull(ctx context.Context, i int, ref oci.Ref) {
	start := time.Now()
	img, err := p.node.Runtime.Pull(ctx, engine.PullRequest{
		Ref:         ref,
		Credentials: credentialsFor(p.req.Credentials, ref),
		Progress:    func(progress engine.Progress) { p.note(i, progress) },
	})
	step := pulledStep(ref, img, session.StatePulled)
	if err != nil {
		step = session.Step{Asked: ref.String(), State: session.StateFailed, Reason: string(engine.ReasonOf(err)), Message: err.Error()}
	}
	step.TookSeconds = time.Since(start).Seconds()
	p.finish(i, step)
}

func pulledStep(ref oci.Ref, img engine.Image, state session.State) session.Step {
	step := session.Step{Asked: ref.String(), State: state, ID: img.ID, Names: texts(img.Tags), Digest: ref.Digest().String()}
	for _, d := range img.Digests {
		if d.Repository() == ref.Repository() && step.Digest == "" {
			step.Digest = d.Digest().String()
		}
	}
	if state == session.StatePulled {
		step.Bytes = img.PullBytes
	}
	return step
}

// progressInterval keeps the lines of progress to what an eye can follow.
const progressInterval = 200 * time.Millisecond

func (p *pulls) note(i int, progress engine.Progress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	changed := p.progress[i].Phase != progress.Phase
	p.progress[i] = progress
	if changed || time.Since(p.last) >= progressInterval {
		p.tell()
	}
}

func (p *pulls) finish(i int, step session.Step) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.steps[i] = step
	p.progress[i].Phase = ""
	p.finished++
	if p.on == nil {
		return
	}
	p.on(session.Message{Step: &step})
	p.tell()
}

// tell sums up all pulls; p.mu is held.
func (p *pulls) tell() {
	if p.on == nil {
		return
	}
	p.last = time.Now()
	sum := session.Progress{Images: len(p.steps), Finished: p.finished}
	for _, progress := range p.progress {
		sum.Done += progress.Done
		sum.Total += progress.Total
		if behind(progress.Phase, sum.Phase) {
			sum.Phase = progress.Phase
		}
	}
	p.on(session.Message{Progress: &sum})
}

var phases = []engine.Phase{engine.PhaseDownloading, engine.PhaseUnpacking, engine.PhaseResolving}

// behind reports whether phase a is the one to show rather than b: whatever moves bytes is told first.
func behind(a, b engine.Phase) bool {
	at, bt := slices.Index(phases, a), slices.Index(phases, b)
	return at >= 0 && (bt < 0 || at < bt)
}

// credentialsFor finds the entry whose key is the longest beginning of the repository, in whole path elements.
func credentialsFor(all map[string]engine.Credentials, ref oci.Ref) *engine.Credentials {
	var best string
	for key := range all {
		if len(key) > len(best) && (ref.Repository() == key || strings.HasPrefix(ref.Repository(), key+"/")) {
			best = key
		}
	}
	if found, ok := all[best]; ok {
		return &found
	}
	return nil
}
