// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagecache

import (
	"encoding/json"
	"slices"

	"orlop.dev/orlop/api/v1alpha1"
)

const (
	// An ImageCache stays under 100 KB. Its spec takes its room more than twice: its managed fields name each image again. With
	// kubectl apply, an annotation does too.
	maxObject, specTimes = 95_000, 3
	// leastRoom is what status gets in any case, mostRoom what it never needs more than.
	leastRoom, mostRoom = 10_000, 60_000
	// mostFailures is the share of the room that failures may take, in percent.
	mostFailures = 40
)

// fit leaves out of a status what finds no room: failures from the end, images that are as they should be before those
// that are not.
func fit(s v1alpha1.ImageCacheStatus, cache *v1alpha1.ImageCache) v1alpha1.ImageCacheStatus {
	room := min(mostRoom, max(leastRoom, maxObject-specTimes*size(cache.Spec)))
	rest := s
	rest.Images, rest.Failures = nil, nil
	room -= size(rest)

	failures := room * mostFailures / 100
	for i, f := range s.Failures {
		weight := size(f) + 1
		if failures -= weight; failures < 0 || i == maxFailures {
			s.OmittedFailures += int32(len(s.Failures) - i)
			s.Failures = s.Failures[:i]
			break
		}
		room -= weight
	}

	kept := make([]bool, len(s.Images))
	keep := func(which func(v1alpha1.CachedImageStatus) bool) {
		for i, img := range s.Images {
			if weight := size(img) + 1; !kept[i] && which(img) && weight <= room {
				kept[i] = true
				room -= weight
			}
		}
	}
	keep(func(img v1alpha1.CachedImageStatus) bool { return img.Reason != "" })
	keep(func(img v1alpha1.CachedImageStatus) bool { return img.ReadyNodes < s.DesiredNodes })
	keep(func(v1alpha1.CachedImageStatus) bool { return true })
	var images []v1alpha1.CachedImageStatus
	for i, img := range s.Images {
		if kept[i] {
			images = append(images, img)
		}
	}
	s.OmittedImages = int32(len(s.Images) - len(images))
	s.Images = slices.Clip(images)
	return s
}

func size(v any) int {
	text, err := json.Marshal(v)
	if err != nil {
		return mostRoom // What cannot be written finds no room.
	}
	return len(text)
}
