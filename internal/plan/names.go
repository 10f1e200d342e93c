// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
)

// Names are what an image is known by: its tags, and the digest of each repository that has no tag on it. The digest
// of a tagged repository is no name of its own: it comes and goes with the tags.
func Names(img engine.Image) []oci.Ref {
	all := slices.Clone(img.Tags)
	for _, d := range img.Digests {
		if !slices.ContainsFunc(img.Tags, func(tag oci.Ref) bool { return tag.Repository() == d.Repository() }) {
			all = append(all, d)
		}
	}
	return all
}

// namesMeant are the names of the image that the target means.
func namesMeant(target oci.Target, img engine.Image) []oci.Ref {
	var meant []oci.Ref
	for _, name := range Names(img) {
		if target.MatchRef(name, img.Digests) {
			meant = append(meant, name)
		}
	}
	return meant
}

// has reports whether the image answers to ref, by tag or by digest.
func has(img engine.Image, ref oci.Ref) bool {
	if ref.Digest() != "" {
		return slices.Contains(img.Digests, ref.WithoutTag())
	}
	return slices.Contains(img.Tags, ref)
}

// Title is the one name to show an image by: its first tag, else its first digest, else its id.
func Title(img engine.Image) string {
	switch {
	case len(img.Tags) > 0:
		return img.Tags[0].String()
	case len(img.Digests) > 0:
		return img.Digests[0].String()
	default:
		return img.ID
	}
}
