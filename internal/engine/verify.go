// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"orlop.dev/orlop/internal/oci"
)

// settleTime is how long a runtime may take until its list shows what it just did: containerd's CRI plugin hears of
// a change by an event, and a machine under load delivers it late.
const settleTime = 3 * time.Second

// firstPause is how long Verify waits before it looks a second time; it doubles from there.
const firstPause = 10 * time.Millisecond

// As finds what else a runtime can do, as in engine.As[Pinner](rt), in rt itself or in what it decorates. A decorator
// has a method Unwrap() Interface, and those optional interfaces whose meaning it changes.
func As[T any](rt Interface) (T, bool) {
	for {
		if extra, ok := rt.(T); ok {
			return extra, true
		}
		decorator, ok := rt.(interface{ Unwrap() Interface })
		if !ok {
			var none T
			return none, false
		}
		rt = decorator.Unwrap()
	}
}

// Verify looks after each pull and each removal, also those of a Batch, whether the runtime did what it says. What is
// not there as asked is NoEffect; a removal that took other names along is an error that tells which.
func Verify(inner Interface) Interface {
	v := &verified{inner}
	if batcher, ok := As[Batcher](inner); ok {
		return &verifiedBatcher{v, batcher}
	}
	return v
}

type verified struct{ Interface }

func (v *verified) Unwrap() Interface { return v.Interface }

func (v *verified) Pull(ctx context.Context, req PullRequest) (Image, error) {
	pulled, err := v.Interface.Pull(ctx, req)
	if err != nil {
		return pulled, err
	}
	var image Image
	err = v.settle(ctx, pulled.ID, func(found Image, there bool) error {
		image = found
		return pullEffect(req.Ref, pulled.ID, found, there)
	})
	if err != nil {
		return pulled, fmt.Errorf("pulling %s: %w", req.Ref, err)
	}
	return image, nil
}

// pullEffect compares what was asked with what is there.
func pullEffect(ref oci.Ref, id string, image Image, there bool) error {
	if !there {
		return Becausef(NoEffect, "the runtime said OK, and there is no image %s", id)
	}
	if ref.Tag() != "" && !slices.Contains(image.Tags, ref.WithoutDigest()) {
		return Becausef(NoEffect, "the runtime said OK, and the image is there only as %s", namesOf(image))
	}
	if ref.Digest() != "" && !slices.Contains(image.Digests, ref.WithoutTag()) {
		return Becausef(NoEffect, "the runtime said OK, and the image has another digest: it is there as %s", namesOf(image))
	}
	return nil
}

func (v *verified) Remove(ctx context.Context, req RemoveRequest) error {
	return v.remove(ctx, req, v.Interface.Remove)
}

func (v *verified) remove(ctx context.Context, req RemoveRequest, act func(context.Context, RemoveRequest) error) error {
	before := Image{}
	if !req.Whole() {
		// The request may be older than the last change by someone else, which must not be blamed on the runtime.
		var err error
		if before, _, err = v.look(ctx, req.Image.ID); err != nil {
			return fmt.Errorf("removing %s: %w", removing(req), err)
		}
	}
	if err := act(ctx, req); err != nil {
		return err
	}
	err := v.settle(ctx, req.Image.ID, func(after Image, there bool) error {
		return removeEffect(req, before, after, there)
	})
	if err != nil {
		return fmt.Errorf("removing %s: %w", removing(req), err)
	}
	return nil
}

// removeEffect compares what was there before with what is there now.
func removeEffect(req RemoveRequest, before, after Image, there bool) error {
	if req.Whole() {
		if there {
			return Becausef(NoEffect, "the runtime said OK, and the image is still there as %s", namesOf(after))
		}
		return nil
	}
	var left, excess []string
	for _, tag := range req.Tags {
		if slices.Contains(after.Tags, tag) {
			left = append(left, tag.String())
		}
	}
	for _, name := range slices.Concat(before.Tags, before.Digests) {
		if !slices.Contains(after.Tags, name) && !slices.Contains(after.Digests, name) && !mayGo(req, before, name) {
			excess = append(excess, name.String())
		}
	}
	switch {
	case len(excess) > 0:
		return fmt.Errorf("the runtime also removed what was not asked for: %s", strings.Join(excess, ", "))
	case len(left) > 0:
		return Becausef(NoEffect, "the runtime said OK, and %s is still there", strings.Join(left, ", "))
	}
	return nil
}

