// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package node

import "orlop.dev/orlop/internal/plan"

// MeasureDisk is unknown here: nodes run Linux.
func MeasureDisk(string) plan.Disk { return plan.Disk{} }
