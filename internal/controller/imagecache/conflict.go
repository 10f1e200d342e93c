// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagecache

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"k8s.io/apimachinery/pkg/types"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/demand"
)

// On a node a tag stands for one digest. Where caches fix it to several the lowest counts, and one that is fixed goes before what
// the registry says: the nodes' reconciler has it so. Who loses is told here.

// rival is a cache, perhaps the same, that fixes the tag of an image to a digest.
type rival struct {
	demand demand.Cache
	digest digest.Digest
}

// fixing are the rivals of each of the images, by its place; an image without any has none.
func (m *memory) fixing(images []demand.Image) map[int][]rival {
	m.mu.Lock()
	defer m.mu.Unlock()
	found := map[int][]rival{}
	for i, img := range images {
		if img.Ref.Tag() == "" {
			continue
		}
		for key, digests := range m.naming[img.Ref.WithoutDigest()] {
			for _, d := range digests {
				if d != img.Ref.Digest() {
					found[i] = append(found[i], rival{m.caches[key].demand, d})
				}
			}
		}
		slices.SortFunc(found[i], func(a, b rival) int {
			return strings.Compare(a.digest.String()+a.demand.Key.String(), b.digest.String()+b.demand.Key.String())
		})
	}
	return found
}

// name notes by which tags a cache wants images. The lock is held.
func (m *memory) name(key types.NamespacedName, before, after []demand.Image) {
	for _, img := range before {
		tag := img.Ref.WithoutDigest()
		delete(m.naming[tag], key)
		if len(m.naming[tag]) == 0 {
			delete(m.naming, tag)
		}
	}
	for _, img := range after {
		if img.Ref.Tag() == "" {
			continue
		}
		tag := img.Ref.WithoutDigest()
		if m.naming[tag] == nil {
			m.naming[tag] = map[types.NamespacedName][]digest.Digest{}
		}
		digests := m.naming[tag][key]
		if d := img.Ref.Digest(); d != "" {
			digests = append(digests, d)
		}
		m.naming[tag][key] = digests
	}
}

// rivals are the other caches for which these images may be in conflict with one of theirs. The lock is held.
func (m *memory) rivals(key types.NamespacedName, images []demand.Image) []types.NamespacedName {
	found := map[types.NamespacedName]bool{}
	for _, img := range images {
		for other, digests := range m.naming[img.Ref.WithoutDigest()] {
			if other != key && (img.Ref.Digest() != "" || len(digests) > 0) {
				found[other] = true
			}
		}
	}
	return slices.Collect(maps.Keys(found))
}

// loses is to whom an image of a cache is lost on a node, in words; empty: to nobody.
func (f fact) loses(d demand.Cache, rivals []rival, v view) string {
	mine := f.Ref.Digest()
	for _, r := range rivals { // The lowest digest comes first.
		if mine != "" && mine <= r.digest || f.want() == "" {
			return ""
		}
		if !r.demand.Selects(v.node) {
			continue
		}
		if place, _ := r.demand.Place(v.node, v.ready); place == demand.Tainted {
			continue
		}
		switch by := "ImageCache " + r.demand.Key.String(); {
		case r.digest == f.want():
			return ""
		case r.demand.Key == d.Key:
			return fmt.Sprintf("this cache names the tag twice, and fixes it to %s too: a tag stands for one digest on a node", r.digest)
		case mine == "":
			return fmt.Sprintf("%s fixes the tag to %s, which goes before what the registry says", by, r.digest)
		default:
			return fmt.Sprintf("%s fixes the tag to %s: a tag stands for one digest on a node, and of several the lowest counts", by, r.digest)
		}
	}
	return ""
}

// conflict adds what is lost on one node.
func (s *sum) conflict(h *here) {
	for i, rivals := range s.rivals {
		if words := h.facts[i].loses(s.demand, rivals, h.view); words != "" {
			s.fail(h, i, &v1alpha1.StoreImageStatus{Reason: v1alpha1.ReasonConflict, Message: words})
		}
	}
}
