// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"iter"
	"slices"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
)

// protection is which names the entries that are not released stand for, and which of them want a pin.
type protection struct {
	by   map[oci.Ref]string // the cache
	pin  map[oci.Ref]bool
	want map[oci.Ref]oci.Ref // by tag, with the digest that it must stand for
}

// wanter is what caches want of one image.
type wanter struct {
	by      string // the first of the caches; empty: none wants it
	pin     bool
	passing bool // it is wanted only until the tag that it bears has moved on
}

// protected are the names that caches want here.
func protected(spec v1alpha1.ImageStoreSpec) *protection {
	p := &protection{by: map[oci.Ref]string{}, pin: map[oci.Ref]bool{}, want: map[oci.Ref]oci.Ref{}}
	for name, e := range wantedNames(spec) {
		p.by[name.each] = name.by
		p.pin[name.each] = p.pin[name.each] || e.Pin
		p.want[name.each] = name.want
	}
	return p
}

// wantedName is one name that an entry stands for: of want, its tag or its digest.
type wantedName struct {
	each, want oci.Ref
	by         string // the first of the caches that want it
}

// wantedNames are the names that the entries stand for which are not released.
func wantedNames(spec v1alpha1.ImageStoreSpec) iter.Seq2[wantedName, v1alpha1.StoreImage] {
	return func(yield func(wantedName, v1alpha1.StoreImage) bool) {
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
				if !yield(wantedName{name, want, by}, e) {
					return
				}
			}
		}
	}
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
