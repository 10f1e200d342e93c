// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagestore

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"orlop.dev/orlop/internal/condition"
)

// maxNote is what the API server takes for an event's note, less our own words.
const maxNote = 900

// told is what was said of each node as last, so that it is not said again.
type told struct {
	mu   sync.Mutex
	last map[string]saying
	left map[string]map[string]bool // images that found no room, of each node of which that is known
}

type saying struct {
	left, waiting, unsealed int
	// unheard counts NodeJobs that found no room.
	unheard int
	refusal string
}

func newTold() *told { return &told{last: map[string]saying{}, left: map[string]map[string]bool{}} }

// news notes what is to be said now, and gives what was said before.
func (t *told) news(node string, now saying) (before saying) {
	t.mu.Lock()
	defer t.mu.Unlock()
	before = t.last[node]
	if now == (saying{}) {
		delete(t.last, node)
	} else {
		t.last[node] = now
	}
	return before
}

// refusal is what the API server said when the node's store was last written; empty: it was taken.
func (t *told) refusal(node string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last[node].refusal
}

// leave notes which images find no room on the node, and reports whether they are others than before.
func (t *told) leave(node string, images []string) (others bool) {
	left := make(map[string]bool, len(images))
	for _, image := range images {
		left[image] = true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	others = !maps.Equal(left, t.left[node])
	t.left[node] = left
	return others
}

// leftOut are the images that found no room on the node. They are not to be changed.
func (t *told) leftOut(node string) (images map[string]bool, known bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	images, known = t.left[node]
	return images, known
}

func (t *told) forget(node string) {
	t.news(node, saying{})
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.left, node)
}

// tell makes events of what changed: images that found no room in the store, and writes that the API server refused, in its words.
func (c *Controller) tell(ctx context.Context, v *view, now saying, err error) {
	node, store := v.node, v.store
	if refused(err) {
		now.refusal = err.Error()
	}
	before := c.told.news(node.Name, now)
	others := len(v.unresolved) == 0 && c.told.leave(node.Name, v.left) // Else there may be more.
	if (others || now.refusal != before.refusal) && c.Wake != nil {
		for _, cache := range v.caches {
			c.Wake(ctx, cache.Key)
		}
	}
	if c.Recorder == nil {
		return
	}
	c.tellRoom(store, before.unheard, now.unheard)
	if now.refusal != "" && now.refusal != before.refusal {
		c.Recorder.Eventf(node, nil, corev1.EventTypeWarning, "ImageStoreRefused", "Write",
			"The ImageStore of this node was not written: %s", condition.Cut(now.refusal, maxNote))
	}
	if now.unsealed > 0 && now.unsealed != before.unsealed && store.UID != "" {
		c.Recorder.Eventf(store, nil, corev1.EventTypeWarning, "TooManyCredentials", "Assign",
			"%d pull secrets were left out: they are too large, or more than can be told to one node; what needs them is pulled without", now.unsealed)
	}
	if left := now.left; left > 0 && left != before.left && store.UID != "" {
		c.Recorder.Eventf(store, nil, corev1.EventTypeWarning, "TooManyImages", "Assign",
			"%d images of the caches that select this node were left out: it holds as many as can be told to one node (%d, or %d KB): %s",
			left, maxImages-forMoves, (maxImageBytes-bytesForMoves)>>10, some(v.left))
	}
	if now.waiting > 0 && now.waiting != before.waiting && store.UID != "" {
		c.Recorder.Eventf(store, nil, corev1.EventTypeNormal, "TagsWait", "Assign",
			"%d tags that have moved wait until the node has let go of others: %s", now.waiting, some(v.waiting))
	}
}

// some are the first few names.
func some(names []string) string {
	const most = 3
	text := strings.Join(names[:min(most, len(names))], ", ")
	if n := len(names) - most; n > 0 {
		text += fmt.Sprintf(" and %d more", n)
	}
	return condition.Cut(text, maxNote/2)
}

// refused reports whether trying again alone will not do.
func refused(err error) bool {
	return apierrors.IsForbidden(err) || apierrors.IsInvalid(err) || apierrors.IsUnauthorized(err) ||
		apierrors.IsRequestEntityTooLargeError(err) || apierrors.IsBadRequest(err)
}
