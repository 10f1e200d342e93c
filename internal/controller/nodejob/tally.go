// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package nodejob

import (
	"cmp"
	"slices"
	"strings"

	"orlop.dev/orlop/api/v1alpha1"
)

// maxImages is as the schema has it.
const maxImages = 100

// tally adds answers up as they come: what a node said before is taken off again. So a sum costs what has changed, and not what there is.
type tally struct {
	heard map[string]*v1alpha1.StoreJobStatus // by node
	of    map[string]*v1alpha1.NodeJobImage
	// real and planned are bytes, and on how many nodes they are known.
	realBytes, plannedBytes int64
	reals, plans            int
	list                    []v1alpha1.NodeJobImage // sorted; nil: to be made
}

func newTally() *tally {
	return &tally{heard: map[string]*v1alpha1.StoreJobStatus{}, of: map[string]*v1alpha1.NodeJobImage{}}
}

// hear replaces what a node has said; nil: it says nothing any more.
func (t *tally) hear(node string, answer *v1alpha1.StoreJobStatus) {
	was := t.heard[node]
	if was == answer {
		return
	}
	if was != nil {
		t.add(was, -1)
		delete(t.heard, node)
	}
	if answer != nil {
		t.add(answer, 1)
		t.heard[node] = answer
	}
}

func (t *tally) add(answer *v1alpha1.StoreJobStatus, sign int) {
	t.list = nil
	switch {
	case answer.DryRun:
		t.plannedBytes += int64(sign) * answer.Bytes
		t.plans += sign
	case answer.FreedBytes != nil:
		t.realBytes += int64(sign) * *answer.FreedBytes
		t.reals += sign
	}
	for i := range answer.Images {
		image := &answer.Images[i]
		came := image.State == v1alpha1.JobImageRemoved || image.State == v1alpha1.JobImagePulled
		if !came && image.State != v1alpha1.JobImageFailed {
			continue
		}
		sum := t.of[image.Image]
		if sum == nil {
			sum = &v1alpha1.NodeJobImage{Image: image.Image}
			t.of[image.Image] = sum
		}
		if came {
			sum.Nodes += int32(sign)
			sum.Bytes += int64(sign) * image.Bytes
		} else {
			sum.FailedNodes += int32(sign)
		}
		if sum.Nodes == 0 && sum.FailedNodes == 0 {
			delete(t.of, image.Image)
		}
	}
}

// images are those that went or came, on most nodes first.
func (t *tally) images() (list []v1alpha1.NodeJobImage, omitted int32) {
	if t.list == nil {
		t.list = make([]v1alpha1.NodeJobImage, 0, len(t.of))
		for _, sum := range t.of {
			t.list = append(t.list, *sum)
		}
		slices.SortFunc(t.list, func(a, b v1alpha1.NodeJobImage) int {
			return cmp.Or(cmp.Compare(b.Nodes, a.Nodes), cmp.Compare(b.FailedNodes, a.FailedNodes), strings.Compare(a.Image, b.Image))
		})
	}
	n := min(len(t.list), maxImages)
	if n == 0 {
		return nil, 0
	}
	return slices.Clone(t.list[:n]), int32(len(t.list) - n)
}

// freed is what was freed, or, of a plan, would be; known is false if no node has told.
func (t *tally) freed(planned bool) (bytes int64, known bool) {
	if planned {
		return t.plannedBytes, t.plans > 0
	}
	return t.realBytes, t.reals > 0
}
