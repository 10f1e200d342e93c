// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cri

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/engine/socket"
	"orlop.dev/orlop/internal/oci"
)

const (
	// maxStatusCalls is how many images are asked for one by one; above it, one list costs less, as it does where
	// statusCost times as many as are asked for would be all: that is what one call costs, measured in images of a list.
	maxStatusCalls = 32
	statusCost     = 8

	// sandboxImageAge is how long the configured sandbox image is believed: CRI-O changes it on a signal.
	sandboxImageAge = time.Minute
)

var imageID = regexp.MustCompile(`^(sha256:)?[0-9a-f]{64}$`)

// List gives every image, or those with the given ids, and never uses the runtime's own filter: containerd ignores
// it, and CRI-O takes it for one image's name.
func (r *Runtime) List(ctx context.Context, ids ...string) ([]engine.Image, error) {
	var (
		sandbox oci.Ref
		found   []*cri.Image
	)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) { sandbox, err = r.sandboxRef(ctx); return err })
	group.Go(func() (err error) { found, err = r.listRaw(ctx, ids); return err })
	if err := group.Wait(); err != nil {
		return nil, err
	}
	images := make([]engine.Image, 0, len(found))
	for _, image := range found {
		images = append(images, r.convert(image, sandbox))
	}
	return images, nil
}

func (r *Runtime) listRaw(ctx context.Context, ids []string) ([]*cri.Image, error) {
	all := r.count.Load()
	if len(ids) > 0 && len(ids) <= maxStatusCalls && (all == 0 || int64(len(ids))*statusCost < all) {
		return r.listEach(ctx, ids)
	}
	found, err := r.listAll(ctx)
	r.count.Store(int64(len(found)))
	if len(ids) > 0 {
		found = slices.DeleteFunc(found, func(i *cri.Image) bool { return !slices.Contains(ids, i.Id) })
	}
	return found, err
}

func (r *Runtime) listAll(ctx context.Context) ([]*cri.Image, error) {
	list, err := r.images.ListImages(ctx, &cri.ListImagesRequest{})
	if status.Code(err) == codes.ResourceExhausted {
		return r.stream(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("listing images: %w", socket.Why(err))
	}
	return list.Images, nil
}

// stream is for a list that is too large for one message; containerd has it since 2.4, CRI-O since 1.36.
func (r *Runtime) stream(ctx context.Context) ([]*cri.Image, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	stream, err := r.images.StreamImages(ctx, &cri.StreamImagesRequest{})
	if err != nil {
		return nil, fmt.Errorf("listing images: %w", socket.Why(err))
	}
	var images []*cri.Image
	for {
		batch, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return images, nil
		}
		if err != nil {
			return nil, fmt.Errorf("listing images: %w", socket.Why(err))
		}
		images = append(images, batch.Images...)
	}
}

func (r *Runtime) listEach(ctx context.Context, ids []string) ([]*cri.Image, error) {
	found := make([]*cri.Image, len(ids))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(maxParallelCalls)
	for n, id := range ids {
		group.Go(func() (err error) {
			found[n], err = r.byID(ctx, id)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(found, func(i *cri.Image) bool { return i == nil }), nil
}

// byID is nil where there is no such image. What is not an id is refused, since a runtime would take it for a name.
func (r *Runtime) byID(ctx context.Context, id string) (*cri.Image, error) {
	if !imageID.MatchString(id) {
		return nil, engine.Becausef(engine.InvalidReference, "%q is not an image id of %s", id, r.name)
	}
	image, err := r.status(ctx, r.asked(id))
	if err != nil || image == nil || image.Id != id {
		return nil, err
	}
	return image, nil
}

// asked is the id in the form in which the runtime takes it for one: CRI-O reads sha256:… as a short name.
func (r *Runtime) asked(id string) string {
	if r.name == nameCRIO {
		return strings.TrimPrefix(id, "sha256:")
	}
	return id
}

func (r *Runtime) status(ctx context.Context, name string) (*cri.Image, error) {
	answer, err := r.images.ImageStatus(ctx, &cri.ImageStatusRequest{Image: &cri.ImageSpec{Image: name}})
	if err != nil {
		return nil, fmt.Errorf("looking for image %s: %w", name, socket.Why(err))
	}
	return answer.Image, nil
}

func (r *Runtime) convert(i *cri.Image, sandbox oci.Ref) engine.Image {
	image := engine.Image{ID: i.Id, Pinned: i.Pinned}
	for _, ref := range parseRefs(i.RepoTags) {
		image.Tags = append(image.Tags, ref.WithoutDigest())
	}
	for _, ref := range parseRefs(i.RepoDigests) {
		image.Digests = append(image.Digests, ref.WithoutTag())
	}
	for _, refs := range []*[]oci.Ref{&image.Tags, &image.Digests} {
		slices.SortFunc(*refs, oci.Compare)
		*refs = slices.Compact(*refs)
	}
	names := slices.Concat(image.Tags, image.Digests)
	image.Sandbox = slices.Contains(names, sandbox) || i.Pinned && slices.ContainsFunc(names, isPause)
	// containerd counts what it fetched, the others what they unpacked.
	if r.name == nameContainerd {
		image.PullBytes = int64(i.Size)
	} else {
		image.DiskBytes = int64(i.Size)
	}
	return image
}

func isPause(ref oci.Ref) bool { return path.Base(ref.Repository()) == "pause" }

// sandboxImage is what the runtime is configured to start pods with, as far as it tells.
type sandboxImage struct {
	ref   oci.Ref
	asked time.Time
}

// sandboxRef is zero where the runtime does not tell: containerd does so since 2.0, and pins the image instead.
func (r *Runtime) sandboxRef(ctx context.Context) (oci.Ref, error) {
	r.mu.Lock()
	known := r.sandbox
	r.mu.Unlock()
	if time.Since(known.asked) < sandboxImageAge {
		return known.ref, nil
	}
	answer, err := r.pods.Status(ctx, &cri.StatusRequest{Verbose: true})
	if err != nil {
		return oci.Ref{}, fmt.Errorf("asking for the sandbox image: %w", socket.Why(err))
	}
	var config struct {
		SandboxImage string `json:"sandboxImage"`
	}
	known = sandboxImage{asked: time.Now()}
	// The configuration's form is each runtime's own; one without this field tells nothing.
	if json.Unmarshal([]byte(answer.Info["config"]), &config) == nil {
		known.ref, _ = oci.ParseFound(config.SandboxImage)
	}
	r.mu.Lock()
	r.sandbox = known
	r.mu.Unlock()
	return known.ref, nil
}
