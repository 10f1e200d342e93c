// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"cmp"
	"slices"
	"strings"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/plan"
)

// bound leaves out decisions of jobs, and cuts messages, where everything together would be too large for an object. Of more
// images than the schema takes those are told of first which are records: the entries that the spec may have, and as many
// names by digest of tags that moved.
func bound(status *v1alpha1.ImageStoreStatus) {
	if len(status.Images) > maxImages {
		slices.SortStableFunc(status.Images, func(a, b v1alpha1.StoreImageStatus) int {
			return cmp.Compare(weightOf(b), weightOf(a))
		})
		status.Images = status.Images[:maxImages]
		slices.SortFunc(status.Images, func(a, b v1alpha1.StoreImageStatus) int { return cmp.Compare(a.Image, b.Image) })
	}
	boundJobs(status.Jobs, max(maxStatus-sizeOfStatuses(status.Images), 0))
	for _, length := range []int{128, 64, 32, 0} {
		if sizeOfJobs(status.Jobs)+sizeOfStatuses(status.Images) <= maxStatus {
			return
		}
		for i := range status.Images {
			if message := status.Images[i].Message; len(message) > length {
				status.Images[i].Message = strings.ToValidUTF8(message[:length], "")
			}
		}
	}
}

func weightOf(st v1alpha1.StoreImageStatus) (weight int) {
	if st.Pulled {
		weight += 2
	}
	if st.Pinned {
		weight++
	}
	return weight
}

// perImage is what the names of the fields and the times of one image take in JSON.
const perImage = 190

func sizeOfStatuses(images []v1alpha1.StoreImageStatus) (size int) {
	for i := range images {
		size += perImage + len(images[i].Image) + len(images[i].Digest) + len(images[i].Message)
	}
	return size
}

// The bounds of what is told of jobs.
const (
	maxJobImages = 1000 // as in the schema
	perJob       = 280  // what the names of the fields, the numbers and the times of one answer take in JSON
	perJobImage  = 68
	perReason    = 26
)

func sizeOfJobs(jobs []v1alpha1.StoreJobStatus) int {
	size := 0
	for i := range jobs {
		size += perJob + len(jobs[i].UID) + len(jobs[i].Message)
		for k := range jobs[i].Images {
			size += sizeOfImage(&jobs[i].Images[k])
		}
	}
	return size
}

func sizeOfImage(image *v1alpha1.JobImage) int {
	size := perJobImage + len(image.Image) + len(image.ID) + len(image.Digest) + len(image.Reason) + len(image.Message)
	if image.Reason != "" {
		size += perReason
	}
	for _, name := range image.Names {
		size += len(name) + 4
	}
	return size
}

// boundJobs leaves decisions out until the jobs take no more than room: those of the oldest answers first, and of one answer those
// that tell least. Counts stay. What is left out is not cut from the slices given, which others hold.
func boundJobs(jobs []v1alpha1.StoreJobStatus, room int) {
	size := sizeOfJobs(jobs)
	for i := range jobs {
		excess := max(0, len(jobs[i].Images)-maxJobImages)
		size -= omit(&jobs[i], excess, 0)
	}
	for _, final := range []bool{true, false} {
		for i := range jobs {
			if size <= room {
				return
			}
			if jobs[i].State.Final() == final {
				size -= omit(&jobs[i], 0, size-room)
			}
		}
	}
}

// omit leaves out decisions of one answer, as many as are told, or as take so many bytes. It gives the bytes.
func omit(st *v1alpha1.StoreJobStatus, number, bytes int) (omitted int) {
	if number <= 0 && bytes <= 0 {
		return 0
	}
	gone := make([]bool, len(st.Images))
	n := 0
	for _, rank := range []int{0, 1, 2} {
		for i := len(st.Images) - 1; i >= 0 && (n < number || omitted < bytes); i-- {
			if !gone[i] && rankOf(&st.Images[i]) == rank {
				gone[i] = true
				n++
				omitted += sizeOfImage(&st.Images[i])
			}
		}
	}
	var left []v1alpha1.JobImage
	for i := range st.Images {
		if !gone[i] {
			left = append(left, st.Images[i])
		}
	}
	st.Images = left
	st.OmittedImages += int32(n)
	return omitted
}

// rankOf is how much a decision tells: least that of an image which nobody asked for.
func rankOf(image *v1alpha1.JobImage) int {
	switch {
	case image.Reason == string(plan.ReasonNotSelected):
		return 0
	case image.State == v1alpha1.JobImageKept, image.State == v1alpha1.JobImageAbsent, image.State == v1alpha1.JobImagePresent:
		return 1
	default:
		return 2
	}
}
