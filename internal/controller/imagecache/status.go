// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagecache

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/condition"
	"orlop.dev/orlop/internal/demand"
	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/pullsecret"
)

// picture is all that a status is made of.
type picture struct {
	cache    *v1alpha1.ImageCache
	demand   demand.Cache
	invalid  error // what of the spec cannot be used
	problems []pullsecret.Problem
	facts    []fact
	sum      sum
	// unanswered: what the registries say of tags that are known is not all there yet.
	unanswered bool
}

// issue is what keeps one image from its nodes.
type issue struct {
	told
	fact
	count int
	// sure: a node has failed too, or there is none that could try. A refusal of the controller alone decides nothing.
	sure bool
}

func (p *picture) issues() (all []issue) {
	for i, f := range p.facts {
		t := p.sum.images[i]
		switch r := f.refused(); {
		case t.failed > 0:
			if was := f.entry.Refusal; was != nil && was.Reason == t.why.reason {
				t.why.message = was.Message // The registry's own words say more than what a runtime makes of them.
			}
			t.why.message = condition.Cut(t.why.message, maxWords)
			all = append(all, issue{told: t.why, fact: f, count: t.failed, sure: true})
		case r != nil:
			all = append(all, issue{told: told{reason: r.Reason, message: condition.Cut(r.Message, maxWords)}, fact: f, sure: p.sum.usable == 0})
		}
	}
	return all
}

// compose computes the status from what is known, and takes from the old one only what is not to change without cause.
func compose(p picture, now time.Time) v1alpha1.ImageCacheStatus {
	old := p.cache.Status
	issues := p.issues()
	s := v1alpha1.ImageCacheStatus{
		ObservedGeneration: p.cache.Generation,
		Summary:            fmt.Sprintf("%d/%d", p.sum.ready, p.sum.desired),
		ImageCount:         int32(len(p.facts)),
		DesiredNodes:       int32(p.sum.desired), ReadyNodes: int32(p.sum.ready), FailedNodes: int32(p.sum.failed), UnavailableNodes: int32(p.sum.unavailable),
		Refresh: old.Refresh, Purge: old.Purge, PurgedGeneration: old.PurgedGeneration,
	}
	for i, f := range p.facts {
		s.Images = append(s.Images, v1alpha1.CachedImageStatus{
			Image: f.Written, Digest: f.want().String(), ReadyNodes: int32(p.sum.images[i].ready), FailedNodes: int32(p.sum.images[i].failed),
		})
	}
	for _, is := range issues {
		at := slices.IndexFunc(s.Images, func(img v1alpha1.CachedImageStatus) bool { return img.Image == is.Written })
		if is.sure {
			s.Images[at].Reason, s.Images[at].Message = string(is.reason), is.message
		}
		if is.node == "" {
			s.Failures = append(s.Failures, v1alpha1.CacheFailure{Image: is.Written, Reason: string(is.reason), Message: is.message})
		}
	}
	s.Failures, s.OmittedFailures = append(s.Failures, p.sum.failures...), int32(p.sum.omitted)
	steady(s.Failures, old.Failures)
	v := p.judge(issues)
	if was := meta.FindStatusCondition(old.Conditions, v1alpha1.ConditionDegraded); p.unanswered && was != nil && was.ObservedGeneration == p.cache.Generation {
		v.degraded = word{was.Status == metav1.ConditionTrue, was.Reason, was.Message}
	}
	s.Conditions = condition.Keep(old.Conditions, v.conditions(p.cache.Generation), now)
	return fit(s, p.cache)
}

// steady keeps the count of attempts until it has doubled, so that a failure that goes on is not written at each attempt.
func steady(now, old []v1alpha1.CacheFailure) {
	for i := range now {
		f := &now[i]
		at := slices.IndexFunc(old, func(o v1alpha1.CacheFailure) bool {
			return o.Node == f.Node && o.Image == f.Image && o.Reason == f.Reason
		})
		if at >= 0 && old[at].Message == f.Message && f.Attempts >= old[at].Attempts && f.Attempts < 2*old[at].Attempts {
			f.Attempts, f.LastAttemptTime = old[at].Attempts, old[at].LastAttemptTime
		}
	}
}

// urgent: what people and programs wait for has changed, and is written at once.
func urgent(old, now *v1alpha1.ImageCacheStatus) bool {
	if old.ObservedGeneration != now.ObservedGeneration || old.Refresh != now.Refresh || old.Purge != now.Purge || old.PurgedGeneration != now.PurgedGeneration {
		return true
	}
	for _, c := range now.Conditions {
		at := slices.IndexFunc(old.Conditions, func(o metav1.Condition) bool { return o.Type == c.Type })
		if at < 0 || old.Conditions[at].Status != c.Status || old.Conditions[at].Reason != c.Reason {
			return true
		}
	}
	return false
}

func same(old, now *v1alpha1.ImageCacheStatus) bool { return equality.Semantic.DeepEqual(old, now) }

// say lists issues, the first few.
func say(issues []issue) string {
	// Conditions say it in short; images and failures have all the words.
	const most, maxSaid = 3, 160
	var parts []string
	for i, is := range issues {
		if i == most {
			parts = append(parts, fmt.Sprintf("%d more; see status.failures", len(issues)-most))
			break
		}
		where := ""
		switch {
		case is.count > 1:
			where = fmt.Sprintf(" (%s and %d more)", is.node, is.count-1)
		case is.node != "":
			where = " (" + is.node + ")"
		}
		parts = append(parts, fmt.Sprintf("%s: %s%s", is.Written, condition.Cut(is.message, maxSaid), where))
	}
	return strings.Join(parts, "; ")
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// refreshes are the tags that are to be followed, and neither their registry tells nor a node.
func (p *picture) refreshes() (all []issue) {
	for _, f := range p.facts {
		if f.Always && f.want() != "" && f.entry.Refusal != nil && !f.entry.Recheck.Followed {
			all = append(all, issue{fact: f, told: told{reason: f.entry.Refusal.Reason, message: condition.Cut(f.entry.Refusal.Message, maxWords)}})
		}
	}
	return all
}

func only(issues []issue, want func(issue) bool) (some []issue) {
	for _, is := range issues {
		if want(is) {
			some = append(some, is)
		}
	}
	return some
}

func refusedLogin(is issue) bool {
	return is.reason == engine.Unauthorized || is.reason == engine.NotFound // Some registries hide what a stranger may not see.
}
