// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"maps"
	"slices"
	"time"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/plan"
)

// shown is what the answer of a dry run had named, or of a run that carried one out: nothing else goes.
type shown struct {
	images  []v1alpha1.JobImage // as they stand there
	omitted int32
	may     map[string]mayGo // by the image's id
}

type mayGo struct {
	names  []string
	partly bool
}

// shownBy reads the answer. Of a plan that was begun, what was kept for a reason bears its names if it was to go.
func shownBy(before v1alpha1.StoreJobStatus) *shown {
	s := &shown{images: before.Images, omitted: before.OmittedImages, may: map[string]mayGo{}}
	for i := range before.Images {
		image := &before.Images[i]
		begun := before.Planned && (image.State == v1alpha1.JobImageFailed || image.Reason == v1alpha1.ReasonCancelled || len(image.Names) > 0)
		if image.ID == "" || image.State != v1alpha1.JobImageRemoved && !begun {
			continue
		}
		names := image.Names
		if len(names) == 0 {
			names = []string{image.Image}
		}
		s.may[image.ID] = mayGo{names, image.Partly}
	}
	return s
}

// limit keeps what was not shown. A nil one limits nothing.
func (s *shown) limit(p plan.Plan) plan.Plan {
	if s == nil {
		return p
	}
	return leave(p, func(r *plan.Removal) (plan.Reason, string) {
		may, known := s.may[r.Image.ID]
		if !known {
			return plan.ReasonNotSelected, "it was not in the plan that was shown"
		}
		for _, name := range r.Names() {
			if !slices.Contains(may.names, name) {
				return plan.ReasonNotSelected, "has got the name " + name + " since the plan was shown"
			}
		}
		if may.partly && len(r.Tags) == 0 {
			return plan.ReasonNotSelected, "has lost its other names since the plan was shown, which was to leave them"
		}
		return "", ""
	})
}

// name puts their names beside those that were to go and did not: so they are known if it is tried again.
func (s *shown) name(images []v1alpha1.JobImage) {
	if s == nil {
		return
	}
	for i := range images {
		if may, ok := s.may[images[i].ID]; ok && images[i].State != v1alpha1.JobImageRemoved {
			images[i].Names, images[i].Partly = may.names, may.partly
		}
	}
}

// informed is a runtime with what the agent's own watch knows: when images came and were used, and what they take, which costs much to find
// out.
type informed struct {
	engine.Interface
	measures            map[string]measure
	firstSeen, lastUsed map[string]time.Time
	watched, now        time.Time
	// unusedFor is the span that is asked for; ordered: it matters which came first, so that what is not known must stay so.
	unusedFor time.Duration
	ordered   bool
}

func (a *Agent) informed(t *task, now time.Time) engine.Interface {
	s := &a.stock
	rt := &informed{
		Interface: a.rt.current, firstSeen: maps.Clone(s.firstSeen), lastUsed: maps.Clone(s.lastUsed), watched: s.watched, now: now,
	}
	if s.measured == s.images {
		rt.measures = maps.Clone(s.measures)
	}
	if p := t.entry.Prune; p != nil {
		rt.ordered = p.KeepLatest > 0
		rt.unusedFor, _ = plan.ParseSpan(p.UnusedFor)
	}
	return rt
}

// Unwrap is part of being a decorator.
func (r *informed) Unwrap() engine.Interface { return r.Interface }

// Measure is part of engine.Measurer. Of two times the later one counts: an image is rather taken for new, and for used.
func (r *informed) Measure(ctx context.Context, images []engine.Image) error {
	if measurer, ok := engine.As[engine.Measurer](r.Interface); ok {
		known := r.measures != nil && !slices.ContainsFunc(images, func(img engine.Image) bool { _, ok := r.measures[img.ID]; return !ok })
		if !known {
			if err := measurer.Measure(ctx, images); err != nil {
				return err
			}
		} else {
			for i := range images {
				m := r.measures[images[i].ID]
				images[i].DiskBytes, images[i].Layers = m.bytes, m.layers
				images[i].FirstSeen = later(images[i].FirstSeen, m.firstSeen)
			}
		}
	}
	for i := range images {
		r.date(&images[i])
	}
	return nil
}

// date says when an image came and was used. What was there when the watch began, and has not been used since, came and was used no
// later than that.
func (r *informed) date(img *engine.Image) {
	seen, here := r.firstSeen[img.ID]
	img.FirstSeen = later(img.FirstSeen, seen)
	if here && img.FirstSeen.IsZero() && !r.ordered {
		img.FirstSeen = r.watched
	}
	img.LastUsed = later(img.LastUsed, r.lastUsed[img.ID])
	since := later(img.FirstSeen, r.watched)
	if here && img.LastUsed.IsZero() && r.now.Sub(since) >= r.unusedFor {
		img.LastUsed = since
	}
}
