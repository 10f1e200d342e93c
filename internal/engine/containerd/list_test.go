// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package containerd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	"google.golang.org/protobuf/types/known/timestamppb"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
)

// stocked is a CRI that has these images.
type stocked struct {
	engine.Interface
	list []engine.Image
}

func (s stocked) List(context.Context, ...string) ([]engine.Image, error) {
	return slices.Clone(s.list), nil
}

// Few images and many are dated by the same records, which are read in two ways.
func TestListDatesByTheRecordOfTheID(t *testing.T) {
	for name, count := range map[string]int{"few": maxRecordCalls, "many": maxRecordCalls + 1} {
		t.Run(name, func(t *testing.T) {
			s := newServer("2.4.2")
			var images []engine.Image
			var ids []string
			since := map[string]time.Time{}
			for n := range count {
				id := "sha256:" + strings.Repeat(fmt.Sprintf("%02x", n), 32)
				created := at(id, indexA)
				since[id] = time.Unix(int64(1_000_000+n), 0).UTC()
				created.CreatedAt = timestamppb.New(since[id])
				s.set(created)
				images, ids = append(images, engine.Image{ID: id}), append(ids, id)
			}
			r := s.connected(t)
			r.cri = stocked{list: images}
			listed, err := r.List(t.Context(), ids...)
			if err != nil {
				t.Fatal(err)
			}
			if len(listed) != count {
				t.Errorf("%d images, want %d", len(listed), count)
			}
			for _, image := range listed {
				if !image.FirstSeen.Equal(since[image.ID]) {
					t.Errorf("%s since %s, want %s", image.ID, image.FirstSeen, since[image.ID])
				}
			}
			if got := slices.Contains(s.called, "Images/Get"); got != (count <= maxRecordCalls) {
				t.Errorf("records were read one by one: %v", got)
			}
		})
	}
}

// What cannot be dated is not listed as if it could.
func TestListFailsWithItsRecords(t *testing.T) {
	for name, count := range map[string]int{"few": 1, "many": maxRecordCalls + 1} {
		t.Run(name, func(t *testing.T) {
			s := newServer("2.4.2")
			failed := fmt.Errorf("the store is ill")
			s.fails["Images/Get"], s.fails["Images/List"] = failed, failed
			r := s.connected(t)
			r.cri = stocked{list: slices.Repeat([]engine.Image{{ID: imageID}}, count)}
			if images, err := r.List(t.Context(), imageID); err == nil || images != nil {
				t.Errorf("%d images, error %v", len(images), err)
			}
		})
	}
}

// Whose the pins of an image are is read off all its records, when it is asked for by id and when it is measured.
func TestListTellsWhosePinsAre(t *testing.T) {
	const tag = "a.test/x:1"
	others, ours := map[string]string{labelPinned: valuePinned}, map[string]string{labelPinned: valuePinned, labelOurPin: valueOurPin}
	byHand := map[string]string{labelPinned: valuePinned, labelOurPin: valueOurPin, labelHandPin: valueOurPin}
	for name, c := range map[string]struct {
		byTag, byDigest map[string]string
		pinned, others  bool
	}{
		"ours":                   {nil, ours, true, false},
		"somebody else's":        {others, nil, true, true},
		"both":                   {others, ours, true, true},
		"a person's too":         {nil, byHand, true, true},
		"of nobody, as it seems": {nil, nil, true, true},
		"not pinned":             {nil, nil, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			tagged, byDigest := at(tag, indexA), at("a.test/x@"+indexA, indexA)
			tagged.Labels, byDigest.Labels = c.byTag, c.byDigest
			r := newServer("2.4.2", tagged, byDigest, at(imageID, indexA)).connected(t)
			image := listed(t, imageID, tag)
			image.Pinned, image.Digests = c.pinned, []oci.Ref{ref(t, byDigest.Name)}
			r.cri = stocked{list: []engine.Image{image}}
			images, err := r.List(t.Context(), imageID)
			if err != nil || len(images) != 1 || images[0].PinnedByOthers != c.others {
				t.Errorf("asked for by id: %+v, error %v", images, err)
			}
			if images, err = r.List(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := r.Measure(t.Context(), images); err != nil || images[0].PinnedByOthers != c.others {
				t.Errorf("measured: %+v, error %v", images, err)
			}
		})
	}
}

// An image that was unpacked by a snapshotter which is no longer loaded has no size; all others have theirs.
func TestASnapshotterThatIsNoLongerLoaded(t *testing.T) {
	other := idOfIndex[indexB]
	for name, measure := range map[string]func(*Runtime, []engine.Image) error{
		"at once": func(r *Runtime, images []engine.Image) error { return r.Measure(t.Context(), images) },
		"late": func(r *Runtime, images []engine.Image) error {
			opened, err := r.Batch(t.Context())
			if err != nil {
				return err
			}
			rest, err := opened.(engine.LateMeasurer).MeasureLater(t.Context(), images)
			if err != nil {
				return err
			}
			return errors.Join(rest(t.Context(), imageID, other), opened.Close(t.Context()))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer("2.4.2", at("a.test/x:1", indexA), at(imageID, indexA), at("a.test/y:1", indexB), at(other, indexB))
			s.parents = map[string]string{"top": ""}
			s.content = []*contentapi.Info{
				{Digest: indexA, Size: 1, Labels: map[string]string{labelChild + ".config": imageID}},
				{Digest: imageID, Size: 10, Labels: map[string]string{labelSnapshot + "overlayfs": "top"}},
				{Digest: indexB, Size: 1, Labels: map[string]string{labelChild + ".config": other}},
				{Digest: other, Size: 10, Labels: map[string]string{labelSnapshot + "gone": "top"}},
			}
			images := []engine.Image{listed(t, imageID, "a.test/x:1"), listed(t, other, "a.test/y:1")}
			if err := measure(s.connected(t), images); err != nil {
				t.Fatal(err)
			}
			if images[0].DiskBytes != 111 || len(images[0].Layers) != 3 {
				t.Errorf("that of another snapshotter has %d bytes in %v, want 111", images[0].DiskBytes, images[0].Layers)
			}
			if images[1].DiskBytes != 0 || images[1].Layers != nil {
				t.Errorf("it has %d bytes in %v", images[1].DiskBytes, images[1].Layers)
			}
		})
	}
}
