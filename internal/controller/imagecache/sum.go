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
	"orlop.dev/orlop/internal/condition"
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
	case engine.NotFound, engine.Unauthorized, engine.NoMatchingPlatform, engine.InvalidReference, engine.SignatureRejected, v1alpha1.ReasonSecretNotFound, v1alpha1.ReasonConflict:
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
		s.count(d, images, at, v, place == demand.Usable, &fails)
	}
	s.failures, s.omitted = fails.first(maxFailures)
	return s
}

// count adds one node.
func (s *sum) count(d demand.Cache, images []fact, at map[string][]int, v view, usable bool, fails *failures) {
	if usable {
		s.usable++
	}
	if !v.ready {
		s.unavailable++
		return
	}
	h := here{images: make([]held, len(images))}
	if usable {
		s.conflict(&h, images, v, fails)
	}
	s.hearAll(&h, images, at, v, usable, fails)
	if v.refusal != "" && usable {
		s.refused(&h, images, v, fails)
	}
	if usable {
		s.bytesLeft += h.left(images, platformOf(v.node))
	}
	present, failed, bare := h.present, h.failed, h.bare
	for i := range images {
		if usable && h.images[i] == heldNot {
			s.images[i].left++
		}
	}
	switch {
	case present == len(images):
		s.ready++
	case !usable:
		s.unavailable++
	case failed > 0:
		s.failed++
	}
	switch {
	case !d.Pin || present == 0:
	case !v.store.Status.CanPin:
		s.cannotPin++
	case bare.node != "":
		s.unpinned++
		s.unpinnedWhy.hear(bare)
	}
}

// hearAll adds what the node says of the images that are not decided yet.
func (s *sum) hearAll(h *here, images []fact, at map[string][]int, v view, usable bool, fails *failures) {
	if v.store == nil {
		return
	}
	for i := range v.store.Status.Images {
		for _, at := range at[v.store.Status.Images[i].Image] {
			if h.images[at] != heldFailed {
				s.hear(h, at, images[at], v, &v.store.Status.Images[i], usable, fails)
			}
		}
	}
}

// refused adds a node whose store could not be written: what it does not have, it will not get.
func (s *sum) refused(h *here, images []fact, v view, fails *failures) {
	for i := range images {
		if h.images[i] != heldNot {
			continue
		}
		h.images[i] = heldFailed
		h.failed++
		s.images[i].failed++
		s.images[i].why.hear(told{node: v.node.Name, reason: v1alpha1.ReasonRefused, message: v.refusal})
		fails.add(i, v.node.Name, images[i].Written, &v1alpha1.StoreImageStatus{Reason: v1alpha1.ReasonRefused, Message: v.refusal})
	}
}

// here is one node while it is counted.
type here struct {
	images          []held
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

// hear adds what one node says of one image.
func (s *sum) hear(h *here, at int, f fact, v view, status *v1alpha1.StoreImageStatus, usable bool, fails *failures) {
	t := &s.images[at]
	h.note(at, status)
	t.recheckedOn(f, v, status)
	if status.FoundDigest != "" && status.FoundDigest != f.want().String() {
		t.drifted = append(t.drifted, v.node.Name)
	}
	switch want := f.want(); {
	case status.State == v1alpha1.ImagePresent && want == "":
		t.find(digest.Digest(status.Digest))
	case status.State == v1alpha1.ImagePresent && status.Digest == want.String():
		h.images[at] = heldWell
		h.present++
		t.ready++
		if !status.Pinned && status.Reason != "" {
			h.bare = told{node: v.node.Name, reason: engine.Reason(status.Reason), message: status.Message}
		}
	case usable && fails.is(status) && s.heeds(h, f, v, status):
		h.images[at] = heldFailed
		h.failed++
		t.failed++
		t.gone = t.gone || status.Reason == string(engine.NotFound)
		t.why.hear(told{node: v.node.Name, reason: engine.Reason(status.Reason), message: status.Message})
		fails.add(at, v.node.Name, f.Written, status)
	}
}

// heeds: a failure counts that was told before, or is about this cache.
func (s *sum) heeds(h *here, f fact, v view, status *v1alpha1.StoreImageStatus) bool {
	return s.before.all || s.before.told[nodeImage{v.node.Name, f.Written}] || h.answers.about(s.demand, v.store, status.Image)
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

// failures keeps the first, in the order of the cache's images and of the nodes' names, whatever the order in which they come.
type failures struct {
	kept  []failure
	count int
}

type failure struct {
	at     int
	node   string
	image  string
	status *v1alpha1.StoreImageStatus
}

// is: it could not be had, and that was not cured yet. An agent that tries again says so, and keeps the reason until it knows.
func (f *failures) is(s *v1alpha1.StoreImageStatus) bool {
	switch s.State {
	case v1alpha1.ImageFailed:
		return true
	case v1alpha1.ImagePulling, v1alpha1.ImageWaiting:
		return s.Reason == string(engine.InsufficientDisk) || s.Attempts > 0 && engine.Reason(s.Reason) != "" && s.Reason != reasonNoKey
	default:
		return false
	}
}

// reasonNoKey is what an agent says while it waits for credentials that are sealed to its new key.
const reasonNoKey = "WaitingForCredentials"

func (f *failures) add(at int, node, image string, status *v1alpha1.StoreImageStatus) {
	f.count++
	f.kept = append(f.kept, failure{at, node, image, status})
	if len(f.kept) >= 4*maxFailures {
		f.trim(maxFailures)
	}
}

func (f *failures) trim(n int) {
	slices.SortFunc(f.kept, func(a, b failure) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.node, b.node)) })
	f.kept = f.kept[:min(n, len(f.kept))]
}

func (f *failures) first(n int) (list []v1alpha1.CacheFailure, omitted int) {
	f.trim(n)
	for _, k := range f.kept {
		list = append(list, v1alpha1.CacheFailure{
			Node: k.node, Image: k.image, Reason: cmp.Or(k.status.Reason, string(engine.Unknown)), Message: condition.Cut(k.status.Message, maxWords),
			Attempts: k.status.Attempts, LastAttemptTime: k.status.LastAttemptTime,
		})
	}
	return list, f.count - len(list)
}
