// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"fmt"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
)

// wanted is what there is to say and to do about an image that should be here.
func (d *decider) wanted(e v1alpha1.StoreImage) v1alpha1.StoreImageStatus {
	rec, known := d.records[e.Image]
	st := v1alpha1.StoreImageStatus{Image: e.Image, State: v1alpha1.ImageWaiting, Pulled: rec.Pulled, Pinned: rec.Pinned}
	want, err := wantOf(e)
	if err != nil {
		st.State, st.Reason, st.Message = v1alpha1.ImageFailed, string(engine.InvalidReference), err.Error()
		return st
	}
	if rec.Pulled {
		st.Digest = string(want.Digest())
	}
	if rec.Rechecked == e.Recheck {
		st.Rechecked = rec.Rechecked
	}
	img, present := d.view.find(want)
	p := d.pulls[e.Image]
	switch {
	case p != nil && p.recheck != "" && p.recheck != e.Recheck:
		d.cancel = append(d.cancel, e.Image)
	case p != nil && !p.serves(want):
		d.cancel = append(d.cancel, e.Image)
		return st
	}
	switch {
	case p != nil && (!present || p.recheck == ""):
		return d.pulling(e, st)
	case present:
		if !known {
			st.Pulled = d.view.isMarked(img)
		}
		st = d.present(e, st, want, img)
		d.recheck(e, &st)
		return st
	case d.recheck(e, &st):
		st.Pulled, st.Digest = true, ""
		st.Pinned = st.Pinned || e.Pin && d.canPin
		return st
	}
	return d.absent(e, st, want)
}

// pulling is about an image whose pull is under way. One that has failed before is Failed until it is here: what is
// tried again and again is not told each time.
func (d *decider) pulling(e v1alpha1.StoreImage, st v1alpha1.StoreImageStatus) v1alpha1.StoreImageStatus {
	st.State, st.Pulled, st.Pinned = v1alpha1.ImagePulling, true, st.Pinned || e.Pin && d.canPin
	st.Digest = e.Digest
	if t, ok := d.try(e); ok {
		t.describe(&st)
	}
	return st
}

// present is about an image that is here as it should be.
//
//nolint:gocognit // The cases of one thing, one after the other: apart they would be harder to compare.
func (d *decider) present(e v1alpha1.StoreImage, st v1alpha1.StoreImageStatus, want oci.Ref, img engine.Image) v1alpha1.StoreImageStatus {
	if _, tried := d.tries[pullOf(e.Image)]; tried {
		d.forget = append(d.forget, pullOf(e.Image))
	}
	if d.intended[e.Image] || d.canMark && d.records[e.Image].State == v1alpha1.ImageWaiting {
		// It came before its pull began: somebody else was quicker, unless it is ours from before. An agent that was ended may
		// have begun; then its mark tells.
		st.Pulled = st.Pulled && d.view.isMarked(img)
	}
	st.State, st.Digest = v1alpha1.ImagePresent, digestIn(img, want)
	if !d.canPin {
		st.Pinned = false
		return st
	}
	byDigest := byDigest(img, want, st.Digest)
	switch {
	case e.Pin && img.Pinned:
		st.Pinned = st.Pinned || d.ourPins[img.ID] || d.view.isMarked(img)
	case e.Pin && !d.count(img):
		st.Pinned = false
		st.Reason = string(engine.InsufficientDisk)
		st.Message = fmt.Sprintf("present, but not pinned: pinned images would take more than %d %% of the disk", d.limits.pin)
	case e.Pin:
		st.Pinned = true
		if t, failed := d.tries[pinOf(e.Image)]; failed {
			st.Reason, st.Message = t.reason, "present, but pinning it failed: "+t.message
			if d.waits(t) {
				return st
			}
		}
		d.pins = append(d.pins, pinOrder{image: e.Image, id: img.ID, ref: byDigest, pinned: true})
	case st.Pinned:
		t, failed := d.tries[pinOf(e.Image)]
		if d.needs.wanter(img).pin || !img.Pinned && !failed {
			st.Pinned = false
			return st
		}
		if !failed || !d.waits(t) {
			d.pins = append(d.pins, pinOrder{image: e.Image, id: img.ID, ref: byDigest})
		}
	}
	return st
}

// byDigest is the name by digest, under which pins and marks are kept; the name itself where there is none.
func byDigest(img engine.Image, want oci.Ref, digest string) oci.Ref {
	for _, name := range img.Digests {
		if name.Repository() == want.Repository() && string(name.Digest()) == digest {
			return name
		}
	}
	return want
}

// digestIn is the digest under which the image is known in the repository: the one that is wanted, else the first.
func digestIn(img engine.Image, want oci.Ref) string {
	if want.Digest() != "" {
		return string(want.Digest())
	}
	for _, digest := range img.Digests {
		if digest.Repository() == want.Repository() {
			return string(digest.Digest())
		}
	}
	return ""
}

// drifted adds which other image has the name, where it is not yet the one that is wanted.
func (d *decider) drifted(e v1alpha1.StoreImage, st v1alpha1.StoreImageStatus) v1alpha1.StoreImageStatus {
	if st.State == v1alpha1.ImagePresent || e.Digest == "" {
		return st
	}
	want, err := wantNamed(e.Image, "")
	if err != nil || want.Tag() == "" {
		return st
	}
	if img, ok := d.view.find(want); ok && digestIn(img, want) != e.Digest {
		st.FoundDigest = digestIn(img, want)
	}
	return st
}
