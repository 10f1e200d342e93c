// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/table"
)

const (
	// rateSpan is the time over which a rate is taken: long enough to be calm, short enough to follow the network.
	rateSpan = 10 * time.Second
	// leastSpan is how long is looked on before a rate is told, and longestETA beyond what none is guessed.
	leastSpan, longestETA = 3 * time.Second, 24 * time.Hour
)

// meter makes a rate of how many bytes were left when.
type meter struct{ readings []reading }

type reading struct {
	at   time.Time
	left int64
}

// add takes in what is left now. More than before means that more is known of by now, and that what was measured is over.
func (m *meter) add(left int64, now time.Time) {
	if n := len(m.readings); n > 0 && left > m.readings[n-1].left {
		m.readings = nil
	}
	m.readings = append(m.readings, reading{now, left})
	old := slices.IndexFunc(m.readings, func(s reading) bool { return now.Sub(s.at) <= rateSpan })
	m.readings = m.readings[max(0, old-1):] // One before the span, so that it is whole.
}

// String is what is left, how fast it becomes less, and when it will be over, as far as that is known.
func (m *meter) String() string {
	if len(m.readings) == 0 {
		return ""
	}
	first, last := m.readings[0], m.readings[len(m.readings)-1]
	parts := []string{table.Size(last.left) + " left"}
	span := last.at.Sub(first.at)
	if moved := first.left - last.left; last.left > 0 && moved > 0 && span >= leastSpan {
		rate := float64(moved) / span.Seconds()
		parts = append(parts, table.Size(int64(rate))+"/s")
		if seconds := float64(last.left) / rate; seconds < longestETA.Seconds() {
			parts = append(parts, "~"+(time.Duration(max(1, math.Round(seconds)))*time.Second).String())
		}
	}
	return strings.Join(parts, ", ")
}

// underway is what the nodes do about one image of a cache.
type underway struct {
	pulling int
	left    int64
	unsized bool // some of them pull it, and nobody knows how much that is
}

// underwayOf adds up what the stores say of those images of a cache that are still to come, by the names that the stores have.
func underwayOf(stores map[string]*v1alpha1.ImageStore, key string) map[string]underway {
	found := map[string]underway{}
	for _, store := range stores {
		said := map[string]*v1alpha1.StoreImageStatus{}
		for i := range store.Status.Images {
			said[store.Status.Images[i].Image] = &store.Status.Images[i]
		}
		for i := range store.Spec.Images {
			entry := &store.Spec.Images[i]
			if entry.Released || entry.Hold == v1alpha1.HoldNode || !slices.Contains(entry.Caches, key) {
				continue
			}
			u := found[entry.Image]
			if u.add(entry, said[entry.Image]) {
				found[entry.Image] = u
			}
		}
	}
	return found
}

// add reports whether the image is to come on one more node.
func (u *underway) add(entry *v1alpha1.StoreImage, st *v1alpha1.StoreImageStatus) bool {
	var progress *v1alpha1.PullProgress
	if st != nil {
		if st.State == v1alpha1.ImagePresent && (entry.Digest == "" || st.Digest == entry.Digest) {
			return false
		}
		if st.State == v1alpha1.ImageFailed && st.Progress == nil {
			return false // It is tried again later.
		}
		if st.State == v1alpha1.ImagePulling || st.Progress != nil {
			u.pulling++
		}
		progress = st.Progress
	}
	left := entry.Size
	if progress != nil && progress.TotalBytes > 0 {
		left = max(0, progress.TotalBytes-progress.DoneBytes)
	} else if left == 0 {
		u.unsized = true
	}
	u.left += left
	return true
}

// nameInStore is how the stores call what a cache's list has.
func nameInStore(written string) string {
	ref, err := oci.Parse(written)
	if err != nil {
		return written
	}
	return ref.WithoutDigest().String()
}

// looked gives the texts for the columns PULLING and BYTES LEFT of one image.
func (s *cacheStatus) looked(image v1alpha1.CachedImageStatus, nodes int32) (pulling, left string) {
	u := s.underway[nameInStore(image.Image)]
	switch {
	case len(s.underway) == 0:
		return "", ""
	case image.ReadyNodes >= nodes:
		return "0", s.output.size0(0)
	case u.unsized && u.left == 0:
		return fmt.Sprint(u.pulling), "?"
	}
	return fmt.Sprint(u.pulling), s.output.size0(u.left)
}
