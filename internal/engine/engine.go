// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package engine is what a container runtime can do for us: one small interface that containerd, CRI-O and Docker
// fulfil with the same meaning, whatever each does by itself. Its adapters are engine/cri, engine/containerd and
// engine/docker; engine/enginetest proves them, and stands in for them.
package engine

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"orlop.dev/orlop/internal/oci"
)

// Interface is a container runtime. Errors carry a Reason where one is known.
type Interface interface {
	// Describe names the runtime; it is also the cheapest proof that it answers.
	Describe(ctx context.Context) (Description, error)

	// List gives every image, or those with the given ids. An id that is not there is left out; a list that cannot
	// be had whole is an error, and never a shorter list.
	List(ctx context.Context, ids ...string) ([]Image, error)

	// Uses gives everything that needs an image here: containers in any state, sandboxes, image volumes.
	Uses(ctx context.Context) ([]Use, error)

	// Pull fetches one image, and returns what the runtime then holds. With a tag and a digest both, the tag ends up
	// naming that digest. It fails with NoEffect when the runtime said OK and the image is not there as asked.
	Pull(ctx context.Context, req PullRequest) (Image, error)

	// Remove takes names from one image, or the whole image, and nothing else. Where the runtime cannot do just
	// that it fails with Unsupported and has done nothing; where the runtime itself knows of a use, with InUse.
	// Removing what is gone succeeds. Its caller looks afterwards: see Verify.
	Remove(ctx context.Context, req RemoveRequest) error
}

// Measurer is a runtime that can tell what images take on disk, but asks much for it: a list alone is many times
// quicker.
type Measurer interface {
	// Measure fills DiskBytes and Layers of images that List gave, and FirstSeen where the list left it open. What is
	// gone since then stays unknown; an answer that cannot be had whole is an error.
	Measure(ctx context.Context, images []Image) error
}

// LateMeasurer is a Batch that can measure images that are about to be removed through it, in two parts, of which a removal need not wait for the larger.
type LateMeasurer interface {
	// MeasureLater fills in FirstSeen where the list left it open, and gives what does the rest of Measure: which Layers each of the images has, but sizes
	// only of those with the ids, since to ask for a size is dear. That may be done while images lose their names in the batch, but not
	// after it is closed.
	MeasureLater(ctx context.Context, images []Image) (rest func(ctx context.Context, ids ...string) error, err error)
}

// Pinner is a runtime through which an image can be held against the kubelet's garbage collection.
type Pinner interface {
	// Pin sets or lifts our pin on the image that ref names. Pinning twice is the same as once. A name that is not
	// there is NotFound. Pins that the runtime's own configuration sets stay.
	Pin(ctx context.Context, ref oci.Ref, pinned bool) error
}

// Marker is a runtime in which it can be noted, on an image itself, that Orlop brought it: a second record, for when the
// first could not be written.
type Marker interface {
	// Mark sets or lifts the mark on the image that ref names. Marking twice is the same as once. A name that is not
	// there is NotFound.
	Mark(ctx context.Context, ref oci.Ref, pulled bool) error
	// Marked gives repository@digest of every image that is marked.
	Marked(ctx context.Context) ([]oci.Ref, error)
}

// Watcher is a runtime that tells when something has changed.
type Watcher interface {
	// Watch calls changed when images, or what uses them, have changed, and first when it has begun to listen: whoever
	// looks after that misses nothing. It returns when ctx ends, or with an error when the runtime is gone.
	Watch(ctx context.Context, changed func()) error
}

// Batcher is a runtime that can take many images away as one: with one garbage collection at the end, and with a
// way back until then.
type Batcher interface {
	// Batch holds what is removed through it until it is closed. It is Unsupported on a disk without room for that, as is Hold.
	Batch(ctx context.Context) (Batch, error)
}

// Batch is a row of removals. Several images may be removed at once; everything else is one after the other.
type Batch interface {
	// Hold holds images that are likely to be removed: together that costs less than one by one, as Remove would.
	Hold(ctx context.Context, images ...Image) error
	// Remove is Interface.Remove, but that the content stays until Close, and that the list may show it until Settle.
	Remove(ctx context.Context, req RemoveRequest) error
	// Settle waits until the list shows what was removed since it was last called. It gives, by the image's id, what
	// is not as Remove said: see Verify.
	Settle(ctx context.Context) (map[string]error, error)
	// Restore gives an image that this batch removed its names, labels and pins back.
	Restore(ctx context.Context, imageID string) error
	// Close lets the content go, and returns when the disk has it back. It must be called, also after a failure,
	// and with a context that is not cancelled.
	Close(ctx context.Context) error
}

// Description is what a runtime says of itself.
type Description struct {
	Name     string `json:"name"`     // containerd, cri-o or docker
	Version  string `json:"version"`  // the runtime's own, such as 2.4.2
	Endpoint string `json:"endpoint"` // such as unix:///run/containerd/containerd.sock
	// ImageFS is the folder, on the host, whose file system holds the images; empty where the runtime does not tell.
	ImageFS string `json:"imageFS,omitempty"`
}

