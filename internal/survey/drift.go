// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package survey

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/session"
)

// Verdict is what is found of a tag.
type Verdict string

// The verdicts.
const (
	VerdictSame    Verdict = "SAME"    // one image everywhere, and the registry's where it was asked
	VerdictDrift   Verdict = "DRIFT"   // nodes have different images
	VerdictBehind  Verdict = "BEHIND"  // one image everywhere, and the registry has a newer one
	VerdictUnknown Verdict = "UNKNOWN" // there is no digest to compare, or the registry did not tell
)

// Tag is one tag, on all nodes that have it.
type Tag struct {
	Ref oci.Ref `json:"image"`
	// Versions are the different images that it means, the most common first.
	Versions []Version `json:"versions"`
	// Registry is the digest that the registry serves; RegistryError why it is not known, in a word, and RegistryMessage
	// in the registry's own words.
	Registry        string  `json:"registry,omitempty"`
	RegistryError   string  `json:"registryError,omitempty"`
	RegistryMessage string  `json:"registryMessage,omitempty"`
	Verdict         Verdict `json:"verdict"`
}

// Version is one image that a tag means on some nodes.
type Version struct {
	// Digests are those under which nodes know it; none: it was not pulled, but built or imported there.
	Digests   []string  `json:"digests,omitempty"`
	Platforms []string  `json:"platforms,omitempty"`
	Nodes     []string  `json:"nodes"`
	Pods      []string  `json:"pods,omitempty"`
	FirstSeen time.Time `json:"firstSeen,omitzero"` // the earliest that is known
	Current   bool      `json:"current,omitempty"`  // it is the registry's
}

// has reports whether the version is known under the digest.
func (v Version) has(digest string) bool { return slices.Contains(v.Digests, digest) }

// Tags compares, for every tag that is wanted, what the nodes have under it. Images are the same when they share a
// digest of the tag's repository: that is of the index, so that amd64 beside arm64 is no drift.
func Tags(answers []Answer, wanted func(oci.Ref) bool) []Tag {
	tags := map[oci.Ref]*Tag{}
	for _, answer := range answers {
		for _, info := range answer.Inventory.Images {
			for _, ref := range info.Tags {
				if !wanted(ref) {
					continue
				}
				if tags[ref] == nil {
					tags[ref] = &Tag{Ref: ref}
				}
				tags[ref].Versions = join(tags[ref].Versions, versionOf(answer, info, ref))
			}
		}
	}
	var list []Tag
	for _, ref := range slices.SortedFunc(maps.Keys(tags), oci.Compare) {
		tag := tags[ref]
		slices.SortStableFunc(tag.Versions, func(a, b Version) int {
			return cmp.Or(cmp.Compare(len(b.Nodes), len(a.Nodes)), strings.Compare(first(a.Digests), first(b.Digests)))
		})
		tag.Judge()
		list = append(list, *tag)
	}
	return list
}

// versionOf is what one node has under a tag.
func versionOf(answer Answer, info session.ImageInfo, ref oci.Ref) Version {
	v := Version{Nodes: []string{answer.Node}, FirstSeen: info.FirstSeen}
	if answer.Inventory.Platform != "" {
		v.Platforms = []string{answer.Inventory.Platform}
	}
	v.Pods, _ = Users(info.Uses)
	for _, d := range info.Digests {
		if d.Repository() == ref.Repository() {
			v.Digests = append(v.Digests, d.Digest().String())
		}
	}
	return v
}

func first(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}

// join puts a version to those that share a digest with it, which makes one of all of them.
func join(versions []Version, v Version) []Version {
	var apart []Version
	for _, other := range versions {
		same := len(v.Digests) == 0 && len(other.Digests) == 0 || slices.ContainsFunc(other.Digests, v.has)
		if !same {
			apart = append(apart, other)
			continue
		}
		v = Version{
			Digests: union(other.Digests, v.Digests), Platforms: union(other.Platforms, v.Platforms),
			Nodes: union(other.Nodes, v.Nodes), Pods: union(other.Pods, v.Pods), FirstSeen: earliest(other.FirstSeen, v.FirstSeen),
		}
	}
	return append(apart, v)
}

func union(a, b []string) []string {
	all := append(slices.Clone(a), b...)
	slices.Sort(all)
	return slices.Compact(all)
}

func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// Judge sets the verdict from the versions and from what the registry said, if it was asked.
func (t *Tag) Judge() {
	current, known := false, 0
	unknown := t.RegistryError != ""
	for i := range t.Versions {
		v := &t.Versions[i]
		v.Current = t.Registry != "" && v.has(t.Registry)
		current = current || v.Current
		if len(v.Digests) > 0 {
			known++
		} else {
			unknown = true
		}
	}
	switch {
	case known > 1:
		t.Verdict = VerdictDrift
	case t.Registry != "" && !current && !unknown:
		t.Verdict = VerdictBehind
	case unknown:
		t.Verdict = VerdictUnknown
	default:
		t.Verdict = VerdictSame
	}
}

// NodeCount is how many nodes have the tag.
func (t Tag) NodeCount() int {
	n := 0
	for _, v := range t.Versions {
		n += len(v.Nodes)
	}
	return n
}

// Behind is how many nodes have another image than the registry; ok is false where the registry did not tell.
func (t Tag) Behind() (nodes int, ok bool) {
	for _, v := range t.Versions {
		if !v.Current {
			nodes += len(v.Nodes)
		}
	}
	return nodes, t.Registry != ""
}

// Oldest is when the first node got a version that is not the registry's; zero is unknown.
func (t Tag) Oldest() time.Time {
	var oldest time.Time
	for _, v := range t.Versions {
		if !v.Current {
			oldest = earliest(oldest, v.FirstSeen)
		}
	}
	return oldest
}

// Mutable reports whether a tag looks as if it were meant to move: latest, or a word without a digit, such as stable.
func Mutable(ref oci.Ref) bool {
	return ref.Tag() != "" && !strings.ContainsAny(ref.Tag(), "0123456789")
}

// drifting are the tags that mean different images.
func drifting(answers []Answer) map[oci.Ref]bool {
	moved := map[oci.Ref]bool{}
	for _, tag := range Tags(answers, func(oci.Ref) bool { return true }) {
		if tag.Verdict == VerdictDrift {
			moved[tag.Ref] = true
		}
	}
	return moved
}
