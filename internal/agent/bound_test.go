// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"fmt"
	"slices"
	"testing"

	"orlop.dev/orlop/api/v1alpha1"
)

// TestMoreRecordsThanFindRoom: many tags have moved on a node that is full, and what is ours is told of before what only waits.
func TestMoreRecordsThanFindRoom(t *testing.T) {
	var status v1alpha1.ImageStoreStatus
	for i := range 600 {
		ours, waits := fmt.Sprintf("r.io/a@%03d", i), fmt.Sprintf("r.io/w%03d:1", i)
		status.Images = append(status.Images,
			v1alpha1.StoreImageStatus{Image: waits, State: v1alpha1.ImageWaiting},
			v1alpha1.StoreImageStatus{Image: ours, State: v1alpha1.ImageReleasing, Pulled: i%2 == 0, Pinned: i%2 != 0})
	}
	bound(&status)
	records := 0
	for _, st := range status.Images {
		if st.Pulled || st.Pinned {
			records++
		}
	}
	if len(status.Images) != maxImages || records != 600 {
		t.Errorf("%d images, of which %d are records", len(status.Images), records)
	}
	if !slices.IsSortedFunc(status.Images, func(a, b v1alpha1.StoreImageStatus) int {
		if a.Image < b.Image {
			return -1
		}
		return 1
	}) {
		t.Error("they are in no order, so that the next status would be another")
	}
}
