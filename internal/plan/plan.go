// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package plan decides what should happen to the images of one machine, and why. It is made of functions of
// values: no runtime, no cluster and no clock. A dry run prints what they return, and the act carries out the same.
package plan

import (
	"time"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
)

// State is what is known of one machine at one moment.
type State struct {
	Images []engine.Image
	Uses   []engine.Use
	Needs  Needs
	Disk   Disk
	Now    time.Time
}

// Disk is the file system that holds the images. All zero is unknown.
type Disk struct {
	Capacity   int64 `json:"capacityBytes,omitempty"`
	Used       int64 `json:"usedBytes,omitempty"`
	Available  int64 `json:"availableBytes,omitempty"` // to writers without the reserve for root
	Inodes     int64 `json:"inodes,omitempty"`
	InodesUsed int64 `json:"inodesUsed,omitempty"`
}

// Percent is how full the disk is, 0 to 100, counted as the kubelet does: what is not available is used.
func (d Disk) Percent() float64 {
	if d.Capacity == 0 {
		return 0
	}
	return 100 * float64(d.Capacity-d.Available) / float64(d.Capacity)
}

// Needs is what the cluster needs on a node and its runtime cannot know of: pods that have not started, and caches.
type Needs struct {
	// Known: somebody who can see the cluster has told. A person on the machine itself cannot.
	Known bool `json:"known"`
	// AsOf is when it was so.
	AsOf  time.Time `json:"asOf,omitzero"`
	Items []Need    `json:"items,omitempty"`
}

// Need is one image that something in the cluster needs on this node.
type Need struct {
	Ref oci.Ref `json:"ref"`
	// Short is the name as it was written, without a registry, where the runtime decides which it means: then any
	// image with that path and tag, on whatever registry, is meant as well.
	Short string `json:"short,omitempty"`
	// By is namespace/name of the pod or cache.
	By string `json:"by"`
	// Cache: an ImageCache wants it, which --force passes over; else it is a pod, which nothing passes over.
	Cache bool `json:"cache,omitempty"`
	// Pinned: that the image is pinned here is this cache's doing, and no reason of its own.
	Pinned bool `json:"pinned,omitempty"`
}

// NeedsMaxAge is how old an answer about pods may be when something is removed on its word.
const NeedsMaxAge = time.Minute

// RecentAge is how long an image that someone else brought is left alone: the kubelet's own minimum is 2 minutes,
// and a roll-out that fetches first and starts later takes longer than that.
const RecentAge = 10 * time.Minute

// Plan is what would happen on one machine, and for all that stays the reason.
type Plan struct {
	Remove []Removal `json:"remove"`
	Keep   []Kept    `json:"keep"`
	// Absent are the things asked for by name that are not here: nothing to do.
	Absent []string `json:"absent,omitempty"`
	// Near are, for what is absent, the tags that are here of the same repository, or else of one that may be meant.
	Near map[string][]string `json:"near,omitempty"`
	// FreesBytes is what the removals together give back. Shared: layers that stay for others are counted out;
	// where the runtime tells no layers, it is the sum of sizes, and more than will be freed.
	FreesBytes int64 `json:"freesBytes"`
	Shared     bool  `json:"sharedLayersCounted"`
	// NeedsKnown: pods bound to this node were looked at.
	NeedsKnown bool `json:"needsKnown"`
	// Disk is how full the images' file system was.
	Disk Disk `json:"disk,omitzero"`
	// Options are what the plan was made with; each removal is looked at again with them.
	Options Options `json:"options,omitzero"`
}

// Options lift some reasons to keep an image.
type Options struct {
	// Force passes over caches, recent arrival, and containers that have exited.
	Force bool `json:"force,omitempty"`
}

// Removal is one image, or some of its names, that goes.
type Removal struct {
	Image engine.Image `json:"image"`
	// Tags are the names that go; empty: the image with all of them.
	Tags []oci.Ref `json:"tags,omitempty"`
	// Exact: it was named exactly, so that recent arrival does not hold it.
	Exact bool `json:"exact,omitempty"`
	// FreesBytes is what this removal gives back when the ones before it have been done.
	FreesBytes int64 `json:"freesBytes"`
}

// Names are the names that go, or the id of an image without any.
func (r Removal) Names() []string {
	going := r.Tags
	if len(going) == 0 {
		going = Names(r.Image)
	}
	texts := []string{}
	for _, name := range going {
		texts = append(texts, name.String())
	}
	if len(texts) == 0 {
		return []string{r.Image.ID}
	}
	return texts
}

// Kept is one image that stays, and why.
type Kept struct {
	Image  engine.Image `json:"image"`
	Reason Reason       `json:"reason"`
	// Message is the reason in words, such as "in use by shop/web-7d9f4 (web)".
	Message string `json:"message"`
}

// Reason is why an image stays.
type Reason string

// The reasons that protect what is needed, in the order in which they are looked for.
const (
	ReasonSandbox Reason = "Sandbox"
	ReasonInUse   Reason = "InUse"
	ReasonNeeded  Reason = "Needed"
	ReasonPinned  Reason = "Pinned"
	ReasonCached  Reason = "Cached"
	ReasonRecent  Reason = "Recent"
)

// The reasons that come from what was asked.
const (
	ReasonExcepted    Reason = "Excepted"    // named by --keep
	ReasonNotSelected Reason = "NotSelected" // does not fit what was asked for
	ReasonUnknown     Reason = "Unknown"     // asked by a time that is not known here
	ReasonLatest      Reason = "Latest"      // among the latest of its repository
	ReasonDiskLevel   Reason = "DiskLevel"   // the disk is not, or no longer, that full
	ReasonLimit       Reason = "Limit"       // as many as were allowed go already
	ReasonAmbiguous   Reason = "Ambiguous"   // an id that begins several images
	ReasonOtherNames  Reason = "OtherNames"  // the name cannot go without the image's others
)

// The reasons that arise only when a removal is looked at once more.
const (
	ReasonChanged    Reason = "Changed"    // it is not what the plan was made for
	ReasonStaleNeeds Reason = "StaleNeeds" // what pods need was last heard too long ago
)

// Protects reports whether the reason holds an image because it is needed, rather than because nobody asked for it.
func (r Reason) Protects() bool {
	switch r {
	case ReasonSandbox, ReasonInUse, ReasonNeeded, ReasonPinned, ReasonCached, ReasonRecent, ReasonStaleNeeds:
		return true
	default:
		return false
	}
}
