// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package enginetest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/go-cmp/cmp"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
)

var pulling = map[string]promise{
	"pull returns the image as listed":                  pullReturnsListed,
	"pull of what is there succeeds":                    pullsAgain,
	"pull of one image twice at once succeeds":          pullsAtOnce,
	"pull of an unknown image is NotFound in seconds":   pullsUnknown,
	"pull without credentials is Unauthorized":          pullsPrivate,
	"pull by digest gives the digest's name":            pullsDigest,
	"pull by tag and digest names that digest":          pullsTagAndDigest,
	"pull by tag and digest sets a moved tag":           pullsMovedTagByDigest,
	"pull of a moved tag leaves the old image untagged": pullsMovedTag,
	"pull ends when it is cancelled":                    cancelsPull,
	"progress grows and ends at its total":              reportsProgress,
}

func pullReturnsListed(s *scene) {
	s.pushed(s.content("x"), s.ref("a:1"))
	pulled, err := s.Runtime.Pull(s.ctx, engine.PullRequest{Ref: s.ref("a:1")})
	if err != nil {
		s.Fatal(err)
	}
	if diff := cmp.Diff(s.mustLook(pulled.ID), pulled, cmp.Comparer(func(a, b oci.Ref) bool { return a == b })); diff != "" {
		s.Errorf("Pull returned another image than List (-list +pull):\n%s", diff)
	}
}

func pullsAgain(s *scene) {
	s.pushed(s.content("x"), s.ref("a:1"))
	first := s.pull(s.ref("a:1"))
	if second := s.pull(s.ref("a:1")); second.ID != first.ID {
		s.Errorf("the same image came as %s, then as %s", first.ID, second.ID)
	}
}

func pullsAtOnce(s *scene) {
	s.pushed(s.content("x"), s.ref("a:1"))
	var wg sync.WaitGroup
	var errs [2]error
	for i := range errs {
		wg.Go(func() { _, errs[i] = s.Runtime.Pull(s.ctx, engine.PullRequest{Ref: s.ref("a:1")}) })
	}
	wg.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		s.Fatal(err)
	}
	if _, there := s.named(s.ref("a:1")); !there {
		s.Error("two pulls succeeded, and the image is not there")
	}
}

func pullsUnknown(s *scene) {
	start := time.Now()
	_, err := s.Runtime.Pull(s.ctx, engine.PullRequest{Ref: s.ref("nowhere:1")})
	s.wantReason(err, engine.NotFound)
	if took := time.Since(start); took > s.Patience/6 {
		s.Errorf("it took %s to say so", took)
	}
	if err != nil && !strings.Contains(err.Error(), s.ref("nowhere").Repository()) {
		s.Errorf("the error does not say what is not found: %v", err)
	}
	if err != nil && !strings.Contains(err.Error(), "not found") && !strings.Contains(err.Error(), "unknown") {
		s.Errorf("the error does not give the registry's own words: %v", err)
	}
}

func pullsPrivate(s *scene) {
	if s.Private == "" {
		s.Skip("no private registry")
	}
	ref := s.parse(s.Private + s.path + "secret:1")
	s.pushed(s.content("x"), ref)
	wrong := s.Credentials
	wrong.Password = "wr0ng-" + s.seed
	for name, credentials := range map[string]*engine.Credentials{"no": nil, "wrong": &wrong} {
		_, err := s.Runtime.Pull(s.ctx, engine.PullRequest{Ref: ref, Credentials: credentials})
		s.wantReason(err, engine.Unauthorized)
		if err != nil && strings.Contains(err.Error(), wrong.Password) {
			s.Errorf("with %s credentials, the error contains the password", name)
		}
	}
	image, err := s.Runtime.Pull(s.ctx, engine.PullRequest{Ref: ref, Credentials: &s.Credentials})
	if err != nil {
		s.Fatalf("with credentials: %v", err)
	}
	s.wantNames(s.mustLook(image.ID), ref)
}

func pullsDigest(s *scene) {
	tag := s.ref("a:1")
	byDigest := tag.WithDigest(s.pushed(s.content("x"), tag)).WithoutTag()
	image := s.pull(byDigest)
	s.wantNames(image, byDigest)
	s.wantNotNamed(image, tag)
}

