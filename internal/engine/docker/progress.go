// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package docker

import (
	"github.com/moby/moby/api/types/jsonstream"

	"orlop.dev/orlop/internal/engine"
)

// maxLayers bounds what a stream can make us remember; no image may have more than 127 layers with overlayfs.
const maxLayers = 1024

// progress adds up what Docker says of each layer.
type progress struct {
	report func(engine.Progress)
	layers map[string]*layer
	now    engine.Progress
	// unpacks: some layer is being unpacked, as the first one is while others still come.
	unpacks bool
}

type layer struct {
	done, total int64
	here        bool // all its bytes are
}

func newProgress(report func(engine.Progress)) *progress {
	return &progress{report: report, layers: map[string]*layer{}, now: engine.Progress{Phase: engine.PhaseResolving}}
}

// hear takes in one message. Docker has no other sign for a layer's state than its English status.
func (p *progress) hear(message jsonstream.Message) {
	var detail jsonstream.Progress
	if message.Progress != nil {
		detail = *message.Progress
	}
	switch message.Status {
	case "Pulling fs layer", "Waiting":
		p.layer(message.ID)
	case "Downloading":
		l := p.layer(message.ID)
		l.done, l.total = max(l.done, detail.Current), max(l.total, detail.Total)
	case "Download complete", "Verifying Checksum":
		p.layer(message.ID).here = true
	case "Extracting":
		l := p.layer(message.ID)
		l.here, p.unpacks = true, true
		if detail.Units == "" { // The containerd store counts seconds here.
			l.total = max(l.total, detail.Total)
		}
	case "Pull complete":
		p.layer(message.ID).here, p.unpacks = true, true
	default:
		return
	}
	p.add()
}

func (p *progress) layer(id string) *layer {
	known := p.layers[id]
	if known == nil {
		known = &layer{}
		if len(p.layers) < maxLayers {
			p.layers[id] = known
		}
	}
	return known
}

// add sums up, and tells it if it is news. What was told is never taken back.
func (p *progress) add() {
	next := engine.Progress{Phase: engine.PhaseDownloading}
	if p.unpacks {
		next.Phase = engine.PhaseUnpacking
	}
	for _, l := range p.layers {
		if l.here {
			l.done = l.total
		} else {
			next.Phase = engine.PhaseDownloading
		}
		next.Done += l.done
		next.Total += l.total
	}
	next.Done, next.Total = max(next.Done, p.now.Done), max(next.Total, p.now.Total)
	if p.now.Phase == engine.PhaseUnpacking {
		next.Phase = engine.PhaseUnpacking
	}
	if next != p.now {
		p.now = next
		p.tell()
	}
}

// end is when the stream is over and all is there.
func (p *progress) end() {
	p.now.Phase, p.now.Done = engine.PhaseUnpacking, p.now.Total
	p.tell()
}

func (p *progress) tell() {
	if p.report != nil {
		p.report(p.now)
	}
}