// mayGo reports whether a name goes with the tags that were asked for: it is one of them, or the digest name of a
// repository all whose tags were. When every tag was asked for, the whole image was.
func mayGo(req RemoveRequest, before Image, name oci.Ref) bool {
	if slices.Contains(req.Tags, name) {
		return true
	}
	asked := func(tag oci.Ref) bool { return slices.Contains(req.Tags, tag) }
	stays := func(tag oci.Ref) bool { return !asked(tag) }
	if !slices.ContainsFunc(before.Tags, stays) {
		return true
	}
	ofName := func(tag oci.Ref) bool { return tag.Repository() == name.Repository() }
	keepsName := func(tag oci.Ref) bool { return ofName(tag) && stays(tag) }
	return name.Tag() == "" && slices.ContainsFunc(req.Tags, ofName) && !slices.ContainsFunc(before.Tags, keepsName)
}

// settle looks until verdict is satisfied or the runtime has had its time, and returns the last verdict.
func (v *verified) settle(ctx context.Context, id string, verdict func(Image, bool) error) error {
	deadline := time.Now().Add(settleTime)
	for pause := firstPause; ; pause *= 2 {
		image, there, err := v.look(ctx, id)
		if err != nil {
			return err
		}
		err = verdict(image, there)
		if err == nil || time.Now().Add(pause).After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}

func (v *verified) look(ctx context.Context, id string) (image Image, there bool, err error) {
	images, err := v.List(ctx, id)
	if err != nil {
		return Image{}, false, fmt.Errorf("looking for image %s: %w", id, err)
	}
	for _, image := range images {
		if image.ID == id {
			return image, true, nil
		}
	}
	return Image{}, false, nil
}

func removing(req RemoveRequest) string {
	if req.Whole() {
		return namesOf(req.Image)
	}
	return joinRefs(req.Tags)
}

// namesOf is what a person calls an image: its tags, else its digest names, else its id.
func namesOf(image Image) string {
	switch {
	case len(image.Tags) > 0:
		return joinRefs(image.Tags)
	case len(image.Digests) > 0:
		return joinRefs(image.Digests)
	}
	return image.ID
}

func joinRefs(refs []oci.Ref) string {
	texts := make([]string, len(refs))
	for i, ref := range refs {
		texts[i] = ref.String()
	}
	return strings.Join(texts, ", ")
}

// verifiedBatcher is verified for a runtime that can also batch.
type verifiedBatcher struct {
	*verified
	batcher Batcher
}

func (v *verifiedBatcher) Batch(ctx context.Context, images ...Image) (Batch, error) {
	inner, err := v.batcher.Batch(ctx, images...)
	if err != nil {
		return nil, err
	}
	return &verifiedBatch{Batch: inner, rt: v.verified, removed: map[string]Image{}}, nil
}

type verifiedBatch struct {
	Batch
	rt *verified

	mu      sync.Mutex
	removed map[string]Image // as it was when this batch first took something from it
}

func (b *verifiedBatch) Remove(ctx context.Context, req RemoveRequest) error {
	b.mu.Lock()
	if _, known := b.removed[req.Image.ID]; !known {
		b.removed[req.Image.ID] = req.Image
	}
	b.mu.Unlock()
	return b.rt.remove(ctx, req, b.Batch.Remove)
}

func (b *verifiedBatch) Restore(ctx context.Context, imageID string) error {
	if err := b.Batch.Restore(ctx, imageID); err != nil {
		return err
	}
	b.mu.Lock()
	was := b.removed[imageID]
	b.mu.Unlock()
	err := b.rt.settle(ctx, imageID, func(image Image, there bool) error {
		for _, tag := range was.Tags {
			if !slices.Contains(image.Tags, tag) {
				return Becausef(NoEffect, "the runtime said OK, and %s is not back", tag)
			}
		}
		if !there {
			return Becausef(NoEffect, "the runtime said OK, and the image is not back")
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("restoring %s: %w", namesOf(was), err)
	}
	return nil
}
