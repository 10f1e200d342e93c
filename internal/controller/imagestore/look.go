// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagestore

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/catalog"
	"orlop.dev/orlop/internal/demand"
	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
)

// input is all that a node's spec follows from, but for turns and credentials.
type input struct {
	node *corev1.Node
	// ready: the Node is, and its agent is there or about to be.
	ready bool
	// caches are those that select the node, by key; settling are those of whose images more will be known in a moment.
	caches   []demand.Cache
	settling map[types.NamespacedName]bool
	facts    func(oci.Ref) (catalog.Entry, bool)
	// keepers are those of all caches whose images stay when they are let go.
	keepers map[string]bool
	// store is what stands, empty where there is none yet.
	store *v1alpha1.ImageStore
}

// want is one image that the node should hold.
type want struct {
	// image is the name of the entry: by tag where there is one.
	image string
	// ref is as the caches ask for it; of those that ask for one tag, the one with the lowest digest.
	ref    oci.Ref
	digest string
	size   int64
	// refused: the registry refused the controller.
	refused bool
	// recheck is the question what the name stands for that some node is to answer; empty: none is.
	recheck string
	// out: it is new, and finds no room.
	out    bool
	caches []*demand.Cache
	// had is the entry that stands, record what the agent says; nil if there is none.
	had     *v1alpha1.StoreImage
	record  *v1alpha1.StoreImageStatus
	present bool
}

// view is what is seen of a node: what it should hold, and what each cache may do there.
type view struct {
	input
	wants []*want
	// undecided are names that are wanted, of which nothing is known yet, or not yet of those that come with them.
	undecided map[string]bool
	// unresolved are these, for the needs.
	unresolved []v1alpha1.NeededImage
	// waits: some images wait for others of their cache.
	waits bool
	// jobs are what NodeJobs ask of it, once that is known.
	jobs *assigned
	// unlisted is why the node's pods could not be listed, if they were to be. It holds up removals, and nothing else.
	unlisted error
	// now is what the node is to a cache; settled what it would be if it were ready.
	now, settled map[types.NamespacedName]demand.Place
	had          map[string]*v1alpha1.StoreImage
	records      map[string]*v1alpha1.StoreImageStatus
	// letGo are the entries to let go of, by name. left are new images that find no room, waiting the tags that have moved and
	// find none for what they leave behind.
	letGo         map[string]v1alpha1.StoreImage
	left, waiting []string
}

func look(in input) *view {
	v := &view{
		input: in, undecided: map[string]bool{},
		now: map[types.NamespacedName]demand.Place{}, settled: map[types.NamespacedName]demand.Place{},
		had: map[string]*v1alpha1.StoreImage{}, records: map[string]*v1alpha1.StoreImageStatus{},
	}
	for i := range in.store.Spec.Images {
		v.had[in.store.Spec.Images[i].Image] = &in.store.Spec.Images[i]
	}
	for i := range in.store.Status.Images {
		v.records[in.store.Status.Images[i].Image] = &in.store.Status.Images[i]
	}
	settled := withoutReadiness(in.node)
	for i := range in.caches {
		c := &in.caches[i]
		v.now[c.Key], _ = c.Place(in.node, in.ready)
		v.settled[c.Key], _ = c.Place(settled, true)
	}
	v.collect()
	v.arrange()
	return v
}

