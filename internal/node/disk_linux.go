// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"syscall"

	"orlop.dev/orlop/internal/plan"
)

// overlayMagic is the type of an overlay file system, OVERLAYFS_SUPER_MAGIC in linux/magic.h.
const overlayMagic = 0x794c7630

// MeasureDisk is how full the file system is that holds the folder of the host. A pod sees nothing of the host but
// the runtime's socket: there its own root tells, since it is an overlay whose upper folder the runtime keeps beside
// its images, and such a root answers with the numbers of the file system below. Zero where neither can be seen.
func MeasureDisk(imageFS string) plan.Disk {
	var fs syscall.Statfs_t
	if imageFS == "" || syscall.Statfs(imageFS, &fs) != nil {
		if syscall.Statfs("/", &fs) != nil || fs.Type != overlayMagic {
			return plan.Disk{}
		}
	}
	block := int64(fs.Bsize) //nolint:unconvert // It is an int32 on 32-bit machines.
	return plan.Disk{
		Capacity:   int64(fs.Blocks) * block,
		Used:       int64(fs.Blocks-fs.Bfree) * block,
		Available:  int64(fs.Bavail) * block,
		Inodes:     int64(fs.Files),
		InodesUsed: int64(fs.Files - fs.Ffree),
	}
}
