// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package session is what a command line and a node say to each other: one JSON document per line, over the
// standard input and output of a pod. The node's side is internal/node, the other internal/cli.
//
// The command line opens with a Request and may send Updates until it closes its side. The node answers with
// Messages, of which the last is a Result. When its input ends before that, whoever asked is gone: the node starts
// nothing more, and ends.
package session

import (
	"time"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/plan"
)

// Verb is what is asked of a node.
type Verb string

// The verbs. Look serves every command that only reads.
const (
	VerbLook   Verb = "look"
	VerbPull   Verb = "pull"
	VerbRemove Verb = "remove"
	VerbPrune  Verb = "prune"
)

// Request is the first line to a node.
type Request struct {
	Verb Verb `json:"verb"`
	// Runtime is the name that the Node object reports, such as containerd; one with another name is refused.
	Runtime string              `json:"runtime,omitempty"`
	Pull    *PullRequest        `json:"pull,omitempty"`
	Remove  *plan.RemoveRequest `json:"remove,omitempty"`
	Prune   *plan.PruneRequest  `json:"prune,omitempty"`
	// DryRun ends with the plan.
	DryRun bool `json:"dryRun,omitempty"`
	// Confirm waits, between the plan and the act, for an Update that says Proceed.
	Confirm bool `json:"confirm,omitempty"`
	// Needs is what pods bound to this node name; an Update brings what is newer. Removals need it.
	Needs plan.Needs `json:"needs,omitzero"`
	// Sent is the asker's clock, by which Needs are dated: it may be minutes away from the node's.
	Sent time.Time `json:"sent,omitzero"`
}

// PullRequest asks for images.
type PullRequest struct {
	Images []oci.Ref `json:"images"`
	// Policy tells whether the registry is asked where the image is here already; empty is as for a Pod.
	Policy PullPolicy `json:"policy,omitempty"`
	// Parallel is how many are pulled at once; 0 is DefaultParallel.
	Parallel int `json:"parallel,omitempty"`
	// Credentials are those for the registries of Images, by the registry's host or host/path; the longest fits first.
	Credentials map[string]engine.Credentials `json:"credentials,omitempty"`
}

// PullPolicy is when an image that is here is asked for again.
type PullPolicy string

// The policies, with a Pod's words. A Pod without one pulls Always for the tag latest, else IfNotPresent.
const (
	PullAlways       PullPolicy = "Always"
	PullIfNotPresent PullPolicy = "IfNotPresent"
)

// For is the policy for one image.
func (p PullPolicy) For(ref oci.Ref) PullPolicy {
	switch {
	case p != "":
		return p
	case ref.Digest() == "" && ref.Tag() == oci.DefaultTag:
		return PullAlways
	default:
		return PullIfNotPresent
	}
}

// DefaultParallel is how many images a node pulls at once: with more, they take each other's bandwidth on one disk.
const DefaultParallel = 4

// Update is each further line to a node.
type Update struct {
	// Needs take the place of all that was told before.
	Needs *plan.Needs `json:"needs,omitempty"`
	// AsOf is when what was told as last was still so: on a large cluster, to repeat it would be much.
	AsOf    time.Time `json:"asOf,omitzero"`
	Proceed bool      `json:"proceed,omitempty"`
	Sent    time.Time `json:"sent,omitzero"` // as in a Request
}

// AliveEvery is how often a node that is busy gives a sign of life. Without it, one that is cut off from the network
// looks like one that works on something large.
const AliveEvery = 5 * time.Second

// Message is each line from a node. Exactly one field is set; with none, it is a sign of life.
type Message struct {
	Started  *engine.Description `json:"started,omitempty"`
	Plan     *plan.Plan          `json:"plan,omitempty"`
	Progress *Progress           `json:"progress,omitempty"`
	Step     *Step               `json:"step,omitempty"`
	Result   *Result             `json:"result,omitempty"`
}

// Progress is how far the pulls of a node are, all together.
type Progress struct {
	// Phase is that of the pull furthest behind.
	Phase engine.Phase `json:"phase"`
	Done  int64        `json:"doneBytes"`
	Total int64        `json:"totalBytes"`
	// Images is how many were asked for, Finished how many have ended, well or not.
	Images   int `json:"images"`
	Finished int `json:"finished"`
}

// Step is the end of the work on one image.
type Step struct {
	// Asked is the reference of a pull, or the name under which a removed image is shown.
	Asked string   `json:"asked"`
	State State    `json:"state"`
	ID    string   `json:"id,omitempty"`
	Names []string `json:"names,omitempty"`
	// Digest is the digest of the manifest or index that a pulled name now stands for.
	Digest string `json:"digest,omitempty"`
	// Bytes were pulled, or are freed by the plan's count.
	Bytes       int64   `json:"bytes,omitempty"`
	TookSeconds float64 `json:"tookSeconds,omitempty"`
	Reason      string  `json:"reason,omitempty"`
	Message     string  `json:"message,omitempty"`
}

// Took is how long the work on the image took.
func (s Step) Took() time.Duration { return time.Duration(s.TookSeconds * float64(time.Second)) }

// State is what became of one image.
type State string

// The states. Absent: it was not there to be removed.
const (
	StatePulled  State = "Pulled"
	StatePresent State = "Present"
	StateRemoved State = "Removed"
	StateKept    State = "Kept"
	StateAbsent  State = "Absent"
	StateFailed  State = "Failed"
)

// Result is the last line from a node. Exactly one of Error and the rest is meant.
type Result struct {
	// Reason and Error say why the node could not do what was asked at all; Tried are the sockets it looked for.
	Reason engine.Reason `json:"reason,omitempty"`
	Error  string        `json:"error,omitempty"`

	Inventory *Inventory `json:"inventory,omitempty"`
	Steps     []Step     `json:"steps,omitempty"`
	// FreedBytes is measured: how much less the disk is used after than before, never below 0. Nil: not measured.
	FreedBytes *int64    `json:"freedBytes,omitempty"`
	DiskBefore plan.Disk `json:"diskBefore,omitzero"`
	DiskAfter  plan.Disk `json:"diskAfter,omitzero"`
}

// Inventory is all that a node knows of its images.
type Inventory struct {
	Runtime  engine.Description `json:"runtime"`
	Platform string             `json:"platform"` // such as linux/amd64
	Disk     plan.Disk          `json:"disk,omitzero"`
	Images   []ImageInfo        `json:"images"`
	// ReclaimableBytes is what would be freed if all went that nothing protects, recent arrivals included.
	ReclaimableBytes int64 `json:"reclaimableBytes"`
	// Omitted counts images that found no room in Images: only an inventory that is kept as an object is bounded so.
	Omitted int `json:"omittedImages,omitempty"`
}

// ImageInfo is one image with what is known of its use.
type ImageInfo struct {
	engine.Image
	Uses []engine.Use `json:"uses,omitempty"`
	// MoreUsers counts those that Uses does not name, where it names only the first.
	MoreUsers int `json:"moreUsers,omitempty"`
	// UniqueBytes would be freed by removing it alone; 0 where the runtime tells no layers.
	UniqueBytes int64 `json:"uniqueBytes,omitempty"`
}
