// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"cmp"
	"fmt"
	goruntime "runtime"
	"slices"
	"time"

	"github.com/docker/go-units"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/plan"
)

const (
	// maxInventory keeps the object below 400 KB.
	maxInventory = 380 << 10
	// The bounds of the schema.
	maxInventoryImages = 2000
	maxImageNames      = 100
	maxUsers           = 3
)

// inventory is everything that is known of the node's images.
func (a *Agent) inventory(now time.Time) v1alpha1.ImageInventoryStatus {
	s := &a.stock
	images := make([]engine.Image, len(a.view.images))
	for i, img := range a.view.images {
		m := s.measures[img.ID]
		img.DiskBytes, img.Layers = cmp.Or(m.bytes, img.DiskBytes), m.layers
		images[i] = img
	}
	slices.SortFunc(images, func(x, y engine.Image) int { return cmp.Compare(x.ID, y.ID) })
	state := plan.State{Images: images, Uses: a.view.uses, Needs: a.currentNeeds(), Now: now}
	disk := a.cfg.Disk(a.rt.described.ImageFS)
	reclaimable := plan.Reclaimable(state)
	status := v1alpha1.ImageInventoryStatus{
		ObservedTime: metav1.NewTime(now.Truncate(time.Second)),
		WatchedSince: metav1.NewTime(s.watched.Truncate(time.Second)),
		Runtime:      a.runtimeName(),
		Platform:     goruntime.GOOS + "/" + goruntime.GOARCH,
		Endpoint:     a.rt.described.Endpoint,
		ImageFS: v1alpha1.ImageFS{
			CapacityBytes: disk.Capacity, UsedBytes: disk.Used, AvailableBytes: disk.Available, Inodes: disk.Inodes, InodesUsed: disk.InodesUsed,
		},
		ReclaimableBytes: reclaimable,
		Reclaimable:      units.HumanSize(float64(reclaimable)),
		ImageCount:       int32(len(images)),
	}
	if disk.Capacity > 0 {
		status.DiskUse = fmt.Sprintf("%.0f%% of %s", disk.Percent(), units.HumanSize(float64(disk.Capacity)))
	}
	uses, unique := plan.UsesOf(state), plan.Unique(images)
	for i := range images {
		status.Images = append(status.Images, s.describe(&images[i], uses[images[i].ID], unique[images[i].ID]))
	}
	boundInventory(&status)
	a.cfg.Metrics.stock(disk, status)
	return status
}

// describe is one image with what the own watch knows of it, and the runtime where that knows nothing.
func (s *stock) describe(img *engine.Image, uses []engine.Use, unique int64) v1alpha1.InventoryImage {
	users := usersOf(uses)
	entry := v1alpha1.InventoryImage{
		ID: img.ID, Tags: texts(img.Tags), Digests: texts(img.Digests),
		DiskBytes: img.DiskBytes, UniqueBytes: unique, PullBytes: img.PullBytes, Pinned: img.Pinned, Sandbox: img.Sandbox,
		Users: users[:min(len(users), maxUsers)], UserCount: int32(len(users)),
		FirstSeen: moment(s.firstSeen[img.ID], s.measures[img.ID].firstSeen, img.FirstSeen),
		LastUsed:  moment(s.lastUsed[img.ID], img.LastUsed),
	}
	// What is in use now goes on being used: that alone is no news.
	if before, ok := s.published[img.ID]; ok && len(uses) > 0 && before.LastUsed != nil {
		entry.LastUsed = before.LastUsed
	}
	return entry
}

// moment is the first time that is known.
func moment(times ...time.Time) *metav1.Time {
	for _, at := range times {
		if !at.IsZero() {
			t := metav1.NewTime(at.Truncate(time.Second))
			return &t
		}
	}
	return nil
}

// usersOf names what uses an image, each once.
func usersOf(uses []engine.Use) []string {
	var users []string
	for _, use := range uses {
		users = append(users, cmp.Or(use.Pod, use.Container, string(use.Kind)))
	}
	slices.Sort(users)
	return slices.Compact(users)
}

func texts(refs []oci.Ref) []string {
	var all []string
	for _, ref := range refs[:min(len(refs), maxImageNames)] {
		all = append(all, ref.String())
	}
	return all
}

// boundInventory leaves out the smallest images where all would be too much for an object.
func boundInventory(status *v1alpha1.ImageInventoryStatus) {
	total := 0
	for i := range status.Images {
		total += sizeOf(&status.Images[i])
	}
	if total <= maxInventory && len(status.Images) <= maxInventoryImages {
		return
	}
	slices.SortStableFunc(status.Images, func(a, b v1alpha1.InventoryImage) int {
		return cmp.Compare(max(b.DiskBytes, b.PullBytes), max(a.DiskBytes, a.PullBytes))
	})
	kept := len(status.Images)
	for ; kept > 0 && (total > maxInventory || kept > maxInventoryImages); kept-- {
		total -= sizeOf(&status.Images[kept-1])
	}
	status.OmittedImages = int32(len(status.Images) - kept)
	status.Images = status.Images[:kept]
	slices.SortFunc(status.Images, func(a, b v1alpha1.InventoryImage) int { return cmp.Compare(a.ID, b.ID) })
}

// sizeOf is about what an entry takes as JSON.
func sizeOf(image *v1alpha1.InventoryImage) int {
	const fields = 260 // the names of the fields, numbers and times
	size := fields + len(image.ID)
	for _, list := range [][]string{image.Tags, image.Digests, image.Users} {
		for _, text := range list {
			size += len(text) + 3
		}
	}
	return size
}