// collect finds the wants, by name.
//
//nolint:gocognit // The cases of one thing, one after the other: apart they would be harder to compare.
func (v *view) collect() {
	found := map[string]*want{}
	for i := range v.caches {
		c := &v.caches[i]
		for _, image := range c.Images {
			name := image.Ref.WithoutDigest().String()
			if v.now[c.Key] == demand.Tainted && !v.holdsFor(name, c.Key) {
				continue
			}
			w := found[name]
			if w == nil {
				w = &want{image: name, ref: image.Ref, had: v.had[name], record: v.records[name]}
				found[name] = w
			}
			w.add(c, image.Ref)
		}
	}
	incomplete := map[types.NamespacedName]bool{}
	for name, w := range found {
		if v.undecided[name] = !v.decide(w); v.undecided[name] {
			for _, c := range w.caches {
				incomplete[c.Key] = v.settling[c.Key]
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		w := found[name]
		if !v.undecided[name] && w.had == nil && !slices.ContainsFunc(w.caches, func(c *demand.Cache) bool { return !incomplete[c.Key] }) {
			v.undecided[name], v.waits = true, true
		}
		if v.undecided[name] {
			v.unresolved = append(v.unresolved, v1alpha1.NeededImage{Image: name, Cache: w.caches[0].Key.String()})
			continue
		}
		v.wants = append(v.wants, w)
	}
}

// add notes one more cache. A node's tag stands for one digest: where caches fix it to several, the lowest counts, so that all nodes
// agree; one that is fixed goes before what the registry says.
func (w *want) add(c *demand.Cache, ref oci.Ref) {
	if len(w.caches) == 0 || w.caches[len(w.caches)-1] != c {
		w.caches = append(w.caches, c)
	}
	if fixed := ref.Digest(); fixed != "" && (w.ref.Digest() == "" || fixed < w.ref.Digest()) {
		w.ref = ref
	}
}

// decide finds what the name stands for. It reports false if that is not known, and nothing stands that could be kept.
func (v *view) decide(w *want) bool {
	fact, _ := v.facts(w.ref)
	w.digest = cmp.Or(w.ref.Digest(), fact.Digest).String()
	w.refused = fact.Refusal != nil
	if w.digest == "" && w.had != nil {
		w.digest = w.had.Digest
	}
	if w.digest == "" && !w.refused && w.had == nil {
		return false
	}
	w.size = fact.Sizes[platform(v.node)]
	if w.size == 0 && w.had != nil && w.had.Digest == w.digest {
		w.size = w.had.Size
	}
	if w.ref.Digest() == "" {
		w.recheck = w.open(fact)
	}
	w.present = there(w.record, w.digest) || w.recheck != "" && w.answered() && w.asks(w.recheck)
	return true
}

// there reports whether the node holds the image as that digest; any, if none is given.
func there(record *v1alpha1.StoreImageStatus, digest string) bool {
	return record != nil && record.State == v1alpha1.ImagePresent && (digest == "" || record.Digest == digest)
}

// holdsFor reports whether the entry that stands is there for the cache too. Where the list of caches is full it may be.
func (v *view) holdsFor(image string, key types.NamespacedName) bool {
	had := v.had[image]
	return had != nil && !had.Released && (slices.Contains(had.Caches, key.String()) || len(had.Caches) == maxCaches)
}

// unsuspended are the caches that want the image and are not suspended, as far as the node is usable to them.
func (w *want) unsuspended(places map[types.NamespacedName]demand.Place) (usable []*demand.Cache, awake bool) {
	for _, c := range w.caches {
		if c.Suspended {
			continue
		}
		awake = true
		if places[c.Key] == demand.Usable {
			usable = append(usable, c)
		}
	}
	return usable, awake
}

// asked reports whether the entry that stands lets the agent pull something that it does not hold.
func (w *want) asked() bool {
	return w.had != nil && !w.had.Released && w.had.Hold == "" && !there(w.record, w.had.Digest)
}

// pulling reports whether the node needs a turn for the image: it stands for a digest, and is not there.
func (w *want) pulling() bool { return !w.present && w.digest != "" }

// scouting reports whether a node must go first; isScout whether it is this one. It stays the scout until its answer is known to all.
func (w *want) scouting() bool { return w.digest == "" }
func (w *want) isScout() bool  { return w.had != nil && !w.had.Released && w.had.Hold == "" }

// failing reports whether the agent waits for its next attempt, as far as it has seen that it may try.
func (v *view) failing(w *want) bool {
	if w.record == nil || v.store.Status.ObservedRevision < v.store.Spec.Revision {
		return false
	}
	return w.record.State == v1alpha1.ImageFailed || w.record.State == v1alpha1.ImageWaiting && w.record.Reason == string(engine.InsufficientDisk)
}

// hereOnly are reasons for which another node may well do better as a scout.
var hereOnly = []engine.Reason{
	engine.InsufficientDisk, engine.RuntimeUnavailable, engine.RegistryUnavailable,
	engine.Timeout, engine.NoMatchingPlatform, engine.NoEffect,
}

// asks are the turns that the node has or wants: one of each cache that selects it, and one for each name it may be the scout of.
func (v *view) asks() []ask {
	var asks []ask
	for i := range v.caches {
		c := &v.caches[i]
		if v.settled[c.Key] == demand.Tainted {
			continue
		}
		asks = append(asks, ask{slot: cacheSlot(c.Key), need: v.needOf(c), limit: c.MaxParallel})
	}
	for _, w := range v.wants {
		usable, _ := w.unsuspended(v.now)
		if len(usable) == 0 || w.out {
			continue
		}
		if w.recheck != "" {
			asks = append(asks, v.askToRecheck(w))
		}
		if !w.scouting() || !w.refused && !w.isScout() {
			continue
		}
		need := needsTurn
		if w.isScout() {
			need = hasTurn
			if v.failing(w) && slices.Contains(hereOnly, engine.Reason(w.record.Reason)) {
				need = failsInTurn
			}
		}
		asks = append(asks, ask{slot: scoutSlot(w.ref), need: need, limit: func(int) int { return 1 }})
	}
	return asks
}

// needOf is what the node needs of a cache's turns.
func (v *view) needOf(c *demand.Cache) need {
	if c.Suspended || v.now[c.Key] != demand.Usable {
		return needsNone
	}
	all, works := needsNone, false
	for _, w := range v.wants {
		if w.out || !w.pulling() || !slices.Contains(w.caches, c) {
			continue
		}
		if all == needsNone {
			all = needsTurn
		}
		if w.asked() {
			all = hasTurn
			works = works || !v.failing(w)
		}
	}
	if all == hasTurn && !works {
		return failsInTurn
	}
	return all
}

// withoutReadiness is the node without the taints that say no more than that it is not ready.
func withoutReadiness(node *corev1.Node) *corev1.Node {
	notReady := func(t corev1.Taint) bool {
		return t.Key == corev1.TaintNodeNotReady || t.Key == corev1.TaintNodeUnreachable
	}
	if !slices.ContainsFunc(node.Spec.Taints, notReady) {
		return node
	}
	settled := *node
	settled.Spec.Taints = slices.DeleteFunc(slices.Clone(node.Spec.Taints), notReady)
	return &settled
}

// platform is what registries call the node's.
func platform(node *corev1.Node) string {
	return cmp.Or(strings.ToLower(node.Status.NodeInfo.OperatingSystem), "linux") + "/" + node.Status.NodeInfo.Architecture
}
