// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package enginetest

import (
	"context"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
)

var removing = map[string]promise{
	"remove of one of two tags leaves the other":        removesOneOfTwo,
	"remove of a tag leaves other repositories' tags":   removesOfOneRepository,
	"remove of a tag leaves a digest of another":        removesBesideDigest,
	"remove of the last tag removes the image":          removesLastTag,
	"remove of the last tag takes the digest's name":    removesLastTagAndDigest,
	"remove of a repository's tag takes its digest":     removesDigestOfRepository,
	"remove of an image removes all its names":          removesWhole,
	"remove of an image leaves those that share layers": removesBesideShared,
	"remove of an image known by digest removes it":     removesDigestOnly,
	"remove of what is gone succeeds":                   removesGone,
	"remove that is cancelled is an error":              cancelsRemove,
}

func (s *scene) wantGone(image engine.Image) {
	s.Helper()
	s.eventually("the image is gone", func() bool { _, there := s.look(image.ID); return !there })
	for _, tag := range image.Tags {
		if now, there := s.named(tag); there {
			s.Errorf("%s still names image %s", tag, now.ID)
		}
	}
}

// removeOneTag removes a tag of several, and reports whether the runtime can. One that cannot has done nothing.
func (s *scene) removeOneTag(image engine.Image, tag oci.Ref) bool {
	s.Helper()
	err := s.Runtime.Remove(s.ctx, engine.RemoveRequest{Image: image, Tags: []oci.Ref{tag}})
	if s.Can.OneTag {
		if err != nil {
			s.Fatal(err)
		}
		s.eventually("the tag is gone", func() bool { _, there := s.named(tag); return !there })
		return true
	}
	s.wantReason(err, engine.Unsupported)
	s.wantNames(s.mustLook(image.ID), append(image.Tags, image.Digests...)...)
	return false
}

func removesOneOfTwo(s *scene) {
	a1, a2 := s.ref("a:1"), s.ref("a:2")
	digest := s.pushed(s.content("x"), a1, a2)
	image := s.pull(a1, a2)
	if s.removeOneTag(image, a1) {
		s.wantNames(s.mustLook(image.ID), a2, a2.WithDigest(digest).WithoutTag())
	}
}

func removesOfOneRepository(s *scene) {
	a, b := s.ref("a:1"), s.ref("b:1")
	digest := s.pushed(s.content("x"), a, b)
	image := s.pull(a, b)
	if !s.removeOneTag(image, a) {
		return
	}
	after := s.mustLook(image.ID)
	s.wantNames(after, b, b.WithDigest(digest).WithoutTag())
	s.wantNotNamed(after, a.WithDigest(digest).WithoutTag())
}

func removesBesideDigest(s *scene) {
	a, b := s.ref("a:1"), s.ref("b:1")
	byDigest := b.WithDigest(s.pushed(s.content("x"), a, b)).WithoutTag()
	image := s.pull(a, byDigest)
	if !s.removeOneTag(image, a) {
		return
	}
	after := s.mustLook(image.ID)
	s.wantNames(after, byDigest)
	s.wantNotNamed(after, a, a.WithDigest(byDigest.Digest()).WithoutTag())
}

func removesLastTag(s *scene) {
	a1, a2 := s.ref("a:1"), s.ref("a:2")
	s.pushed(s.content("x"), a1, a2)
	image := s.pull(a1, a2)
	if s.removeOneTag(image, a1) {
		image = s.mustLook(image.ID)
	}
	s.remove(engine.RemoveRequest{Image: image, Tags: image.Tags})
	s.wantGone(image)
}

// removesLastTagAndDigest: of an image that was also pulled by its digest, which some runtimes then keep as a name of its own.
func removesLastTagAndDigest(s *scene) {
	a := s.ref("a:1")
	image := s.pull(a, a.WithDigest(s.pushed(s.content("x"), a)).WithoutTag())
	s.remove(engine.RemoveRequest{Image: image, Tags: image.Tags})
	s.wantGone(image)
}

func removesDigestOfRepository(s *scene) {
	a, b := s.ref("a:1"), s.ref("b:1")
	byDigest := a.WithDigest(s.pushed(s.content("x"), a, b)).WithoutTag()
	image := s.pull(a, b, byDigest)
	if !s.removeOneTag(image, a) {
		return
	}
	after := s.mustLook(image.ID)
	s.wantNames(after, b)
	s.wantNotNamed(after, byDigest)
}

func removesWhole(s *scene) {
	a1, a2, b := s.ref("a:1"), s.ref("a:2"), s.ref("b:1")
	s.pushed(s.content("x"), a1, a2, b)
	image := s.pull(a1, a2, b)
	s.remove(engine.RemoveRequest{Image: image})
	s.wantGone(image)
}

func removesBesideShared(s *scene) {
	s.pushed(s.content("x"), s.ref("a:1"))
	s.pushed(s.content("y"), s.ref("b:1"))
	a, b := s.pull(s.ref("a:1")), s.pull(s.ref("b:1"))
	s.remove(engine.RemoveRequest{Image: a})
	s.wantGone(a)
	s.wantNames(s.mustLook(b.ID), b.Tags...)
	s.wantNames(s.pull(s.ref("a:1")), s.ref("a:1"))
}

func removesDigestOnly(s *scene) {
	tag := s.ref("a:1")
	image := s.pull(tag.WithDigest(s.pushed(s.content("x"), tag)).WithoutTag())
	s.remove(engine.RemoveRequest{Image: image})
	s.wantGone(image)
}

func removesGone(s *scene) {
	a1, a2 := s.ref("a:1"), s.ref("a:2")
	s.pushed(s.content("x"), a1, a2)
	image := s.pull(a1, a2)
	if s.removeOneTag(image, a1) {
		s.remove(engine.RemoveRequest{Image: image, Tags: []oci.Ref{a1}})
		s.wantNames(s.mustLook(image.ID), a2)
	}
	s.remove(engine.RemoveRequest{Image: image})
	s.remove(engine.RemoveRequest{Image: image})
	s.remove(engine.RemoveRequest{Image: image, Tags: []oci.Ref{a1}})
	s.wantGone(image)
}

func cancelsRemove(s *scene) {
	s.pushed(s.content("x"), s.ref("a:1"))
	image := s.pull(s.ref("a:1"))
	ctx, cancel := context.WithCancel(s.ctx)
	cancel()
	if err := s.Runtime.Remove(ctx, engine.RemoveRequest{Image: image}); err == nil {
		s.Error("a removal that was cancelled before it began says OK")
	}
	s.wantNames(s.mustLook(image.ID), s.ref("a:1"))
}
