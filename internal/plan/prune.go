// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/util/duration"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
)

// Prune plans the removal of what nothing needs and the request selects. Every image of the machine is in the plan,
// to go or to stay, with the reason.
func Prune(s State, req PruneRequest) Plan {
	p := Plan{Remove: []Removal{}, Keep: []Kept{}, NeedsKnown: s.Needs.Known, Options: req.Options}
	selector := newSelector(s, req)
	var candidates []engine.Image
	for _, img := range s.Images {
		if kept, ok := selector.spares(img); ok {
			p.Keep = append(p.Keep, kept)
		} else {
			candidates = append(candidates, img)
		}
	}
	slices.SortStableFunc(candidates, oldestFirst)
	p.take(candidates, s, req)
	p.count(s.Images)
	return p
}

// selector says which images a prune leaves, before any bound on how many go.
type selector struct {
	req     PruneRequest
	protect protector
	latest  map[string]bool // ids among the latest of a repository
	unaged  map[string]bool // ids in a repository whose order is not known
	now     time.Time
}

func newSelector(s State, req PruneRequest) selector {
	sel := selector{req: req, protect: newProtector(s), now: s.Now}
	if req.KeepLatest > 0 {
		sel.latest, sel.unaged = latest(s.Images, req.KeepLatest)
	}
	return sel
}

func (s selector) spares(img engine.Image) (Kept, bool) {
	// That nobody asked for it comes first: a plan should not tell of what it has nothing to do with.
	reason, message := s.unselected(img)
	if kept, ok := s.protect.protects(img, s.req.Options, false); ok && reason != ReasonNotSelected {
		return kept, true
	}
	return Kept{Image: img, Reason: reason, Message: message}, reason != ""
}

// unselected is why the request does not mean the image; empty when it does.
func (s selector) unselected(img engine.Image) (Reason, string) {
	for _, target := range s.req.Keep {
		if Means(target, img) {
			return ReasonExcepted, "excepted by " + target.String()
		}
	}
	fits := func(target oci.Target) bool { return Means(target, img) }
	facts := Facts{Image: img, InUse: len(s.protect.using(img, false)) > 0, Now: s.now}
	switch {
	case s.req.DanglingOnly && len(img.Tags) > 0:
		return ReasonNotSelected, "has a name, and only images without one were asked for"
	case len(s.req.Match) > 0 && !slices.ContainsFunc(s.req.Match, fits):
		return ReasonNotSelected, "matches none of the given patterns"
	}
	for _, ask := range []struct {
		answer       Answer
		no, notKnown string
		asked        bool
	}{
		{s.req.Filter.Match(facts), "does not match the filter", "the filter asks for an age that is not known here", true},
		{unusedFor(facts, s.req.UnusedFor), "was used, or arrived, within " + duration.HumanDuration(s.req.UnusedFor),
			"its last use is not known: nothing has watched this node for " + duration.HumanDuration(s.req.UnusedFor), s.req.UnusedFor > 0},
		{pulledBefore(facts, s.req.PulledBefore), "arrived later than " + s.req.PulledBefore.UTC().Format(time.RFC3339),
			"the runtime does not say when it arrived", !s.req.PulledBefore.IsZero()},
	} {
		switch {
		case ask.asked && ask.answer == No:
			return ReasonNotSelected, ask.no
		case ask.asked && ask.answer == NotKnown:
			return ReasonUnknown, ask.notKnown
		}
	}
	switch {
	case s.latest[img.ID]:
		return ReasonLatest, fmt.Sprintf("among the latest %d of its repository", s.req.KeepLatest)
	case s.unaged[img.ID]:
		return ReasonUnknown, "the runtime does not say which of its repository arrived last"
	}
	return "", ""
}

// Means reports whether any name of the image, or its id, is meant.
func Means(target oci.Target, img engine.Image) bool {
	return len(namesMeant(target, img)) > 0 || target.MatchID(img.ID, img.Digests)
}

// latest finds the n images of each repository that came last, and those of repositories where that is not known of
// every image. An image in several repositories is kept for the sake of each.
func latest(images []engine.Image, n int) (latest, unaged map[string]bool) {
	latest, unaged = map[string]bool{}, map[string]bool{}
	byRepository := map[string][]engine.Image{}
	for _, img := range images {
		repositories := map[string]bool{}
		for _, name := range Names(img) {
			repositories[name.Repository()] = true
		}
		for repository := range repositories {
			byRepository[repository] = append(byRepository[repository], img)
		}
	}
	for _, versions := range byRepository {
		if len(versions) > n && slices.ContainsFunc(versions, func(img engine.Image) bool { return img.FirstSeen.IsZero() }) {
			for _, img := range versions {
				unaged[img.ID] = true
			}
			continue
		}
		slices.SortStableFunc(versions, func(a, b engine.Image) int {
			return cmp.Or(b.FirstSeen.Compare(a.FirstSeen), cmp.Compare(a.ID, b.ID))
		})
		for _, img := range versions[:min(n, len(versions))] {
			latest[img.ID] = true
		}
	}
	return latest, unaged
}

// oldestFirst orders by last use, else by arrival; what has neither comes last, and of equals the largest first.
func oldestFirst(a, b engine.Image) int {
	at := func(img engine.Image) time.Time {
		if img.LastUsed.IsZero() {
			return img.FirstSeen
		}
		return img.LastUsed
	}
	known := func(img engine.Image) int {
		if at(img).IsZero() {
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(known(a), known(b)), at(a).Compare(at(b)), cmp.Compare(Size(b), Size(a)), cmp.Compare(Title(a), Title(b)))
}

// take turns candidates into removals until a bound of the request is met.
func (p *Plan) take(candidates []engine.Image, s State, req PruneRequest) {
	holders := map[string]int{}
	for _, img := range s.Images {
		for _, layer := range img.Layers {
			holders[layer.ID]++
		}
	}
	disk := s.Disk
	for _, img := range candidates {
		reason, message := bound(len(p.Remove), disk, s.Disk, req)
		if reason != "" {
			p.Keep = append(p.Keep, Kept{Image: img, Reason: reason, Message: message})
			continue
		}
		p.Remove = append(p.Remove, Removal{Image: img})
		disk.Available += frees(img, holders)
	}
}

// bound is why no more goes: disk is as it will be by then, now as it is.
func bound(removed int, disk, now Disk, req PruneRequest) (Reason, string) {
	switch {
	case req.MaxRemovals > 0 && removed >= req.MaxRemovals:
		return ReasonLimit, fmt.Sprintf("%d images go already", removed)
	case req.WhenDiskAbove+req.UntilDiskBelow == 0:
		return "", ""
	case now.Capacity == 0:
		return ReasonUnknown, "how full the disk is cannot be seen here"
	case req.WhenDiskAbove > 0 && now.Percent() <= float64(req.WhenDiskAbove):
		return ReasonDiskLevel, fmt.Sprintf("the disk is %.0f %% full, not above %d %%", now.Percent(), req.WhenDiskAbove)
	case req.UntilDiskBelow > 0 && disk.Percent() < float64(req.UntilDiskBelow):
		return ReasonDiskLevel, fmt.Sprintf("the disk will be %.0f %% full by then, below %d %%", disk.Percent(), req.UntilDiskBelow)
	}
	return "", ""
}
