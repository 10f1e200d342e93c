// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"slices"

	"orlop.dev/orlop/api/v1alpha1"
)

// newestLast orders jobs as they were made, as kubectl's --sort-by does: the newest is read first at a prompt.
func newestLast(jobs []v1alpha1.NodeJob) {
	slices.SortStableFunc(jobs, func(a, b v1alpha1.NodeJob) int { return a.CreationTimestamp.Compare(b.CreationTimestamp.Time) })
}
