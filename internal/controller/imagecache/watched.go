// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagecache

import (
	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/demand"
)

// note keeps how far a pull is.
func (h *here) note(at int, status *v1alpha1.StoreImageStatus) {
	if status.Progress == nil || status.State == v1alpha1.ImagePresent {
		return
	}
	if h.progress == nil {
		h.progress = map[int]*v1alpha1.PullProgress{}
	}
	h.progress[at] = status.Progress
}

// left is what the node is still to pull. An image that failed counts again once it is being pulled.
func (h *here) left() (bytes int64) {
	platform := platformOf(h.node)
	for i := range h.facts {
		switch p := h.progress[i]; {
		case h.images[i] == heldWell:
		case p != nil && p.TotalBytes > 0:
			bytes += max(0, p.TotalBytes-p.DoneBytes)
		case p != nil || h.images[i] == heldNot:
			bytes += h.facts[i].entry.Sizes[platform]
		}
	}
	return bytes
}

// watch puts into the status what it tells only while somebody looks on, and has the cache looked at again when nobody does.
func (p *pass) watch(status *v1alpha1.ImageCacheStatus) {
	until := demand.WatchedUntil(p.cache.Annotations, p.now)
	if until.IsZero() || p.demand.Suspended || p.demand.Purged {
		return
	}
	left := p.sum.bytesLeft
	status.BytesLeft = &left
	p.at(until)
}
