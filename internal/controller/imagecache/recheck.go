// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagecache

import (
	"time"

	"github.com/opencontainers/go-digest"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/catalog"
	"orlop.dev/orlop/internal/demand"
)

// Where the registry refuses the controller, a tag is followed by way of a node: one is asked to pull by name, once for each
// token, and its answer counts for all. The nodes' reconciler chooses which, and gives the turn to another if it fails.

// tokenForm makes tokens of times, so that they are in order and a new process knows when a node was asked last.
const tokenForm = "2006-01-02T15:04:05.000Z"

const (
	// answersWithin is how long a refresh on demand waits for a node's answer before it counts as acted upon, triesWithin how
	// long if a node has failed to look.
	answersWithin, triesWithin = 30 * time.Second, 10 * time.Second
	// passing is how long a registry must refuse before nodes are asked, but on demand: it is asked again within that.
	passing = 20 * time.Second
)

func tokenAt(at time.Time) string { return at.UTC().Format(tokenForm) }

// askedNode is when a node was asked last; zero: never.
func askedNode(r catalog.Recheck) time.Time {
	at, err := time.Parse(tokenForm, r.Token)
	if err != nil {
		return time.Time{}
	}
	return at
}

// recheckDue is when a node is to be asked for an image whose registry refuses: not after now means at once, zero never.
func recheckDue(img demand.Image, e catalog.Entry, o occasion) time.Time {
	last := askedNode(e.Recheck)
	switch {
	case img.Ref.Digest() != "" || e.Digest == "" || e.Refusal == nil:
		return time.Time{}
	case !o.forced.IsZero() && last.Before(o.forced.Truncate(time.Millisecond)):
		if e.Asked.Before(o.forced) {
			return time.Time{} // The registry may yet answer itself.
		}
		return o.now
	case e.ToRecheck() != "":
		return time.Time{}
	case o.missing:
		return later(last.Add(missingAgain), o.now)
	case img.Always && o.refresh > 0:
		return later(later(later(last, e.Known).Add(o.refresh), e.Refusal.Since.Add(passing)), o.now)
	}
	return time.Time{}
}

// recheck asks nodes for what is due, and gives how many of the images are still to be answered since a refresh was asked for.
func (p *pass) recheck(known []fact) (unanswered int) {
	if p.demand.Suspended {
		return 0
	}
	o := occasion{now: p.now, refresh: jittered(p.demand.Refresh, p.cache.UID), forced: p.forced}
	for i, f := range known {
		var t tally
		if i < len(p.sum.images) {
			t = p.sum.images[i]
		}
		o.missing = t.gone
		switch at := recheckDue(f.Image, f.entry, o); {
		case at.IsZero():
		case at.After(p.now):
			p.at(at)
		default:
			token := tokenAt(p.now)
			p.cfg.Catalog.Update(f.Ref, func(e catalog.Entry) catalog.Entry {
				e.Recheck.Token, e.Recheck.Answered = token, false
				return e
			})
			t.unfollowed = ""
			f.entry, _ = p.cfg.Catalog.Get(f.Ref)
		}
		end := p.forced.Add(answersWithin)
		if t.unfollowed != "" {
			end = p.forced.Add(triesWithin)
		}
		if f.entry.ToRecheck() != "" && p.sum.usable > 0 && end.After(p.now) {
			p.at(end)
			unanswered++
		}
	}
	return unanswered
}

// follow takes what nodes found that were asked.
func (p *pass) follow(known []fact) (changed bool) {
	for i, f := range known {
		t := &p.sum.images[i]
		if t.rechecked == "" && t.unfollowed == "" {
			continue
		}
		p.cfg.Catalog.Update(f.Ref, func(e catalog.Entry) catalog.Entry {
			after := followed(e, f, t)
			changed = changed || after.Digest != e.Digest || after.Recheck != e.Recheck
			return after
		})
	}
	return changed
}

func followed(e catalog.Entry, f fact, t *tally) catalog.Entry {
	switch {
	case e.Recheck.Token != f.entry.Recheck.Token:
	case t.rechecked != "" && e.ToRecheck() != "":
		if e.Digest != t.rechecked {
			e.Digest, e.Sizes = t.rechecked, nil
		}
		e.Recheck.Answered, e.Recheck.Followed = true, true
	case t.rechecked == "":
		e.Recheck.Followed = false
	}
	return e
}

// recheckedOn takes in what one node says of the question that is open.
func (t *tally) recheckedOn(f fact, v view, status *v1alpha1.StoreImageStatus) {
	token := f.entry.ToRecheck()
	switch {
	case token == "":
	case status.Rechecked == token && status.State == v1alpha1.ImagePresent && status.Digest != "":
		t.rechecked = digest.Digest(status.Digest)
	case status.RecheckReason != "" && tokenOf(v.store, status.Image) == token:
		t.unfollowed = status.RecheckReason
	}
}

// tokenOf is the token that stands in the spec of a store.
func tokenOf(store *v1alpha1.ImageStore, image string) string {
	for i := range store.Spec.Images {
		if e := &store.Spec.Images[i]; e.Image == image && !e.Released {
			return e.Recheck
		}
	}
	return ""
}
