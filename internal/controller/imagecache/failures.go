// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagecache

import (
	"cmp"
	"slices"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/condition"
	"orlop.dev/orlop/internal/engine"
)

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

// isFailure reports whether it could not be had, and that was not cured yet. An agent that tries again says so, and keeps the reason until it knows; that its
// credentials are yet to be sealed to its new key is none.
func isFailure(s *v1alpha1.StoreImageStatus) bool {
	switch s.State {
	case v1alpha1.ImageFailed:
		return true
	case v1alpha1.ImagePulling, v1alpha1.ImageWaiting:
		return s.Reason == string(engine.InsufficientDisk) || s.Attempts > 0 && engine.Reason(s.Reason) != "" && s.Reason != v1alpha1.ReasonWaitingForCredentials
	default:
		return false
	}
}

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
