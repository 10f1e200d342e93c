// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package containerd

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	imagesapi "github.com/containerd/containerd/api/services/images/v1"
	"github.com/containerd/containerd/api/types"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	criapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/engine/socket"
	"orlop.dev/orlop/internal/oci"
)

// The labels on containerd's records of images.
const (
	labelManaged = "io.cri-containerd.image" // without it, the CRI plugin makes the image its own at the next event
	valueManaged = "managed"
	labelPinned  = "io.cri-containerd.pinned"
	valuePinned  = "pinned"
	labelOurPin  = "orlop.dev/pinned" // this pin is ours to lift
	labelHandPin = "orlop.dev/pinned-by-hand"
	valueOurPin  = "true"
	labelPulled  = "orlop.dev/pulled" // Orlop brought this image
	valuePulled  = "true"
)

// settleTimeout is how long the CRI plugin may take to hear of what was done beside it. It hears of it by events,
// in milliseconds; an image that it cannot read makes it wait some seconds and try again.
const settleTimeout = 10 * time.Second

// record is one name in containerd's image store. One image has several: its tags, repository@digest of each
// repository, and its id. No Update may be sent without a Target, which makes containerd 2.4.2 crash.
type record = imagesapi.Image

var idName = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

func isID(name string) bool { return idName.MatchString(name) }

// parsed is the zero Ref for ids and for names that are no references.
func parsed(name string) oci.Ref {
	if isID(name) {
		return oci.Ref{}
	}
	ref, err := oci.ParseFound(name)
	if err != nil {
		return oci.Ref{}
	}
	if ref.Digest() != "" {
		return ref.WithoutTag()
	}
	return ref
}

func (r *Runtime) records(ctx context.Context, filters ...string) ([]*record, error) {
	list, err := r.images.List(ctx, &imagesapi.ListImagesRequest{Filters: filters})
	if err != nil {
		return nil, fmt.Errorf("listing containerd's image records: %w", socket.Why(err))
	}
	return slices.DeleteFunc(list.Images, func(i *record) bool { return i.Target == nil }), nil
}

// recordsOf gives every record of an image: those with its names, and whatever else points where these point. A name
// that has moved to another image since this one was listed is not among them, nor what it points to now. To find the
// others means reading all of them.
func (r *Runtime) recordsOf(ctx context.Context, image engine.Image) ([]*record, error) {
	found := map[string]*record{}
	ours := map[string]bool{} // by target
	for _, name := range namesOf(image) {
		i, err := r.get(ctx, name)
		if err != nil {
			return nil, err
		}
		if i == nil {
			continue
		}
		target := i.Target.Digest
		if _, known := ours[target]; !known {
			if ours[target], err = r.leadsTo(ctx, target, image.ID); err != nil {
				return nil, err
			}
		}
		if ours[target] {
			found[name] = i
		}
	}
	if err := r.addByTarget(ctx, found, ours); err != nil {
		return nil, err
	}
	return slices.SortedFunc(maps.Values(found), inOrder), nil
}

// inOrder is how records are removed, and in reverse how they are put back: whenever that is broken off, as by the end of the process, what is
// there has the digest by which whoever needs it, or is to remove it, knows it. A tag may mean something else by then, and the id says nothing.
func inOrder(a, b *record) int {
	return cmp.Or(cmp.Compare(rank(a), rank(b)), strings.Compare(a.Name, b.Name))
}

func rank(i *record) int {
	switch ref := parsed(i.Name); {
	case ref.Tag() != "":
		return 0
	case ref.IsZero():
		return 1
	}
	return 2
}

// namesOf are the names by which the CRI plugin knows an image.
func namesOf(image engine.Image) []string {
	all := []string{image.ID}
	for _, ref := range slices.Concat(image.Tags, image.Digests) {
		all = append(all, ref.String())
	}
	return all
}

func (r *Runtime) addByTarget(ctx context.Context, found map[string]*record, ours map[string]bool) error {
	var filters []string
	for target, is := range ours {
		if is {
			filters = append(filters, fmt.Sprintf("target.digest==%q", target))
		}
	}
	if len(filters) == 0 {
		return nil // Without a filter, the list would be that of all images.
	}
	records, err := r.records(ctx, filters...)
	for _, i := range records {
		found[i.Name] = i
	}
	return err
}

// get is nil where there is no such record.
func (r *Runtime) get(ctx context.Context, name string) (*record, error) {
	answer, err := r.images.Get(ctx, &imagesapi.GetImageRequest{Name: name})
	if socket.Gone(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading containerd's record of %s: %w", name, socket.Why(err))
	}
	if answer.Image.GetTarget() == nil {
		return nil, nil
	}
	return answer.Image, nil
}

