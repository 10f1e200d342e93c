// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package enginetest

import (
	"slices"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
)

var using = map[string]promise{
	"a running container uses its image":          func(s *scene) { s.usedBy(Running) },
	"an exited container uses its image":          func(s *scene) { s.usedBy(Exited) },
	"a created container uses its image":          func(s *scene) { s.usedBy(Created) },
	"force passes over exited containers alone":   forcesExited,
	"an image of several platforms is one image":  severalPlatforms,
	"a mounted image is used as a volume":         usedAsVolume,
	"a tag goes while another holds a used image": untagsUsed,
}

// useOf is the use that a container of this promise makes of an image.
func (s *scene) useOf(image engine.Image) (engine.Use, bool) {
	s.Helper()
	uses, err := s.Runtime.Uses(s.ctx)
	if err != nil {
		s.Fatal(err)
	}
	i := slices.IndexFunc(uses, func(u engine.Use) bool {
		return u.ImageID == image.ID || u.ImageID == "" && slices.Contains(image.Tags, u.Ref)
	})
	if i < 0 {
		return engine.Use{}, false
	}
	return uses[i], true
}

func (s *scene) start(ref oci.Ref, state State) (remove func()) {
	s.Helper()
	if s.Start == nil {
		s.Skip("this fixture starts no containers")
	}
	return s.Start(s, ref, state)
}

func (s *scene) usedBy(state State) {
	ref := s.ref("a:1")
	s.pushed(s.content("x"), ref)
	image := s.pull(ref)
	if use, used := s.useOf(image); used {
		s.Fatalf("before there is a container: %+v", use)
	}
	remove := s.start(ref, state)
	use, used := s.useOf(image)
	if !used || use.Kind != engine.UseContainer || use.Exited != (state == Exited) || use.Container == "" {
		s.Errorf("use = %+v (%t), want that of a container, %s", use, used, state)
	}
	if s.Can.RefuseUse {
		s.wantReason(s.Runtime.Remove(s.ctx, engine.RemoveRequest{Image: image}), engine.InUse)
		s.wantNames(s.mustLook(image.ID), slices.Concat(image.Tags, image.Digests)...)
	}
	remove()
	if use, used := s.useOf(image); used {
		s.Errorf("after the container is gone: %+v", use)
	}
	s.remove(engine.RemoveRequest{Image: image})
	s.wantGone(image)
}

func forcesExited(s *scene) {
	if !s.Can.RefuseUse {
		s.Skip("this runtime removes what is in use")
	}
	for _, state := range []State{Running, Created, Exited} {
		ref := s.ref(string(state) + ":1")
		s.pushed(s.content(string(state)), ref)
		image := s.pull(ref)
		remove := s.start(ref, state)
		err := s.Runtime.Remove(s.ctx, engine.RemoveRequest{Image: image, Force: true})
		if state == Exited && s.Can.ForceExited {
			if err != nil {
				s.Errorf("forced, with an exited container: %v", err)
			}
			s.wantGone(image)
		} else {
			s.wantReason(err, engine.InUse)
			s.wantNames(s.mustLook(image.ID), slices.Concat(image.Tags, image.Digests)...)
		}
		remove()
	}
}

func untagsUsed(s *scene) {
	a1, a2 := s.ref("a:1"), s.ref("a:2")
	s.pushed(s.content("x"), a1, a2)
	image := s.pull(a1, a2)
	remove := s.start(a1, Running)
	defer remove()
	if !s.removeOneTag(image, a2) {
		return
	}
	s.wantNames(s.mustLook(image.ID), a1)
	if _, used := s.useOf(s.mustLook(image.ID)); !used {
		s.Error("the image has lost a name, and its container's use is not told any more")
	}
}

func severalPlatforms(s *scene) {
	ref := s.ref("multi:1")
	content := s.content("x")
	content.Index = true
	byIndex := ref.WithDigest(s.pushed(content, ref)).WithoutTag()
	image := s.pull(ref)
	s.wantNames(image, ref, byIndex)
	if again := s.pull(byIndex); again.ID != image.ID {
		s.Errorf("by its tag it is image %s, by the index's digest %s", image.ID, again.ID)
	}
	remove := s.start(ref, Created)
	if _, used := s.useOf(image); !used {
		s.Error("the use by its container is not told")
	}
	remove()
	s.remove(engine.RemoveRequest{Image: s.mustLook(image.ID)})
	s.wantGone(image)
}

func usedAsVolume(s *scene) {
	if s.Mount == nil {
		s.Skip("this fixture mounts no images")
	}
	by, volume := s.ref("by:1"), s.ref("volume:1")
	s.pushed(s.content("by"), by)
	s.pushed(s.content("volume"), volume)
	s.pull(by)
	image := s.pull(volume)
	remove := s.Mount(s, by, volume)
	if use, used := s.useOf(image); !used || use.Kind != engine.UseVolume || use.Exited {
		s.Errorf("use = %+v (%t), want that of a volume", use, used)
	}
	if s.Can.RefuseUse {
		for _, force := range []bool{false, true} {
			s.wantReason(s.Runtime.Remove(s.ctx, engine.RemoveRequest{Image: image, Force: force}), engine.InUse)
		}
		s.wantNames(s.mustLook(image.ID), volume)
	}
	remove()
	if use, used := s.useOf(image); used {
		s.Errorf("after the container is gone: %+v", use)
	}
	s.remove(engine.RemoveRequest{Image: image})
	s.wantGone(image)
}
