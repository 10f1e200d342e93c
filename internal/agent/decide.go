// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
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
	// restores: what was removed in this runtime may be put back.
	restores bool
	needs    *protection // of the spec
	// pulls are under way; tries failed; intended are recorded as pulled, and no pull of them has begun, or the last has brought nothing.
	pulls    map[string]*pull
	tries    map[tried]try
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
	// missed are released images that have gone, and that nothing here has removed.
	missed []string
	// forget are tries that count no more; hasten are those whose pause does not.
	forget, hasten []tried
	// wake is when something that waits is looked at again.
	wake earliest
	// free is how many pulls may begin, whoever wants them; room, how many of the caches'.
	free, room int
}

// order is a pull that may begin.
type order struct {
	entry v1alpha1.StoreImage
	want  oci.Ref
	pin   bool
	// recheck is the entry's, where the pull is one; see recheck.go.
	recheck string
}

// key is that of its tries.
func (o order) key() tried {
	if o.recheck != "" {
		return recheckOf(o.entry.Image)
	}
	return pullOf(o.entry.Image)
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

// decide is a function of what is seen.
func decide(s sight) decision {
	d := &decider{sight: s, ourPins: map[string]bool{}, pinned: map[string]bool{}}
	d.records = maps.Clone(s.records)
	d.budget = s.disk.Capacity / 100 * int64(s.limits.pin)
	if d.spec.Retire {
		return d.retire()
	}
	d.holdBack()
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
		d.images = append(d.images, d.drifted(e, d.wanted(e)))
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
	d.countPulls()
}

// countPulls takes out what pulls under way will take: room on the disk, of what may be pinned, and places.
func (d *decider) countPulls() {
	slow, young := 0, 0
	for _, p := range d.pulls {
		if p.pin {
			d.budget -= need(p.size)
		}
		switch {
		case p.arrived:
		case d.now.Sub(p.began) >= slowAfter && slow < d.limits.pulls:
			slow++
			d.held += need(p.size)
		default:
			d.room--
			d.held += need(p.size)
			if due := p.began.Add(slowAfter); due.After(d.now) {
				d.wake.or(due)
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
	carryOver(d.records, rec, ref)
	delete(d.records, e.Image)
}

// waits reports whether a try is not due yet, and sees that it will be looked at then.
func (d *decider) waits(t try) bool {
	if !d.now.Before(t.next) {
		return false
	}
	d.wake.or(t.next)
	return true
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
