// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagecache

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/condition"
	"orlop.dev/orlop/internal/demand"
	"orlop.dev/orlop/internal/engine"
)

// word is what a condition says.
type word struct {
	holds           bool
	reason, message string
}

// verdict is what the conditions say.
type verdict struct{ ready, reconciling, stalled, degraded word }

func (v verdict) conditions(generation int64) (all []metav1.Condition) {
	for kind, w := range map[string]word{
		v1alpha1.ConditionReady: v.ready, v1alpha1.ConditionReconciling: v.reconciling, v1alpha1.ConditionStalled: v.stalled, v1alpha1.ConditionDegraded: v.degraded,
	} {
		all = append(all, condition.New(kind, w.holds, generation, cmp.Or(w.reason, v1alpha1.ReasonAsExpected), w.message))
	}
	return all
}

// judge makes conditions of what is known. The cases of each are in the order in which they count.
func (p *picture) judge(issues []issue) (v verdict) {
	v.degraded = p.degraded()
	v.ready = p.rest()
	switch {
	case p.demand.Purged:
		v.ready = word{false, v1alpha1.ReasonPurged, "What this cache brought was let go; an edit or a refresh brings it back"}
		return v
	case p.demand.Suspended:
		v.ready.reason, v.ready.message = v1alpha1.ReasonSuspended, "No pulls start: spec.suspend is set. "+v.ready.message
		v.stalled = p.malformed()
		return v
	}
	v.stalled = p.stalled(issues)
	retrying := only(issues, func(is issue) bool { return !is.sure || !incurable(is.reason) })
	switch {
	case len(retrying) > 0:
		v.reconciling = word{true, v1alpha1.ReasonRetrying, say(retrying)}
	case p.working():
		v.reconciling = word{true, v1alpha1.ReasonRollingOut, p.progress()}
	case !v.stalled.holds && p.sum.ready < p.sum.desired:
		v.reconciling = word{true, v1alpha1.ReasonWaiting, p.progress()}
	}
	switch sure := only(retrying, func(is issue) bool { return is.sure }); {
	case v.stalled.holds:
		v.ready = word{false, v.stalled.reason, v.stalled.message}
	case v.ready.holds:
	case len(sure) > 0:
		v.ready = word{false, string(sure[0].reason), say(sure)}
	default:
		v.ready = word{false, v.reconciling.reason, v.reconciling.message}
	}
	return v
}

// rest is whether everything is where it should be.
func (p *picture) rest() word {
	switch {
	case len(p.facts) == 0 && p.invalid == nil:
		return word{true, v1alpha1.ReasonNoImages, "The cache asks for no images"}
	case p.sum.desired == 0 && p.invalid == nil:
		return word{true, v1alpha1.ReasonNoNodes, "No node fits nodeSelector and affinity, or those that do have taints that are not tolerated"}
	case p.sum.ready == p.sum.desired && p.invalid == nil:
		return word{true, v1alpha1.ReasonReady, fmt.Sprintf("%s on %s", count(len(p.facts), "image"), count(p.sum.desired, "node"))}
	}
	return word{false, v1alpha1.ReasonRollingOut, p.progress()}
}

func (p *picture) progress() string {
	what := "the image"
	if n := len(p.facts); n != 1 {
		what = fmt.Sprintf("all %d images", n)
	}
	text := fmt.Sprintf("%d of %s hold %s", p.sum.ready, count(p.sum.desired, "node"), what)
	if p.sum.unavailable > 0 {
		text += fmt.Sprintf("; %d unavailable", p.sum.unavailable)
	}
	return text
}

// working: a node that may pull has an image neither got nor failed. One that stalls holds other nodes back, and is none.
func (p *picture) working() bool {
	for i, t := range p.sum.images {
		if t.left > 0 && (p.facts[i].want() != "" || t.failed == 0) {
			return true
		}
	}
	return false
}

func (p *picture) malformed() word {
	if p.invalid == nil {
		return word{}
	}
	if errors.Is(p.invalid, demand.ErrAffinity) {
		return word{true, v1alpha1.ReasonInvalidAffinity, p.invalid.Error() + ": no node is let go meanwhile"}
	}
	return word{true, string(engine.InvalidReference), p.invalid.Error()}
}

func (p *picture) stalled(issues []issue) word {
	stuck := only(issues, func(is issue) bool { return is.sure && incurable(is.reason) })
	switch w := p.malformed(); {
	case w.holds && len(stuck) == 0:
		return w
	case w.holds:
		return word{true, w.reason, w.message + "; " + say(stuck)}
	case len(stuck) == 0:
		return word{}
	}
	if logins := only(stuck, refusedLogin); len(logins) > 0 && len(p.problems) > 0 {
		return word{true, v1alpha1.ReasonSecretNotFound, p.problems[0].Message + "; " + say(stuck)}
	}
	return word{true, string(stuck[0].reason), say(stuck)}
}

// degraded: it works, but not as asked.
func (p *picture) degraded() word {
	var all []word
	if len(p.problems) > 0 {
		var texts []string
		for _, problem := range p.problems {
			texts = append(texts, problem.Message)
		}
		all = append(all, word{true, v1alpha1.ReasonSecretNotFound, strings.Join(texts, "; ")})
	}
	if stale := p.refreshes(); len(stale) > 0 {
		all = append(all, word{true, string(stale[0].reason), "Not refreshed: " + say(stale)})
	}
	if p.sum.cannotPin > 0 {
		all = append(all, word{true, v1alpha1.ReasonNotPinnable, fmt.Sprintf("On %s the runtime does not let images be pinned: what the kubelet takes is pulled again", count(p.sum.cannotPin, "node"))})
	}
	if why := p.sum.unpinnedWhy; p.sum.unpinned > 0 {
		all = append(all, word{true, cmp.Or(string(why.reason), v1alpha1.ReasonNotPinnable), fmt.Sprintf("On %s images are not pinned: %s (%s)", count(p.sum.unpinned, "node"), condition.Cut(why.message, maxWords), why.node)})
	}
	if len(p.demand.Merged) > 0 {
		all = append(all, word{true, v1alpha1.ReasonDuplicates, "Named more than once: " + condition.Cut(strings.Join(p.demand.Merged, ", "), maxWords)})
	}
	if len(all) == 0 {
		return word{}
	}
	texts := make([]string, len(all))
	for i, w := range all {
		texts[i] = w.message
	}
	return word{true, all[0].reason, strings.Join(texts, ". ")}
}
