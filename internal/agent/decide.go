// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/plan"
)

// sight is all that a decision is made of.
type sight struct {
	now     time.Time
	spec    v1alpha1.ImageStoreSpec
	records map[string]v1alpha1.StoreImageStatus
	view    *view
	canPin  bool
	canMark bool
	needs   *protection // of the spec
	// pulls are under way; tries failed; intended are recorded as pulled, and no pull of them has begun.
	pulls    map[string]*pull
	tries    map[string]try
	intended map[string]bool
	going    map[string]bool    // entries whose removal is under way
	fetches  map[*fetching]bool // jobs' pulls under way
	// sealed tells of each image with credentials that cannot be opened now why.
	sealed func(v1alpha1.StoreImage) string
	disk   plan.Disk
	limits limits
	size   func(engine.Image) int64
}

// limits are percent of the disk, and numbers of pulls.
type limits struct{ disk, pin, pulls int }

// decision is what should happen now, and what there is to say of each image.
type decision struct {
	images []v1alpha1.StoreImageStatus
	pull   []order
	queued []order // those for which there is no room yet
	cancel []string
	pins   []pinOrder
	unmark []oci.Ref
	// release are images to remove, if nothing needs them.
	release []candidate
	// retired: there is nothing left of ours.
	retired bool
	// forget are tries that count no more; hasten are those whose pause does not.
	forget, hasten []string
	// wake is when something that waits is looked at again; zero: nothing waits.
	wake time.Time
	// free is how many pulls may begin, whoever wants them; room, how many of the caches'.
	free, room int
}

// order is a pull that may begin.
type order struct {
	entry v1alpha1.StoreImage
	want  oci.Ref
	pin   bool
}

// pinOrder is a pin to set or to lift.
type pinOrder struct {
	image  string // the entry's name
	id     string
	ref    oci.Ref
	pinned bool
}

// candidate is an image to remove.
type candidate struct {
	image string
	img   engine.Image
	want  oci.Ref
}

// decider makes one decision.
type decider struct {
	sight
	decision
	ourPins map[string]bool // ids of images that a record of ours pins
	budget  int64           // what may still be pinned, where the disk is known
	pinned  map[string]bool // ids that are counted already
	held    int64           // bytes that pulls under way will still take
}

// protection is which names the entries that are not released stand for, and which of them want a pin.
type protection struct {
	by   map[oci.Ref]string  // the cache
	pin  map[oci.Ref]bool    //
	want map[oci.Ref]oci.Ref // by tag, with the digest that it must stand for
}

// wanter is what caches want of one image.
type wanter struct {
	by      string // the first of the caches; empty: none wants it
	pin     bool
	passing bool // it is wanted only until the tag that it bears has moved on
}

// decide is a function of what is seen.
func decide(s sight) decision {
	d := &decider{sight: s, ourPins: map[string]bool{}, pinned: map[string]bool{}}
	d.records = maps.Clone(s.records)
	d.budget = s.disk.Capacity / 100 * int64(s.limits.pin)
	if d.spec.Retire {
		return d.retire()
	}
	d.prepare()
	seen := map[string]bool{}
	for _, e := range d.spec.Images {
		if seen[e.Image] {
			continue
		}
		seen[e.Image] = true
		if e.Released {
			if st, keep := d.released(e); keep {
				d.images = append(d.images, st)
			}
			continue
		}
		d.images = append(d.images, d.wanted(e))
	}
	d.orphans(seen)
	d.sortPulls()
	return d.decision
}

// prepare carries records over, counts what is under way, and what is pinned already: pins that are there come before new ones.
func (d *decider) prepare() {
	for _, e := range d.spec.Images {
		if !e.Released {
			d.carry(e)
		}
	}
	for name, rec := range d.records {
		if img, ok := d.findRecorded(name, rec); ok && rec.Pinned {
			d.ourPins[img.ID] = true
			if img.Pinned {
				d.count(img)
			}
		}
	}
	slow, young := 0, 0
	for _, p := range d.pulls {
		switch {
		case p.arrived:
		case d.now.Sub(p.began) >= slowAfter && slow < d.limits.pulls:
			slow++
			d.held += need(p.size)
		default:
			d.room--
			d.held += need(p.size)
			if due := p.began.Add(slowAfter); due.After(d.now) {
				d.later(due)
				young++
			}
		}
	}
	for f := range d.fetches {
		if d.now.Sub(f.began) < slowAfter {
			d.room--
			young++
		}
	}
	d.room += d.limits.pulls
	d.free = d.limits.pulls - young
}

// slowAfter is when a pull no longer takes the place of another: one registry that hangs must not hold up the rest.
const slowAfter = time.Minute

// need is what a pull takes on disk: the compressed layers stay beside what they are unpacked to, which is about twice as
// much.
func need(compressed int64) int64 { return 3 * compressed }

