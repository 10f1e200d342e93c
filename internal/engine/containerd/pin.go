// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package containerd

import (
	"context"
	"fmt"
	"slices"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
)

// Pin sets or lifts our pin. It sits on the record of repository@digest, since a second pull through CRI writes the
// tag's record anew, without it; one such label on any record pins the image.
func (r *Runtime) Pin(ctx context.Context, ref oci.Ref, pinned bool) error {
	return r.setPin(ctx, ref, pinned, labelOurPin)
}

// PinByHand is Pin for a person on the machine, whose pin does not go with that of a cache. To lift it lifts that of a cache too: where
// no agent is any more, nobody else does, and one that still wants it sets it again.
func (r *Runtime) PinByHand(ctx context.Context, ref oci.Ref, pinned bool) error {
	return r.setPin(ctx, ref, pinned, labelHandPin, labelOurPin)
}

// setPin sets the first of these pins of ours, or lifts them all.
func (r *Runtime) setPin(ctx context.Context, ref oci.Ref, pinned bool, own ...string) error {
	image, err := r.named(ctx, ref)
	if err != nil {
		return err
	}
	records, err := r.recordsOf(ctx, image)
	if err != nil {
		return err
	}
	if pinned {
		return r.pin(ctx, image, ref, records, own[0])
	}
	return r.unpin(ctx, image, records, own)
}

// named finds the image that a reference means here.
func (r *Runtime) named(ctx context.Context, ref oci.Ref) (engine.Image, error) {
	if image, ok, err := r.namedQuickly(ctx, ref); err != nil || ok {
		return image, err
	}
	images, err := r.cri.List(ctx)
	if err != nil {
		return engine.Image{}, err
	}
	for _, image := range images {
		if bears(image, ref) {
			return image, nil
		}
	}
	return engine.Image{}, engine.Becausef(engine.NotFound, "%s is not on this machine", ref)
}

// namedQuickly goes from the name's own record to that of the id, which has the same target. Where there is none, as for an
// image that was imported, all images must be looked at.
func (r *Runtime) namedQuickly(ctx context.Context, ref oci.Ref) (engine.Image, bool, error) {
	record, err := r.get(ctx, ref.WithoutTag().String())
	if err != nil || record == nil {
		return engine.Image{}, false, err
	}
	same, err := r.records(ctx, fmt.Sprintf("target.digest==%q", record.Target.Digest))
	if err != nil {
		return engine.Image{}, false, err
	}
	for _, other := range same {
		if !isID(other.Name) {
			continue
		}
		images, err := r.cri.List(ctx, other.Name)
		if err != nil {
			return engine.Image{}, false, err
		}
		if len(images) == 1 && bears(images[0], ref) {
			return images[0], true, nil
		}
	}
	return engine.Image{}, false, nil
}

// bears reports whether an image has the tag and the digest of a reference.
func bears(image engine.Image, ref oci.Ref) bool {
	byTag := ref.Tag() == "" || slices.Contains(image.Tags, ref.WithoutDigest())
	byDigest := ref.Digest() == "" || slices.Contains(image.Digests, ref.WithoutTag())
	return byTag && byDigest
}

func (r *Runtime) pin(ctx context.Context, image engine.Image, ref oci.Ref, records []*record, own string) error {
	if slices.ContainsFunc(records, func(i *record) bool { return i.Labels[own] != "" && isPinned(i) }) {
		return r.settlePinned(ctx, image.ID, true)
	}
	home := pinHome(records, image.ID, ref)
	if home == nil {
		return engine.Becausef(engine.NotFound, "%s is not on this machine", ref)
	}
	if isPinned(home) && home.Labels[beside(own)] == "" {
		return nil // By somebody else: not ours to lift later.
	}
	if err := r.label(ctx, home, map[string]string{labelPinned: valuePinned, own: valueOurPin}); err != nil {
		return err
	}
	return r.settlePinned(ctx, image.ID, true)
}

// pinHome chooses the record that carries our pin: repository@digest; else the id's, for an image that was imported
// and not pulled; else the tag's own.
func pinHome(records []*record, id string, ref oci.Ref) *record {
	target := ref.Digest().String()
	byName := map[string]*record{}
	for _, record := range records {
		if name := parsed(record.Name); name.IsZero() {
			byName[record.Name] = record
		} else {
			byName[name.String()] = record
		}
	}
	tagged := byName[ref.WithoutDigest().String()]
	if target == "" && tagged != nil {
		target = tagged.Target.Digest
	}
	for _, candidate := range []*record{byName[ref.Repository()+"@"+target], byName[id], tagged} {
		if candidate != nil {
			return candidate
		}
	}
	return nil
}

func (r *Runtime) unpin(ctx context.Context, image engine.Image, records []*record, own []string) error {
	others := false
	for _, record := range records {
		gone, stays := lifted(record, own)
		others = others || stays
		if len(gone) == 0 {
			continue
		}
		if err := r.label(ctx, record, gone); err != nil {
			return err
		}
	}
	return r.settlePinned(ctx, image.ID, others)
}

// lifted is which labels of a record go with these pins of ours, and whether it stays pinned by another, ours or not.
func lifted(record *record, own []string) (gone map[string]string, stays bool) {
	gone = map[string]string{}
	for _, label := range []string{labelOurPin, labelHandPin} {
		switch {
		case record.Labels[label] == "":
		case slices.Contains(own, label):
			gone[label] = ""
		default:
			stays = true
		}
	}
	stays = isPinned(record) && (stays || len(gone) == 0)
	if len(gone) > 0 && !stays {
		gone[labelPinned] = ""
	}
	return gone, stays
}

// beside is the label of the other of our two pins.
func beside(own string) string {
	if own == labelOurPin {
		return labelHandPin
	}
	return labelOurPin
}

// tellPin reads the records of a pinned image, of which a removal meets few: it is one that a cache pins, and force passes over.
func (r *Runtime) tellPin(ctx context.Context, image *engine.Image) error {
	if !image.Pinned {
		return nil
	}
	records, err := r.recordsOf(ctx, *image)
	image.PinnedByOthers = othersPin(records)
	return err
}

// othersPin reports whether somebody else pins an image that is pinned, a person by hand too: a record of it bears a pin that is
// not ours alone, or none bears ours.
func othersPin(records []*record) bool {
	ours := false
	for _, i := range records {
		if !isPinned(i) {
			continue
		}
		if i.Labels[labelOurPin] == "" || i.Labels[labelHandPin] != "" {
			return true
		}
		ours = true
	}
	return !ours
}

func isPinned(i *record) bool { return i.Labels[labelPinned] == valuePinned }

func (r *Runtime) settlePinned(ctx context.Context, id string, pinned bool) error {
	return r.settle(ctx, id, func(image *engine.Image) bool { return image == nil || image.Pinned == pinned })
}
