// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/action"
	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/plan"
)

// shown is what the answer of a dry run had named, or of a run that carried one out: nothing else goes.
type shown struct {
	images  []v1alpha1.JobImage // as they stand there
	omitted int32
	may     map[string]mayGo // by the image's id
	// missing: there was no plan, since the dry run failed, was ended, or was not done.
	missing bool
}

var errNoPlan = errors.New("the dry run did not end with a plan here, or its answer is lost: nothing goes that was not shown")

type mayGo struct {
	names  []string
	partly bool
}

// shownBy reads the answer. Of a plan that was begun, what was kept for a reason bears its names if it was to go.
func shownBy(before v1alpha1.StoreJobStatus) *shown {
	s := &shown{images: before.Images, omitted: before.OmittedImages, may: map[string]mayGo{}}
	s.missing = before.DryRun && before.State != v1alpha1.JobSucceeded || before.Planned && before.Reason == v1alpha1.ReasonNoPlan
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
			switch {
			case slices.Contains(may.names, name):
			case len(may.names) >= action.MaxNames:
				return plan.ReasonNotSelected, "has more names than the plan could show"
			default:
				return plan.ReasonNotSelected, "has got the name " + name + " since the plan was shown"
			}
		}
		if may.partly && len(r.Tags) == 0 {
			return plan.ReasonNotSelected, "has lost its other names since the plan was shown, which was to leave them"
		}
		return "", ""
	})
}

// untouched is what is known of images of which nothing was done: what was to go may go in a later run.
func (s *shown) untouched() []v1alpha1.JobImage {
	if s == nil {
		return nil
	}
	images := slices.Clone(s.images)
	for i := range images {
		if may, ok := s.may[images[i].ID]; ok {
			images[i] = v1alpha1.JobImage{
				Image: images[i].Image, ID: images[i].ID, State: v1alpha1.JobImageKept, Names: may.names, Partly: may.partly,
				Reason: v1alpha1.ReasonCancelled, Message: notBegun,
			}
		}
	}
	return images
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
	// unusedFor and pulledBefore are what is asked for; ordered: it matters which came first, so that what is not known must stay so.
	unusedFor    time.Duration
	pulledBefore time.Time
	ordered      bool
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
		if req, err := action.PruneRequest(p, now); err == nil {
			rt.ordered, rt.unusedFor, rt.pulledBefore = req.KeepLatest > 0, req.UnusedFor, req.PulledBefore
		}
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
				images[i].PinnedByOthers = images[i].Pinned && m.pinnedByOthers
			}
		}
	}
	for i := range images {
		r.date(&images[i])
	}
	return nil
}

// date says when an image came and was used. What was there when the watch began, and has not been used since, came and was used no
// later than that, which is told where it answers what is asked.
func (r *informed) date(img *engine.Image) {
	seen, here := r.firstSeen[img.ID]
	img.FirstSeen = later(img.FirstSeen, seen)
	since := later(img.FirstSeen, r.watched)
	long := r.now.Sub(r.watched) >= plan.RecentAge && (r.pulledBefore.IsZero() || r.watched.Before(r.pulledBefore))
	if here && img.FirstSeen.IsZero() && !r.ordered && long {
		img.FirstSeen = r.watched
		if old := r.now.Add(-r.unusedFor); old.Before(r.watched) {
			img.FirstSeen = old // That it may have come within the span is not known: it must not be taken for a reason.
		}
	}
	img.LastUsed = later(img.LastUsed, r.lastUsed[img.ID])
	if here && img.LastUsed.IsZero() && r.now.Sub(since) >= r.unusedFor {
		img.LastUsed = since
	}
}
