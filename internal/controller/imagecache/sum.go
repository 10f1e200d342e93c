// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagecache

import (
	"cmp"
	"slices"

	"github.com/opencontainers/go-digest"
	corev1 "k8s.io/api/core/v1"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/catalog"
	"orlop.dev/orlop/internal/demand"
	"orlop.dev/orlop/internal/engine"
)

const (
	// maxFailures is as the schema has it.
	maxFailures = 50
	// maxWords bounds what is repeated of anyone's words, in runes.
	maxWords = 256
)

// fact is one image of a cache and what is known of it.
type fact struct {
	demand.Image
	// name is what nodes call it by.
	name  string
	entry catalog.Entry
}

// want is the digest with which every node is to end; empty: it is not known yet.
func (f fact) want() digest.Digest {
	if d := f.Ref.Digest(); d != "" {
		return d
	}
	return f.entry.Digest
}

// refused is why nothing is known, if the registry has told.
func (f fact) refused() *catalog.Refusal {
	if f.want() != "" {
		return nil
	}
	return f.entry.Refusal
}

func facts(images []demand.Image, known *catalog.Catalog) []fact {
	all := make([]fact, len(images))
	for i, img := range images {
		all[i] = fact{Image: img, name: img.Ref.WithoutDigest().String()}
		all[i].entry, _ = known.Get(img.Ref)
	}
	return all
}

// view is one node as it is seen at the moment. ready is whether the node and its agent are; store may be nil.
type view struct {
	node  *corev1.Node
	store *v1alpha1.ImageStore
	ready bool
	// refusal is why the API server did not let the store be written.
	refusal string
	// leftOut are images for which the store has no room, once that is known.
	leftOut   map[string]bool
	leftKnown bool
}

// sum is what all the nodes of a cache say together.
type sum struct {
	desired, ready, failed, unavailable, usable int
	// cannotPin are nodes whose runtime does not let images be pinned; unpinned such as have images unpinned for another reason.
	cannotPin, unpinned int
	unpinnedWhy         told
	images              []tally
	failures            []v1alpha1.CacheFailure
	omitted             int
	demand              demand.Cache
	before              earlier
	// bytesLeft is what usable nodes are still to pull, as far as sizes are known.
	bytesLeft int64
	// rivals fix the tag of an image, by its place.
	rivals map[int][]rival
	// unsure: of some image it is yet to be heard whether a node has room for it.
	unsure bool
}

// tally is one image over all nodes.
type tally struct {
	ready, failed int
	left          int // usable nodes that neither have it nor failed
	why           told
	gone          bool     // a node says that its digest is nowhere
	drifted       []string // the nodes on which the tag is another image
	found         map[digest.Digest]int
	// rechecked is what the node found that was asked to look; unfollowed is why it could not.
	rechecked  digest.Digest
	unfollowed string
}

// told is what one node says. Of several the worst counts, and of those the node whose name comes first.
type told struct {
	node, message string
	reason        engine.Reason
}

func (t *told) hear(other told) {
	if t.node == "" || order(other, *t) < 0 {
		*t = other
	}
}

func order(a, b told) int {
	if incurable(a.reason) != incurable(b.reason) {
		if incurable(a.reason) {
			return -1
		}
		return 1
	}
	return cmp.Compare(a.node, b.node)
}

// incurable: to try again soon will not help.
func incurable(reason engine.Reason) bool {
	switch reason {
	case engine.NotFound, engine.Unauthorized, engine.NoMatchingPlatform, engine.InvalidReference, engine.SignatureRejected,
		v1alpha1.ReasonSecretNotFound, v1alpha1.ReasonConflict, v1alpha1.ReasonTooManyImages:
		return true
	default:
		return false
	}
}

// total sums up what the nodes say of a cache's images. before is what its status told.
func total(d demand.Cache, images []fact, nodes []view, before earlier, rivals map[int][]rival) sum {
	s := sum{images: make([]tally, len(images)), demand: d, before: before, rivals: rivals}
	at := make(map[string][]int, len(images))
	for i, f := range images {
		at[f.name] = append(at[f.name], i)
	}
	var fails failures
	for _, v := range nodes {
		if !d.Selects(v.node) {
			continue
		}
		place, _ := d.Place(v.node, v.ready)
		if place == demand.Tainted {
			continue
		}
		s.desired++
		s.count(&here{view: v, usable: place == demand.Usable, facts: images, failures: &fails}, at)
	}
	s.failures, s.omitted = fails.first(maxFailures)
	return s
}

// here is one node while it is counted.
type here struct {
	view
	usable   bool
	facts    []fact
	failures *failures

	images          []held // as facts
	present, failed int
	bare            told // why something is not pinned
	answers         answers
	// progress is of pulls under way, where somebody looks on.
	progress map[int]*v1alpha1.PullProgress
}

type held int

const (
	heldNot held = iota
	heldWell
	heldFailed
)

