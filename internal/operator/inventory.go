// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"strings"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/plan"
	"orlop.dev/orlop/internal/session"
)

// FromInventory makes an inventory object what a node answers when it is asked itself.
func FromInventory(status v1alpha1.ImageInventoryStatus) session.Inventory {
	fs := status.ImageFS
	found := session.Inventory{
		Runtime:          describe(status.Runtime, status.Endpoint),
		Platform:         status.Platform,
		Disk:             plan.Disk{Capacity: fs.CapacityBytes, Used: fs.UsedBytes, Available: fs.AvailableBytes, Inodes: fs.Inodes, InodesUsed: fs.InodesUsed},
		ReclaimableBytes: status.ReclaimableBytes,
		Omitted:          int(status.OmittedImages),
		Images:           []session.ImageInfo{},
	}
	for i := range status.Images {
		found.Images = append(found.Images, imageOf(&status.Images[i]))
	}
	return found
}

// describe reads a runtime such as containerd://2.4.2.
func describe(runtime, endpoint string) engine.Description {
	name, version, _ := strings.Cut(runtime, "://")
	return engine.Description{Name: name, Version: version, Endpoint: endpoint}
}

func imageOf(entry *v1alpha1.InventoryImage) session.ImageInfo {
	info := session.ImageInfo{
		Image: engine.Image{
			ID: entry.ID, Tags: refs(entry.Tags), Digests: refs(entry.Digests), Pinned: entry.Pinned, Sandbox: entry.Sandbox,
			PullBytes: entry.PullBytes, DiskBytes: entry.DiskBytes,
		},
		UniqueBytes: entry.UniqueBytes,
		MoreUsers:   max(0, int(entry.UserCount)-len(entry.Users)),
	}
	if entry.FirstSeen != nil {
		info.FirstSeen = entry.FirstSeen.Time
	}
	if entry.LastUsed != nil {
		info.LastUsed = entry.LastUsed.Time
	}
	for _, user := range entry.Users {
		use := engine.Use{ImageID: entry.ID, Kind: engine.UseContainer, Container: user}
		if strings.Contains(user, "/") {
			use.Pod, use.Container = user, ""
		}
		info.Uses = append(info.Uses, use)
	}
	return info
}

// refs leaves out what does not parse: no runtime has such a name.
func refs(texts []string) []oci.Ref {
	var found []oci.Ref
	for _, text := range texts {
		if ref, err := oci.ParseFound(text); err == nil {
			found = append(found, ref)
		}
	}
	return found
}
