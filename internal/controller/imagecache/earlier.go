// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagecache

import (
	"slices"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/demand"
)

// maxCaches is how many caches an image of a store names at most, as the schema has it.
const maxCaches = 8

// earlier is which failures the status tells already, of this very spec. They are told until their node says otherwise.
type earlier struct {
	all     bool // more than the status has room for
	told    map[nodeImage]bool
	leftOut map[string]bool // images for which some node has no room
}

type nodeImage struct{ node, image string }

func earlierOf(status *v1alpha1.ImageCacheStatus, generation int64) earlier {
	if status.ObservedGeneration != generation {
		return earlier{}
	}
	e := earlier{all: status.OmittedFailures > 0, told: make(map[nodeImage]bool, len(status.Failures))}
	for _, f := range status.Failures {
		e.told[nodeImage{f.Node, f.Image}] = true
	}
	for i := range status.Images {
		if status.Images[i].Reason == v1alpha1.ReasonTooManyImages {
			if e.leftOut == nil {
				e.leftOut = map[string]bool{}
			}
			e.leftOut[status.Images[i].Image] = true
		}
	}
	return e
}

// answers are the images of a node whose failures are about this cache. What failed before the node knew of the cache may have
// failed for want of just the credentials that the cache brings.
type answers struct {
	read   bool
	behind bool            // the agent has not seen its spec yet
	others map[string]bool // wanted by other caches only, as far as the spec says yet
}

func (a *answers) about(d demand.Cache, store *v1alpha1.ImageStore, image string) bool {
	if !a.read {
		a.of(d.Key.String(), store)
	}
	return !a.behind && !a.others[image]
}

func (a *answers) of(key string, store *v1alpha1.ImageStore) {
	a.read, a.others = true, map[string]bool{}
	a.behind = store.Status.ObservedRevision < store.Spec.Revision
	for i := range store.Spec.Images {
		entry := &store.Spec.Images[i]
		if len(entry.Caches) < maxCaches && !slices.Contains(entry.Caches, key) {
			a.others[entry.Image] = true
		}
	}
}
