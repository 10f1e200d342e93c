// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"maps"
	"slices"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
)

// A recheck is a pull by name alone of an image that is here already: the controller cannot see what the tag stands for, and this
// node looks for all. What it brings stays, and is told; the correction to the spec's digest is held back until the spec
// follows.

// holdBack makes entries whose name was rechecked stand for what this node found.
func (d *decider) holdBack() {
	copied := false
	for i := range d.spec.Images {
		found := d.foundAnew(d.spec.Images[i])
		if found == "" {
			continue
		}
		if !copied {
			d.spec.Images, copied = slices.Clone(d.spec.Images), true
		}
		d.spec.Images[i].Digest = found
	}
}

// foundAnew is the digest that the recheck which the entry asks for has found, where it is not the entry's; else empty.
func (d *decider) foundAnew(e v1alpha1.StoreImage) string {
	if e.Recheck == "" || e.Digest == "" || e.Released {
		return ""
	}
	rec := d.records[e.Image]
	if rec.Rechecked != e.Recheck || rec.Digest == "" || rec.Digest == e.Digest {
		return ""
	}
	want, err := wantNamed(e.Image, rec.Digest)
	if err != nil {
		return ""
	}
	if _, here := d.view.find(want); !here {
		return ""
	}
	return rec.Digest
}

// recheck orders the pull by name that the entry asks for, if it is due, and reports whether it did. A failure is told beside
// what the image is, and takes nothing from it.
func (d *decider) recheck(e v1alpha1.StoreImage, st *v1alpha1.StoreImageStatus) bool {
	name, err := wantNamed(e.Image, "")
	switch {
	case e.Recheck == "" || e.Digest == "" || st.Rechecked == e.Recheck:
		return false
	case e.Hold != "" && e.Hold != v1alpha1.HoldTurn:
		return false
	case err != nil || name.Tag() == "" || name.Digest() != "":
		return false
	}
	t, tried := d.tries[recheckOf(e.Image)]
	if tried && t.about != recheckAbout(e, d.spec.Credentials) {
		d.forget = append(d.forget, recheckOf(e.Image))
		t, tried = try{}, false
	}
	if t.attempts > 0 {
		st.RecheckReason = t.reason
	}
	switch {
	case d.pulls[e.Image] != nil, d.sealed(e) != "", tried && d.waits(t), d.crowded(e):
		return false
	case d.full(e, v1alpha1.StoreImageStatus{}) != "":
		st.RecheckReason = string(engine.InsufficientDisk)
		d.wake.or(d.now.Add(diskRetry))
		return false
	}
	d.pull = append(d.pull, order{entry: e, want: name, pin: e.Pin && d.canPin && st.Pinned && d.reservePin(e), recheck: e.Recheck})
	d.held += need(e.Size)
	return true
}

func recheckAbout(e v1alpha1.StoreImage, credentials []v1alpha1.SealedCredentials) string {
	return e.Recheck + " " + aboutOf(e, credentials)
}

// rechecking reports whether a recheck is under way, or about to be.
func (a *Agent) rechecking(made *decision) bool {
	return slices.ContainsFunc(made.pull, func(o order) bool { return o.recheck != "" }) ||
		slices.ContainsFunc(slices.Collect(maps.Values(a.pulls)), func(p *pull) bool { return p.recheck != "" })
}

// brings reports whether what came was not here before, and so is ours: to look at a tag makes nothing ours that was found.
func (p *pull) brings(img engine.Image) bool {
	if p.recheck == "" {
		return true
	}
	_, known := p.known[byDigest(img, p.want, p.digest(img))]
	return !known
}

// digest is which of its digests the image came by. By name alone that is one that was not here before, else the one that the name
// stood for: runtimes list several for one image, such as an index and the manifest in it, in no order.
func (p *pull) digest(img engine.Image) string {
	if p.recheck == "" {
		return digestIn(img, p.want)
	}
	stands := false
	for _, name := range img.Digests {
		if name.Repository() != p.want.Repository() {
			continue
		}
		if _, known := p.known[name]; !known {
			return string(name.Digest())
		}
		stands = stands || string(name.Digest()) == p.entry.Digest
	}
	if stands {
		return p.entry.Digest
	}
	return digestIn(img, p.want)
}

// rechecked notes what the name stands for now, before the view shows it. What the name stood for goes on under its digest.
func (a *Agent) rechecked(p *pull, img engine.Image) {
	rec, ok := a.records[p.entry.Image]
	if !ok {
		return
	}
	found := p.digest(img)
	if rec.Digest != "" && rec.Digest != found {
		carryOver(a.records, rec, p.want)
		rec.Pulled = p.brings(img) || a.view.isMarked(img) || a.records[byDigestName(p.want, found)].Pulled
	}
	rec.Digest, rec.Rechecked, rec.RecheckReason = found, p.recheck, ""
	a.records[p.entry.Image] = rec
}

// carryOver moves what is recorded of a tag to the name by digest, under which it will be released.
func carryOver(records map[string]v1alpha1.StoreImageStatus, rec v1alpha1.StoreImageStatus, tag oci.Ref) {
	if rec.Digest == "" || !rec.Pulled && !rec.Pinned {
		return
	}
	old := byDigestName(tag, rec.Digest)
	to, there := records[old]
	if !there {
		to = v1alpha1.StoreImageStatus{Image: old, Digest: rec.Digest, State: v1alpha1.ImageReleasing}
	}
	to.Pulled, to.Pinned = to.Pulled || rec.Pulled, to.Pinned || rec.Pinned
	records[old] = to
}

func byDigestName(tag oci.Ref, digest string) string { return tag.Repository() + "@" + digest }