// Image is one image on this machine, under all its names.
type Image struct {
	// ID is the runtime's own, exactly as it gives it. It is a key on this machine only: containerd and Docker's
	// older store give the digest of the config, Docker's newer store that of the manifest.
	ID string `json:"id"`
	// Tags are the names with a tag; Digests are repository@digest, of the index where the image came by one.
	Tags    []oci.Ref `json:"tags,omitempty"`
	Digests []oci.Ref `json:"digests,omitempty"`
	// Pinned: the runtime reports it as held against garbage collection, by whomever. PinnedByOthers: not by us alone, or by a
	// person with our help; a list by ids tells, and a Measurer.
	Pinned         bool `json:"pinned,omitempty"`
	PinnedByOthers bool `json:"-"`
	// Sandbox: the runtime is configured to start pods with it.
	Sandbox bool `json:"sandbox,omitempty"`
	// PullBytes is the compressed size, what a pull moves; DiskBytes what it takes on disk. 0 is unknown.
	PullBytes int64 `json:"pullBytes,omitempty"`
	DiskBytes int64 `json:"diskBytes,omitempty"`
	// Layers are what its bytes on disk consist of, for counting what is shared; empty where the runtime does not tell,
	// and until it is asked to where it is a Measurer.
	Layers []Layer `json:"-"`
	// FirstSeen is when this machine got it, LastUsed when a container last did; zero is unknown.
	FirstSeen time.Time `json:"firstSeen,omitzero"`
	LastUsed  time.Time `json:"lastUsed,omitzero"`
}

// Layer is a part of an image on disk that other images may share.
type Layer struct {
	ID    string // unique on this machine: a digest, or a snapshot's key
	Bytes int64
}

// UseKind tells what needs an image.
type UseKind string

// The kinds of use.
const (
	UseContainer UseKind = "container"
	UseSandbox   UseKind = "sandbox"
	UseVolume    UseKind = "volume"
)

// Use is one need of an image by something on this machine.
type Use struct {
	// ImageID is the image's ID as List gives it. Where the runtime tells only a name, Ref is set instead.
	ImageID string  `json:"imageID,omitempty"`
	Ref     oci.Ref `json:"ref,omitzero"`
	Kind    UseKind `json:"kind"`
	// Exited: a container that has ended, which --force passes over. One that was created and never started has not.
	Exited bool `json:"exited,omitempty"`
	// Pod is namespace/name where the runtime knows it, else empty; Container is the container's name.
	Pod       string `json:"pod,omitempty"`
	Container string `json:"container,omitempty"`
}

// PullRequest asks for one image.
type PullRequest struct {
	Ref         oci.Ref
	Credentials *Credentials // nil: none
	// Progress is called with the newest state, from one goroutine, and not after Pull has returned; nil: not wanted.
	Progress func(Progress)
	// Watched tells whether anyone looks at the progress at this moment: while nobody does, a runtime need not be asked for it.
	// nil: somebody always does.
	Watched func() bool
}

// Credentials open one registry. They are never logged nor put into an error.
type Credentials struct {
	Username      string `json:"username,omitempty"`
	Password      string `json:"password,omitempty"`
	IdentityToken string `json:"identityToken,omitempty"`
}

// minSecret is the shortest secret that is looked for in an error: a shorter one would tear words apart.
const minSecret = 4

// Hide takes the credentials out of an error in which a registry or a proxy gives them back, as they are or as the header of HTTP's
// basic authentication has them. The error keeps its reason.
func (c *Credentials) Hide(err error) error {
	if c == nil || err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	text := err.Error()
	for _, secret := range []string{base64.StdEncoding.EncodeToString([]byte(c.Username + ":" + c.Password)), c.Password, c.IdentityToken} {
		if len(secret) >= minSecret {
			text = strings.ReplaceAll(text, secret, "***")
		}
	}
	if text == err.Error() {
		return err
	}
	return Because(ReasonOf(err), errors.New(text))
}

// Progress is how far a pull is. A runtime that does not tell reports nothing.
type Progress struct {
	Phase Phase `json:"phase"`
	// Done and Total are compressed bytes; Total is what is known so far, and may grow.
	Done  int64 `json:"done,omitempty"`
	Total int64 `json:"total,omitempty"`
}

// Phase is what a pull is doing.
type Phase string

// The phases of a pull, in their order.
const (
	PhaseResolving   Phase = "resolving"
	PhaseDownloading Phase = "downloading"
	PhaseUnpacking   Phase = "unpacking"
)

// RemoveRequest asks to remove names of an image, or all of it.
type RemoveRequest struct {
	// Image is as List gave it.
	Image Image
	// Tags are the names that go: a true part of Image.Tags, or all of them where the digest of another repository stays.
	// Empty: the image goes, with every name that it has. The digest name of a repository goes with that repository's last tag.
	Tags []oci.Ref
	// Force: containers that have exited do not hold the image, where the runtime itself would say that they do.
	Force bool
}

// Whole reports whether the image goes, rather than some of its names.
func (r RemoveRequest) Whole() bool { return len(r.Tags) == 0 }
