// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"cmp"
	"context"
	"fmt"
	"maps"
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
func As[T any](rt Interface) (T, bool) { return find[T](rt) }

// BatchAs is As for what else a batch can do, as in engine.BatchAs[LateMeasurer](batch).
func BatchAs[T any](b Batch) (T, bool) { return find[T](b) }

func find[T, D any](in D) (T, bool) {
	for {
		if extra, ok := any(in).(T); ok {
			return extra, true
		}
		decorator, ok := any(in).(interface{ Unwrap() D })
		if !ok {
			var none T
			return none, false
		}
		in = decorator.Unwrap()
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
		return Becausef(NoEffect, "the runtime said OK, but there is no image %s", id)
	}
	if ref.Tag() != "" && !slices.Contains(image.Tags, ref.WithoutDigest()) {
		return Becausef(NoEffect, "the runtime said OK, but the image is there only as %s", namesOf(image))
	}
	if ref.Digest() != "" && !slices.Contains(image.Digests, ref.WithoutTag()) {
		return Becausef(NoEffect, "the runtime said OK, but the image has another digest: it is there as %s", namesOf(image))
	}
	return nil
}

func (v *verified) Remove(ctx context.Context, req RemoveRequest) error {
	expected, err := v.act(ctx, req, v.Interface.Remove)
	if err != nil {
		return err
	}
	err = v.settle(ctx, req.Image.ID, expected.verdict)
	if err != nil {
		return fmt.Errorf("removing %s: %w", removing(req), err)
	}
	return nil
}

// removal is what a runtime said that it did.
type removal struct {
	req    RemoveRequest
	before Image // only for single names
}

// and is both together, of which later is the second.
func (r removal) and(later removal) removal {
	if r.req.Whole() || later.req.Whole() {
		return later
	}
	r.req.Tags = slices.Concat(r.req.Tags, later.req.Tags)
	return r
}

func (r removal) verdict(after Image, there bool) error {
	return removeEffect(r.req, r.before, after, there)
}

// act removes, and gives what should then be seen.
func (v *verified) act(ctx context.Context, req RemoveRequest, remove func(context.Context, RemoveRequest) error) (removal, error) {
	r := removal{req: req}
	if !req.Whole() {
		// The request may be older than the last change by someone else, which must not be blamed on the runtime.
		var err error
		if r.before, _, err = v.look(ctx, req.Image.ID); err != nil {
			return r, fmt.Errorf("removing %s: %w", removing(req), err)
		}
	}
	return r, remove(ctx, req)
}

