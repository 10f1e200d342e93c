// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package nodejob

import (
	"encoding/json"

	"orlop.dev/orlop/api/v1alpha1"
)

const (
	// A NodeJob stays under 100 KB. Its spec takes its room more than twice: its managed fields name each image and node again. With
	// kubectl apply, an annotation does too.
	maxObject, specTimes = 95_000, 3
	// leastRoom is what status gets in any case, mostRoom what it never needs more than.
	leastRoom, mostRoom = 10_000, 60_000
	// mostFailures and mostSkipped are the shares of the room that these may take, in percent.
	mostFailures, mostSkipped = 40, 20
)

// fit leaves out of a status what finds no room, from the end of each list.
func fit(s v1alpha1.NodeJobStatus, job *v1alpha1.NodeJob) v1alpha1.NodeJobStatus {
	room := min(mostRoom, max(leastRoom, maxObject-specTimes*size(job.Spec)))
	rest := s
	rest.Images, rest.Failures, rest.SkippedNodes = nil, nil, nil
	room -= size(rest)
	failures, skipped := room*mostFailures/100, room*mostSkipped/100
	kept := fitting(len(s.Failures), failures, func(i int) int { return size(s.Failures[i]) })
	s.OmittedFailures += int32(len(s.Failures) - kept)
	s.Failures = s.Failures[:kept]
	kept = fitting(len(s.SkippedNodes), skipped, func(i int) int { return size(s.SkippedNodes[i]) })
	s.OmittedSkipped += int32(len(s.SkippedNodes) - kept)
	s.SkippedNodes = s.SkippedNodes[:kept]
	room -= size(s.Failures) + size(s.SkippedNodes)
	kept = fitting(len(s.Images), room, func(i int) int { return size(s.Images[i]) })
	s.OmittedImages += int32(len(s.Images) - kept)
	s.Images = s.Images[:kept]
	return s
}

// fitting is how many of n find room.
func fitting(n, room int, weight func(int) int) int {
	for i := range n {
		if room -= weight(i) + 1; room < 0 {
			return i
		}
	}
	return n
}

func size(v any) int {
	text, err := json.Marshal(v)
	if err != nil {
		return mostRoom // What cannot be written finds no room.
	}
	return len(text)
}
