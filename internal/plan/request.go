// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"errors"
	"fmt"
	"math"
	"time"

	"orlop.dev/orlop/internal/oci"
)

// RemoveRequest asks for images by name, pattern or id.
type RemoveRequest struct {
	Targets []oci.Target `json:"targets"`
	Options Options      `json:"options,omitzero"`
}

// PruneRequest asks for images that nothing needs. Every field narrows it; all can be set together.
type PruneRequest struct {
	// DanglingOnly leaves every image that has a tag.
	DanglingOnly bool `json:"danglingOnly,omitempty"`
	// Match: one of these must fit, if there are any. Keep: none may.
	Match []oci.Target `json:"match,omitempty"`
	Keep  []oci.Target `json:"keep,omitempty"`
	// Filter must fit, in the grammar that every command has.
	Filter Filter `json:"filter,omitzero"`
	// UnusedFor: no container has used it for so long, as far as is known.
	UnusedFor time.Duration `json:"unusedFor,omitempty"`
	// PulledBefore: this machine got it earlier.
	PulledBefore time.Time `json:"pulledBefore,omitzero"`
	// KeepLatest leaves the n of each repository that came last.
	KeepLatest int `json:"keepLatest,omitempty"`
	// WhenDiskAbove and UntilDiskBelow are percent of the image file system; 0 is off.
	WhenDiskAbove  int `json:"whenDiskAbove,omitempty"`
	UntilDiskBelow int `json:"untilDiskBelow,omitempty"`
	// MaxRemovals bounds how many images go; 0 is no bound.
	MaxRemovals int     `json:"maxRemovals,omitempty"`
	Options     Options `json:"options,omitzero"`
}

// NeedsSizes reports whether what is chosen may depend on what images take on disk.
func (r PruneRequest) NeedsSizes() bool {
	return r.WhenDiskAbove+r.UntilDiskBelow+r.MaxRemovals > 0 || !r.Filter.IsZero()
}

// maxImages is what fits in an object's field.
const maxImages = math.MaxInt32

// Validate refuses what cannot be meant, and says what to write instead.
func (r PruneRequest) Validate() error {
	percent := func(name string, n int) error {
		if n < 0 || n > 100 {
			return fmt.Errorf("%s is a percentage from 1 to 100, not %d", name, n)
		}
		return nil
	}
	if err := errors.Join(percent("when-disk-above", r.WhenDiskAbove), percent("until-disk-below", r.UntilDiskBelow)); err != nil {
		return err
	}
	switch {
	case r.WhenDiskAbove > 0 && r.UntilDiskBelow > r.WhenDiskAbove:
		return fmt.Errorf("until-disk-below (%d) is above when-disk-above (%d): nothing would ever go", r.UntilDiskBelow, r.WhenDiskAbove)
	case r.KeepLatest < 0 || r.KeepLatest > maxImages:
		return fmt.Errorf("keep-latest is a number of images up to %d, not %d", maxImages, r.KeepLatest)
	case r.MaxRemovals < 0 || r.MaxRemovals > maxImages:
		return fmt.Errorf("max-removals is a number of images up to %d, not %d", maxImages, r.MaxRemovals)
	case r.UnusedFor < 0:
		return fmt.Errorf("unused-for is a time span such as 168h, not %s", r.UnusedFor)
	}
	return nil
}