// count adds one node. at has the places of the images by the names that nodes have for them.
func (s *sum) count(h *here, at map[string][]int) {
	if h.usable {
		s.usable++
	}
	if !h.ready {
		s.unavailable++
		return
	}
	h.images = make([]held, len(h.facts))
	if h.usable {
		s.conflict(h)
	}
	s.hearAll(h, at)
	if h.usable {
		s.untold(h)
		s.leave(h)
	}
	switch {
	case h.present == len(h.facts):
		s.ready++
	case !h.usable:
		s.unavailable++
	case h.failed > 0:
		s.failed++
	}
	switch {
	case !s.demand.Pin || h.present == 0:
	case !h.store.Status.CanPin:
		s.cannotPin++
	case h.bare.node != "":
		s.unpinned++
		s.unpinnedWhy.hear(h.bare)
	}
}

// hearAll adds what the node says of the images that are not decided yet.
func (s *sum) hearAll(h *here, at map[string][]int) {
	if h.store == nil {
		return
	}
	for i := range h.store.Status.Images {
		for _, at := range at[h.store.Status.Images[i].Image] {
			if h.images[at] != heldFailed {
				s.hear(h, at, &h.store.Status.Images[i])
			}
		}
	}
}

// untold adds what the node does not have and will not get, since it is not told of it: its store could not be written, or has no room.
func (s *sum) untold(h *here) {
	for i := range h.facts {
		switch {
		case h.images[i] != heldNot:
		case h.refusal != "":
			s.fail(h, i, &v1alpha1.StoreImageStatus{Reason: v1alpha1.ReasonRefused, Message: h.refusal})
		case s.isLeftOut(h, i):
			s.fail(h, i, &v1alpha1.StoreImageStatus{Reason: v1alpha1.ReasonTooManyImages, Message: tooMany})
		}
	}
}

// tooMany is why an image finds no room on a node.
const tooMany = "the caches that select this node ask for more images than it can be told: let it go of others"

// isLeftOut reports whether the node has no room for an image. Until that is known it is as the cache's status told.
func (s *sum) isLeftOut(h *here, at int) bool {
	name := h.facts[at].name
	if h.leftKnown || !s.before.leftOut[h.facts[at].Written] {
		return h.leftOut[name]
	}
	s.unsure = true
	return h.store == nil || !slices.ContainsFunc(h.store.Spec.Images, func(e v1alpha1.StoreImage) bool { return e.Image == name && !e.Released })
}

// leave adds what the node is still to pull.
func (s *sum) leave(h *here) {
	s.bytesLeft += h.left()
	for i := range h.facts {
		if h.images[i] == heldNot {
			s.images[i].left++
		}
	}
}

// hear adds what the node says of one image.
func (s *sum) hear(h *here, at int, status *v1alpha1.StoreImageStatus) {
	t, f := &s.images[at], h.facts[at]
	h.note(at, status)
	t.recheckedOn(f, h.view, status)
	if status.FoundDigest != "" && status.FoundDigest != f.want().String() {
		t.drifted = append(t.drifted, h.node.Name)
	}
	switch want := f.want(); {
	case status.State == v1alpha1.ImagePresent && want == "":
		t.find(digest.Digest(status.Digest))
	case status.State == v1alpha1.ImagePresent && status.Digest == want.String():
		h.images[at] = heldWell
		h.present++
		t.ready++
		if !status.Pinned && status.Reason != "" {
			h.bare = told{node: h.node.Name, reason: engine.Reason(status.Reason), message: status.Message}
		}
	case h.usable && isFailure(status) && s.heeds(h, f, status):
		t.gone = t.gone || status.Reason == string(engine.NotFound)
		s.fail(h, at, status)
	}
}

// fail adds an image that the node does not get.
func (s *sum) fail(h *here, at int, status *v1alpha1.StoreImageStatus) {
	h.images[at] = heldFailed
	h.failed++
	s.images[at].failed++
	s.images[at].why.hear(told{node: h.node.Name, reason: engine.Reason(status.Reason), message: status.Message})
	h.failures.add(at, h.node.Name, h.facts[at].Written, status)
}

// heeds: a failure counts that was told before, or is about this cache.
func (s *sum) heeds(h *here, f fact, status *v1alpha1.StoreImageStatus) bool {
	return s.before.all || s.before.told[nodeImage{h.node.Name, f.Written}] || h.answers.about(s.demand, h.store, status.Image)
}

func (t *tally) find(d digest.Digest) {
	if d == "" {
		return
	}
	if t.found == nil {
		t.found = map[digest.Digest]int{}
	}
	t.found[d]++
}

// common is the digest that most nodes found, of several the first; empty if none did.
func (t *tally) common() (best digest.Digest) {
	for d, n := range t.found {
		if n > t.found[best] || n == t.found[best] && d < best {
			best = d
		}
	}
	return best
}