func pullsTagAndDigest(s *scene) {
	tag := s.ref("a:1")
	both := tag.WithDigest(s.pushed(s.content("x"), tag))
	s.wantNames(s.pull(both), tag, both.WithoutTag())
}

func pullsMovedTagByDigest(s *scene) {
	tag := s.ref("a:1")
	both := tag.WithDigest(s.pushed(s.content("old"), tag))
	s.pushed(s.content("new"), tag)
	newer := s.pull(tag)
	image, err := s.Runtime.Pull(s.ctx, engine.PullRequest{Ref: both})
	if !s.Can.MoveTag {
		s.wantReason(err, engine.NoEffect)
		return
	}
	if err != nil {
		s.Fatal(err)
	}
	s.wantNames(s.mustLook(image.ID), tag, both.WithoutTag())
	if after, there := s.look(newer.ID); there {
		s.wantNotNamed(after, tag)
	}
}

func pullsMovedTag(s *scene) {
	tag := s.ref("a:1")
	s.pushed(s.content("old"), tag)
	older := s.pull(tag)
	s.pushed(s.content("new"), tag)
	newer := s.pull(tag)
	if newer.ID == older.ID {
		s.Fatalf("the tag has moved, and the image is still %s", older.ID)
	}
	s.wantNames(newer, tag)
	s.wantNotNamed(s.mustLook(older.ID), tag)
	images, err := s.Runtime.List(s.ctx)
	if err != nil {
		s.Fatal(err)
	}
	if !slices.ContainsFunc(images, func(i engine.Image) bool { return i.ID == older.ID }) {
		s.Error("the old image is still there, and the list of all does not say so")
	}
	s.remove(engine.RemoveRequest{Image: s.mustLook(older.ID)})
	s.eventually("the untagged image is removed", func() bool { _, there := s.look(older.ID); return !there })
}

func cancelsPull(s *scene) {
	if s.Stall == nil {
		s.Skip("this registry cannot be made to stall")
	}
	ref := s.ref("slow:1")
	s.pushed(s.content("x"), ref)
	s.Stall(s, ref.Repository())
	const untilCancelled = 500 * time.Millisecond // enough for the pull to begin
	ctx, cancel := context.WithTimeout(s.ctx, untilCancelled)
	defer cancel()
	start := time.Now()
	_, err := s.Runtime.Pull(ctx, engine.PullRequest{Ref: ref})
	if err == nil {
		s.Fatal("the pull succeeded, although its layers never came")
	}
	if took := time.Since(start) - untilCancelled; took > s.Patience/6 {
		s.Errorf("the pull ended %s after it was cancelled", took)
	}
	if _, there := s.named(ref); there {
		s.Error("the image is listed, although its layers never came")
	}
}

func reportsProgress(s *scene) {
	if !s.Can.Progress {
		s.Skip("this runtime does not tell how far a pull is")
	}
	const big = 24 << 20 // Small layers may come and go between two looks.
	content := s.content("x")
	content.Layers = append(content.Layers, Blob{Seed: s.seed + "big", Size: big})
	s.pushed(content, s.ref("a:1"))
	var seen []engine.Progress
	returned := false
	_, err := s.Runtime.Pull(s.ctx, engine.PullRequest{Ref: s.ref("a:1"), Progress: func(p engine.Progress) {
		if returned {
			s.Error("progress came after the pull had returned")
		}
		seen = append(seen, p)
	}})
	returned = true
	if err != nil {
		s.Fatal(err)
	}
	if len(seen) == 0 {
		s.Fatal("no progress was reported")
	}
	order := []engine.Phase{engine.PhaseResolving, engine.PhaseDownloading, engine.PhaseUnpacking}
	for i, p := range seen[1:] {
		if before := seen[i]; p.Done < before.Done || p.Total < before.Total ||
			slices.Index(order, p.Phase) < slices.Index(order, before.Phase) || p.Done > p.Total {
			s.Errorf("progress went from %+v to %+v", before, p)
		}
	}
	if last := seen[len(seen)-1]; last.Done != last.Total || last.Total < big {
		s.Errorf("progress ended at %+v, want %d bytes or more, of as many", last, big)
	}
}