// comparing is a version of containerd that deletes a name only if it still means the target that is given. 1.7 does not
// read that field, and deletes the name whatever it means by then.
var comparing = regexp.MustCompile(`^v?([2-9]|[1-9][0-9]+)\.[0-9]`)

// compares is asked for each batch: after a restart it may be another version.
func (r *Runtime) compares(ctx context.Context) (bool, error) {
	answer, err := r.pods.Version(ctx, &criapi.VersionRequest{})
	if err != nil {
		return false, fmt.Errorf("asking for containerd's version: %w", socket.Why(err))
	}
	return comparing.MatchString(answer.RuntimeVersion), nil
}

// deletion is how names are deleted.
type deletion struct {
	compared bool // by containerd; else each name is read again just before
	sync     bool
}

// delete removes a name if it still means what it meant when it was read. A name that is gone is no failure.
func (r *Runtime) delete(ctx context.Context, old *record, how deletion) (deleted bool, err error) {
	if !how.compared {
		now, err := r.get(ctx, old.Name)
		if err != nil || now == nil || now.Target.Digest != old.Target.Digest {
			return false, err
		}
	}
	_, err = r.images.Delete(ctx, &imagesapi.DeleteImageRequest{Name: old.Name, Target: old.Target, Sync: how.sync})
	if socket.Gone(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("removing %s: %w", old.Name, socket.Why(err))
	}
	return true, nil
}

// label sets labels of a record, and takes away those whose value is empty.
func (r *Runtime) label(ctx context.Context, old *record, labels map[string]string) error {
	var paths []string
	for name := range labels {
		paths = append(paths, "labels."+name)
	}
	return r.update(ctx, &record{Name: old.Name, Target: old.Target, Labels: labels}, paths...)
}

func (r *Runtime) update(ctx context.Context, changed *record, paths ...string) error {
	if changed.GetTarget().GetDigest() == "" {
		return fmt.Errorf("updating %s: the record has no target", changed.Name)
	}
	_, err := r.images.Update(ctx, &imagesapi.UpdateImageRequest{Image: changed, UpdateMask: &fieldmaskpb.FieldMask{Paths: paths}})
	if err != nil {
		return fmt.Errorf("updating %s: %w", changed.Name, socket.Why(err))
	}
	return nil
}

// create is given a creation time only where a record comes back that was there before.
func (r *Runtime) create(ctx context.Context, name string, target *types.Descriptor, labels map[string]string, like *record) (created bool, err error) {
	request := &imagesapi.CreateImageRequest{Image: &record{Name: name, Target: target, Labels: maps.Clone(labels)}}
	if like != nil {
		request.SourceDateEpoch = like.CreatedAt
	}
	_, err = r.images.Create(ctx, request)
	if status.Code(err) == codes.AlreadyExists {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("creating %s: %w", name, socket.Why(err))
	}
	return true, nil
}

// settle waits until the CRI plugin's own picture of an image, which follows containerd's events, is as done says.
// The image is nil when it is not there.
func (r *Runtime) settle(ctx context.Context, id string, done func(*engine.Image) bool) error {
	late, err := r.settleAll(ctx, map[string]func(*engine.Image) bool{id: done})
	return cmp.Or(err, late[id])
}

// settleAll waits for several images together, and gives those for which it waited in vain.
func (r *Runtime) settleAll(ctx context.Context, open map[string]func(*engine.Image) bool) (late map[string]error, err error) {
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	late = map[string]error{}
	for pause := time.Millisecond; len(open) > 0; pause = min(2*pause, 100*time.Millisecond) {
		images, err := r.cri.List(ctx, slices.Collect(maps.Keys(open))...)
		if ctx.Err() == nil && err != nil {
			return nil, err
		}
		if found := byID(images); err == nil {
			maps.DeleteFunc(open, func(id string, done func(*engine.Image) bool) bool { return done(found[id]) })
		}
		select {
		case <-ctx.Done():
			for id := range open {
				late[id] = engine.Becausef(engine.NoEffect, "containerd's CRI plugin does not show the change of image %s after %s", id, settleTimeout)
			}
			return late, nil
		case <-after(pause, len(open)):
		}
	}
	return late, nil
}

// after is at once where there is nothing to wait for.
func after(pause time.Duration, open int) <-chan time.Time {
	if open == 0 {
		pause = 0
	}
	return time.After(pause)
}

func byID(images []engine.Image) map[string]*engine.Image {
	found := make(map[string]*engine.Image, len(images))
	for n := range images {
		found[images[n].ID] = &images[n]
	}
	return found
}