// count takes a pinned image out of what may be pinned, and reports whether it fitted.
func (d *decider) count(img engine.Image) bool {
	if d.pinned[img.ID] || d.disk.Capacity == 0 {
		return true
	}
	size := d.size(img)
	if size > d.budget {
		return false
	}
	d.pinned[img.ID] = true
	d.budget -= size
	return true
}

// carry moves the record of a tag that has moved to the name by digest, under which it will be released.
func (d *decider) carry(e v1alpha1.StoreImage) {
	rec, ok := d.records[e.Image]
	if !ok || e.Digest == "" || rec.Digest == "" || rec.Digest == e.Digest || !rec.Pulled && !rec.Pinned {
		return
	}
	ref, err := wantNamed(e.Image, "")
	if err != nil || ref.Tag() == "" {
		return
	}
	old := ref.Repository() + "@" + rec.Digest
	to, there := d.records[old]
	if !there {
		to = v1alpha1.StoreImageStatus{Image: old, Digest: rec.Digest, State: v1alpha1.ImageReleasing}
	}
	to.Pulled, to.Pinned = to.Pulled || rec.Pulled, to.Pinned || rec.Pinned
	d.records[old] = to
	delete(d.records, e.Image)
}

// protected are the names that caches want here.
func protected(spec v1alpha1.ImageStoreSpec) *protection {
	p := &protection{by: map[oci.Ref]string{}, pin: map[oci.Ref]bool{}, want: map[oci.Ref]oci.Ref{}}
	for _, e := range spec.Images {
		want, err := wantOf(e)
		if err != nil || e.Released {
			continue
		}
		by := "another"
		if len(e.Caches) > 0 {
			by = e.Caches[0]
		}
		for _, name := range namesOf(want) {
			p.by[name] = by
			p.pin[name] = p.pin[name] || e.Pin
			p.want[name] = want
		}
	}
	return p
}

// namesOf are a reference's tag and its digest, each by itself.
func namesOf(want oci.Ref) []oci.Ref {
	var names []oci.Ref
	if want.Tag() != "" {
		names = append(names, want.WithoutDigest())
	}
	if want.Digest() != "" {
		names = append(names, want.WithoutTag())
	}
	return names
}

// wanter is what caches want of the image, under any of its names.
func (p *protection) wanter(img engine.Image) wanter {
	w := wanter{passing: true}
	for _, name := range slices.Concat(img.Tags, img.Digests) {
		cache, ok := p.by[name]
		if !ok {
			continue
		}
		digest := p.want[name].WithoutTag()
		w.by = cache
		w.pin = w.pin || p.pin[name]
		w.passing = w.passing && digest.Digest() != "" && !slices.Contains(img.Digests, digest)
	}
	return w
}

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
	p := d.pulls[e.Image]
	if p != nil && !p.serves(want) {
		d.cancel = append(d.cancel, e.Image)
		return st
	}
	img, present := d.view.find(want)
	if p != nil {
		return d.pulling(e, st)
	}
	if present {
		if !known {
			st.Pulled = d.view.isMarked(img)
		}
		return d.present(e, st, want, img)
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
	if _, tried := d.tries[e.Image]; tried {
		d.forget = append(d.forget, e.Image)
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
		if t, failed := d.tries[pinKey(e.Image)]; failed {
			st.Reason, st.Message = t.reason, "present, but pinning it did not work: "+t.message
			if d.waits(t) {
				return st
			}
		}
		d.pins = append(d.pins, pinOrder{image: e.Image, id: img.ID, ref: byDigest, pinned: true})
	case st.Pinned:
		if d.needs.wanter(img).pin || !img.Pinned {
			st.Pinned = false
			return st
		}
		if t, failed := d.tries[pinKey(e.Image)]; !failed || !d.waits(t) {
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

// waits reports whether a try is not due yet, and sees that it will be looked at then.
func (d *decider) waits(t try) bool {
	if !d.now.Before(t.next) {
		return false
	}
	d.later(t.next)
	return true
}

func (d *decider) later(at time.Time) {
	if d.wake.IsZero() || at.Before(d.wake) {
		d.wake = at
	}
}

func pinKey(image string) string    { return "pin " + image }
func removeKey(image string) string { return "remove " + image }

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

// orphans are records of which the spec says nothing, such as of a tag that has moved before the controller saw it: they
// stay until it does.
func (d *decider) orphans(seen map[string]bool) {
	var names []string
	for name, rec := range d.records {
		if !seen[name] && (rec.Pulled || rec.Pinned) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		rec := d.records[name]
		d.images = append(d.images, v1alpha1.StoreImageStatus{
			Image: name, Digest: rec.Digest, State: v1alpha1.ImageReleasing, Pulled: rec.Pulled, Pinned: rec.Pinned,
		})
	}
}