// removeEffect compares what was there before with what is there now.
func removeEffect(req RemoveRequest, before, after Image, there bool) error {
	if req.Whole() {
		if there {
			return Becausef(NoEffect, "the runtime said OK, but the image is still there as %s", namesOf(after))
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
		return Becausef(NoEffect, "the runtime said OK, but %s is still there", strings.Join(left, ", "))
	}
	return nil
}

// mayGo reports whether a name goes with the tags that were asked for: it is one of them, or the digest name of a
// repository all whose tags were.
func mayGo(req RemoveRequest, before Image, name oci.Ref) bool {
	if slices.Contains(req.Tags, name) {
		return true
	}
	ofName := func(tag oci.Ref) bool { return tag.Repository() == name.Repository() }
	keepsName := func(tag oci.Ref) bool { return ofName(tag) && !slices.Contains(req.Tags, tag) }
	return name.Tag() == "" && slices.ContainsFunc(req.Tags, ofName) && !slices.ContainsFunc(before.Tags, keepsName)
}

// settle looks until verdict is satisfied or the runtime has had its time, and returns the last verdict.
func (v *verified) settle(ctx context.Context, id string, verdict func(Image, bool) error) error {
	bad, err := v.settleAll(ctx, map[string]func(Image, bool) error{id: verdict})
	return cmp.Or(err, bad[id])
}

// settleAll looks at several images together, and gives the last verdicts that are not satisfied.
func (v *verified) settleAll(ctx context.Context, verdicts map[string]func(Image, bool) error) (map[string]error, error) {
	if len(verdicts) == 0 {
		return nil, nil // Without ids, the list would be that of all images.
	}
	deadline := time.Now().Add(settleTime)
	open := maps.Clone(verdicts)
	for pause := firstPause; ; pause *= 2 {
		bad := map[string]error{}
		found, err := v.lookAll(ctx, slices.Collect(maps.Keys(open)))
		if err != nil {
			return nil, err
		}
		for id, verdict := range open {
			image, there := found[id]
			if err := verdict(image, there); err != nil {
				bad[id] = err
			} else {
				delete(open, id)
			}
		}
		if len(bad) == 0 || time.Now().Add(pause).After(deadline) {
			return bad, nil
		}
		select {
		case <-ctx.Done():
			return bad, nil
		case <-time.After(pause):
		}
	}
}

func (v *verified) look(ctx context.Context, id string) (image Image, there bool, err error) {
	found, err := v.lookAll(ctx, []string{id})
	image, there = found[id]
	return image, there, err
}

func (v *verified) lookAll(ctx context.Context, ids []string) (map[string]Image, error) {
	images, err := v.List(ctx, ids...)
	if err != nil {
		return nil, fmt.Errorf("looking for image %s: %w", strings.Join(ids, ", "), err)
	}
	found := make(map[string]Image, len(images))
	for _, image := range images {
		found[image.ID] = image
	}
	return found, nil
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

func (v *verifiedBatcher) Batch(ctx context.Context) (Batch, error) {
	inner, err := v.batcher.Batch(ctx)
	if err != nil {
		return nil, err
	}
	return &verifiedBatch{Batch: inner, rt: v.verified, removed: map[string]Image{}, claims: map[string]removal{}}, nil
}

type verifiedBatch struct {
	Batch
	rt *verified

	mu      sync.Mutex
	removed map[string]Image   // as it was when this batch first took something from it
	claims  map[string]removal // what the runtime says it did since the last Settle
}

func (b *verifiedBatch) Unwrap() Batch { return b.Batch }

func (b *verifiedBatch) Remove(ctx context.Context, req RemoveRequest) error {
	b.mu.Lock()
	if _, known := b.removed[req.Image.ID]; !known {
		b.removed[req.Image.ID] = req.Image
	}
	b.mu.Unlock()
	done, err := b.rt.act(ctx, req, b.Batch.Remove)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.claims[req.Image.ID] = b.claims[req.Image.ID].and(done)
	return nil
}

func (b *verifiedBatch) Settle(ctx context.Context) (map[string]error, error) {
	if _, err := b.Batch.Settle(ctx); err != nil {
		return nil, err
	}
	b.mu.Lock()
	claims := b.claims
	b.claims = map[string]removal{}
	b.mu.Unlock()
	verdicts := map[string]func(Image, bool) error{}
	for id, claim := range claims {
		verdicts[id] = claim.verdict
	}
	bad, err := b.rt.settleAll(ctx, verdicts)
	for id := range bad {
		bad[id] = fmt.Errorf("removing %s: %w", removing(claims[id].req), bad[id])
	}
	return bad, err
}

func (b *verifiedBatch) Restore(ctx context.Context, imageID string) error {
	if err := b.Batch.Restore(ctx, imageID); err != nil {
		return err
	}
	b.mu.Lock()
	was := b.removed[imageID]
	delete(b.claims, imageID)
	b.mu.Unlock()
	err := b.rt.settle(ctx, imageID, func(image Image, there bool) error {
		for _, tag := range was.Tags {
			if !slices.Contains(image.Tags, tag) {
				return Becausef(NoEffect, "the runtime said OK, but %s is not back", tag)
			}
		}
		if !there {
			return Becausef(NoEffect, "the runtime said OK, but the image is not back")
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("restoring %s: %w", namesOf(was), err)
	}
	return nil
}
