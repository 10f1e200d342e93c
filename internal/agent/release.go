// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"slices"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/plan"
)

// findRecorded gives the image that a record is about: under its name, or, where the name means another by now, under the
// digest alone.
func (d *decider) findRecorded(image string, rec v1alpha1.StoreImageStatus) (engine.Image, bool) {
	img, _, ok := d.recorded(image, rec)
	return img, ok
}

// recorded gives the name too under which the image is to be let go.
func (d *decider) recorded(image string, rec v1alpha1.StoreImageStatus) (img engine.Image, want oci.Ref, ok bool) {
	want, err := wantNamed(image, rec.Digest)
	if err != nil {
		return engine.Image{}, oci.Ref{}, false
	}
	if img, ok = d.view.find(want); ok || want.Tag() == "" || want.Digest() == "" {
		return img, want, ok
	}
	img, ok = d.view.find(want.WithoutTag())
	return img, want.WithoutTag(), ok
}

// released is what there is to say and to do about an image that no cache wants here any more. keep is false once there
// is no record of it left.
func (d *decider) released(e v1alpha1.StoreImage) (st v1alpha1.StoreImageStatus, keep bool) {
	rec, known := d.records[e.Image]
	img, want, present := d.recorded(e.Image, rec)
	if !known && present && d.view.isMarked(img) {
		rec = v1alpha1.StoreImageStatus{Image: e.Image, Digest: digestIn(img, want), Pulled: true}
	}
	if d.intended[e.Image] {
		rec.Pulled = rec.Pulled && present && d.view.isMarked(img) // It is somebody else's, or ours from before.
	}
	st = v1alpha1.StoreImageStatus{Image: e.Image, Digest: rec.Digest, State: v1alpha1.ImageReleasing, Pulled: rec.Pulled, Pinned: rec.Pinned}
	if d.pulls[e.Image] != nil {
		d.cancel = append(d.cancel, e.Image)
		return st, true
	}
	if d.going[e.Image] {
		return st, true // It may be put back.
	}
	d.forget = append(d.forget, pullOf(e.Image))
	if !rec.Pulled && !rec.Pinned {
		return st, false
	}
	if !present {
		missed := d.isMissed(e.Image)
		if missed {
			d.missed = append(d.missed, e.Image)
		}
		return st, missed || d.comes(e.Image)
	}
	w := d.needs.wanter(img)
	// A pin of which the runtime gave no answer may be there, unseen as yet: not lifted, it would be taken for somebody else's.
	if t, failed := d.tries[pinOf(e.Image)]; rec.Pinned && !w.pin && (img.Pinned || failed) {
		if failed && d.waits(t) {
			st.Reason, st.Message = t.reason, "unpinning it failed: "+t.message
			return st, true
		}
		d.pins = append(d.pins, pinOrder{image: e.Image, id: img.ID, ref: byDigest(img, want, rec.Digest)})
		return st, true
	}
	st.Pinned = st.Pinned && w.pin
	return d.unpinned(e, st, img, want, w)
}

// unpinned is about a released image that nothing of ours pins any more, or that another cache wants pinned.
func (d *decider) unpinned(e v1alpha1.StoreImage, st v1alpha1.StoreImageStatus, img engine.Image, want oci.Ref, w wanter) (_ v1alpha1.StoreImageStatus, keep bool) {
	kept := e.RemovalPolicy == v1alpha1.RemovalPolicyKeep
	switch {
	case w.by != "" && (w.passing || st.Pulled && !kept):
		st.Reason, st.Message = string(plan.ReasonCached), "kept by "+actorCache+w.by
		return st, true
	case st.Pulled && kept:
		if w.by == "" {
			d.unmark = append(d.unmark, byDigest(img, want, st.Digest))
		}
		return st, false
	case !st.Pulled, d.othersName(img, want):
		return st, false
	}
	if t, failed := d.tries[removalOf(e.Image)]; failed {
		st.Reason, st.Message = t.reason, t.message
		if d.waits(t) {
			return st, true
		}
	}
	d.release = append(d.release, candidate{image: e.Image, img: img, want: want})
	return st, true
}

// othersName reports whether an image that we hold by digest alone has names that somebody else gave it: it is theirs then,
// and the digest goes with it.
func (d *decider) othersName(img engine.Image, want oci.Ref) bool {
	if want.Tag() != "" {
		return false
	}
	ours := func(name oci.Ref) bool { return name == want || d.records[name.String()].Pulled }
	return !slices.ContainsFunc(plan.Names(img), ours) || slices.ContainsFunc(plan.Names(img), func(name oci.Ref) bool { return !ours(name) })
}

// retire lets go of everything: pins are lifted, images stay, records are dropped.
func (d *decider) retire() decision {
	d.retired = true
	for name := range d.pulls {
		d.cancel = append(d.cancel, name)
		d.retired = false
	}
	d.retired = d.retired && len(d.fetches) == 0
	names := make([]string, 0, len(d.records))
	for name := range d.records {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		rec := d.records[name]
		img, want, present := d.recorded(name, rec)
		t, failed := d.tries[pinOf(name)]
		if !present || !rec.Pinned || !img.Pinned && !failed || !d.canPin {
			continue
		}
		st := v1alpha1.StoreImageStatus{Image: name, Digest: rec.Digest, State: v1alpha1.ImageReleasing, Pulled: rec.Pulled, Pinned: true}
		if failed && d.waits(t) {
			st.Reason, st.Message = t.reason, t.message
		} else {
			d.pins = append(d.pins, pinOrder{image: name, id: img.ID, ref: byDigest(img, want, rec.Digest)})
		}
		d.images, d.retired = append(d.images, st), false
	}
	for ref := range d.view.marked {
		d.unmark = append(d.unmark, ref)
	}
	return d.decision
}

// heldHere splits the candidates into those that this node itself sees a reason to keep, with the reason, and a plan to
// remove the others.
func heldHere(candidates []candidate, state plan.State) (held map[string]plan.Kept, planned plan.Plan) {
	var targets []oci.Target
	for _, c := range candidates {
		if target, err := oci.ParseTarget(c.want.String()); err == nil {
			targets = append(targets, target)
		}
	}
	planned = plan.Remove(state, plan.RemoveRequest{Targets: targets})
	held = map[string]plan.Kept{}
	for _, kept := range planned.Keep {
		for _, c := range candidates {
			if c.img.ID == kept.Image.ID {
				held[c.image] = kept
			}
		}
	}
	return held, planned
}
