// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagecache

import (
	"hash/fnv"
	"math/rand/v2"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"orlop.dev/orlop/internal/catalog"
	"orlop.dev/orlop/internal/demand"
)

const (
	// A refused name is asked for again after retryFirst, doubling to retryMost.
	retryFirst, retryMost = 10 * time.Second, 5 * time.Minute
	// missingAgain is how often a tag is asked for whose digest the nodes cannot get any more.
	missingAgain = time.Minute
)

// occasion is what decides, beside the image itself, whether a registry is asked.
type occasion struct {
	now     time.Time
	refresh time.Duration // 0: never
	forced  time.Time     // everything asked before is to be asked again; zero: nothing
	next    time.Time     // the end of the pause after a refusal
	missing bool          // nodes say that the digest is not there
}

// due is when a registry is to be asked for an image: not after now means at once, zero never.
func due(img demand.Image, e catalog.Entry, o occasion) time.Time {
	switch {
	case img.Ref.Digest() != "":
		if e.Asked.IsZero() && len(e.Sizes) == 0 {
			return o.now // Its size is nice to have; nothing depends on the answer.
		}
		return time.Time{}
	case e.Asked.IsZero() && e.Digest == "" && e.Refusal == nil:
		return o.now
	case !o.forced.IsZero() && e.Asked.Before(o.forced):
		return o.now
	case e.Refusal != nil && (e.Digest == "" || img.Always):
		return later(o.next, o.now)
	case o.missing:
		return later(e.Asked.Add(missingAgain), o.now)
	case img.Always && o.refresh > 0:
		return later(e.Asked.Add(o.refresh), o.now)
	}
	return time.Time{}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// jittered is the interval of one cache, up to a tenth off, so that caches made together are not refreshed together.
func jittered(interval time.Duration, uid types.UID) time.Duration {
	h := fnv.New32a()
	_, _ = h.Write([]byte(uid)) // It never fails.
	return interval + time.Duration(float64(interval)*(float64(h.Sum32()%2001)/1000-1)/10)
}

// pause is how long a name is left alone after so many refusals in a row.
func pause(refusals int) time.Duration {
	p := retryMost
	if refusals < 10 {
		p = min(retryMost, retryFirst<<max(0, refusals-1))
	}
	return p + time.Duration(rand.Int64N(int64(p)/5)) - p/10
}
