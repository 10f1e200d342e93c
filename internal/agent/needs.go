// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"crypto/rand"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/plan"
)

// telling is what the controller has told as last of what pods need, and as of when that is by this node's clock.
type telling struct {
	asOf    metav1.MicroTime // by the controller's clock
	answers string
	at      time.Time // zero: not known
}

// hear dates what is told, once, when it comes: what stands there for longer would look new again to a clock that is behind the
// controller's. The answer to a question is as of the question. stood: it has been there since nobody knows when.
func (t *telling) hear(pods *v1alpha1.PodNeeds, asked asking, stood bool, now time.Time) {
	switch {
	case pods == nil:
		*t = telling{}
		return
	case t.asOf.Equal(&pods.AsOf) && t.answers == pods.Answers:
		return
	}
	*t = telling{asOf: pods.AsOf, answers: pods.Answers}
	switch age := now.Sub(pods.AsOf.Time); {
	case asked.nonce != "" && pods.Answers == asked.nonce:
		t.at = asked.at
	case !stood && age >= -clockSkew:
		t.at = now.Add(-max(age, 0)) // By this process's clock, which no one sets.
	}
}

// asking is how the agent comes to know what pods need.
type asking struct {
	nonce string // asked by this process; empty: it has asked nothing
	at    time.Time
	// pause grows while the answer is that the image is needed: nothing on this node tells when that has changed.
	pause time.Duration
	// used are the entries whose images containers were seen to use; freed is when one of them was not used any more. The pod has gone
	// too, most likely: what was told of pods before is not acted upon.
	used  map[string]bool
	freed time.Time
}

// frees reports whether containers used one of the candidates at the last decision, and none does any more.
func (q *asking) frees(candidates []candidate, held map[string]plan.Kept) (one bool) {
	used := map[string]bool{}
	for _, c := range candidates {
		used[c.image] = held[c.image].Reason == plan.ReasonInUse
		one = one || q.used[c.image] && !used[c.image]
	}
	q.used = used
	return one
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

// needsOf are the needs of caches, and of pods as of a time by this node's clock.
func needsOf(spec v1alpha1.ImageStoreSpec, runtime string, asOf time.Time, records map[string]v1alpha1.StoreImageStatus) plan.Needs {
	needs := plan.Needs{Known: true}
	for name, e := range wantedNames(spec) {
		needs.Items = append(needs.Items, plan.Need{Ref: name.each, By: name.by, Cache: true, Pinned: records[e.Image].Pinned})
	}
	pods := spec.Needs
	if pods == nil || pods.Omitted > 0 {
		return needs
	}
	needs.AsOf = asOf
	for _, image := range pods.Images {
		if ref, err := oci.Parse(image.Image); err == nil && image.Cache != "" {
			needs.Items = append(needs.Items, plan.Need{Ref: ref, By: image.Cache, Cache: true})
			continue
		}
		needs.Items = append(needs.Items, plan.NeedsOf(image.Pod, []string{image.Image}, plan.PicksRegistry(runtime))...)
	}
	return needs
}

// lasting are the needs that hold however long ago pods were told of: those of the spec's images.
func (a *Agent) lasting() []plan.Need {
	spec := a.store.Spec
	spec.Needs = nil
	return needsOf(spec, a.rt.described.Name, a.telling.at, a.records).Items
}

// ask asks what pods need, not too often.
func (a *Agent) ask(now time.Time, next *earliest) {
	if due := a.asking.at.Add(a.asking.pause); a.asking.nonce != "" && now.Before(due) {
		next.or(due)
		return
	}
	a.asking.nonce, a.asking.at, a.asking.pause = rand.Text(), now, min(max(2*a.asking.pause, askPause), maxAskPause)
	next.or(now.Add(a.asking.pause))
}

// noteNeeds keeps what removals under way look at.
func (a *Agent) noteNeeds() {
	needs := needsOf(a.store.Spec, a.rt.described.Name, a.telling.at, a.records)
	a.needs.Store(&needs)
}

func (a *Agent) currentNeeds() plan.Needs {
	if needs := a.needs.Load(); needs != nil {
		return *needs
	}
	return plan.Needs{Known: true}
}
