// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"crypto/rand"
	"time"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/plan"
)

// asking is how the agent comes to know what pods need.
type asking struct {
	nonce string // asked by this process; empty: it has asked nothing
	at    time.Time
	// pause grows while the answer is that the image is needed: nothing on this node tells when that has changed.
	pause time.Duration
}

const (
	// askPause is the least time between two questions, maxAskPause the most.
	askPause    = 10 * time.Second
	maxAskPause = 5 * time.Minute
	// clockSkew is how far ahead the controller's clock may be without its word being taken for one from the future.
	clockSkew = 2 * time.Second
)

// Why a removal does not begin.
const (
	waitsForNeeds = "waiting to hear what pods on this node need"
	tooManyNeeds  = "the pods of this node name more images than can be told: nothing is removed"
)

// needsOf are the needs of caches and of pods, dated by this node's clock.
func needsOf(spec v1alpha1.ImageStoreSpec, runtime string, asked asking, records map[string]v1alpha1.StoreImageStatus, now time.Time) plan.Needs {
	needs := plan.Needs{Known: true}
	for name, e := range wantedNames(spec) {
		needs.Items = append(needs.Items, plan.Need{Ref: name.each, By: name.by, Cache: true, Pinned: records[e.Image].Pinned})
	}
	pods := spec.Needs
	if pods == nil || pods.Omitted > 0 {
		return needs
	}
	needs.AsOf = pods.AsOf.Time
	if asked.nonce != "" && pods.Answers == asked.nonce {
		needs.AsOf = asked.at
	}
	if needs.AsOf.Sub(now) > clockSkew {
		needs.AsOf = time.Time{}
	}
	for _, image := range pods.Images {
		needs.Items = append(needs.Items, plan.NeedsOf(image.Pod, []string{image.Image}, plan.PicksRegistry(runtime))...)
	}
	return needs
}

// ask asks what pods need, not too often.
func (a *Agent) ask(now time.Time, next *earliest) {
	if due := a.asking.at.Add(a.asking.pause); a.asking.nonce != "" && now.Before(due) {
		next.or(due)
		return
	}
	a.asking = asking{nonce: rand.Text(), at: now, pause: min(max(2*a.asking.pause, askPause), maxAskPause)}
	next.or(now.Add(a.asking.pause))
}

// noteNeeds keeps what removals under way look at.
func (a *Agent) noteNeeds() {
	needs := needsOf(a.store.Spec, a.rt.described.Name, a.asking, a.records, time.Now())
	a.needs.Store(&needs)
}

func (a *Agent) currentNeeds() plan.Needs {
	if needs := a.needs.Load(); needs != nil {
		return *needs
	}
	return plan.Needs{Known: true}
}
