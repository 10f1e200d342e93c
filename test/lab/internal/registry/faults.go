// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// Fault changes how the registry answers the requests it applies to.
type Fault struct {
	// Images is a pattern of host and repository, such as docker.io/acme/*; a star stands for any text, and nothing for all.
	Images string `json:"images,omitempty"`
	// Only limits the fault to manifests or to blobs.
	Only string `json:"only,omitempty"`
	// Status, when set, is answered instead of content.
	Status int `json:"status,omitempty"`
	// RetryAfter goes with Status.
	RetryAfter time.Duration `json:"retryAfter,omitempty"`
	// BytesPerSecond, when set, slows each body.
	BytesPerSecond int64 `json:"bytesPerSecond,omitempty"`
	// Stall stops each body after StallAfter bytes, until the fault is cleared or the client gives up.
	Stall      bool  `json:"stall,omitempty"`
	StallAfter int64 `json:"stallAfter,omitempty"`
	// Times, when set, is how many requests the fault hits before it is used up.
	Times int `json:"times,omitempty"`
}

// Count is how often something was asked for.
type Count struct {
	Image    string `json:"image"`
	Kind     string `json:"kind"`
	Requests int    `json:"requests"`
	Bytes    int64  `json:"bytes"`
}

// Faults holds the faults and the counts of one lab's registries.
type Faults struct {
	mu     sync.Mutex
	rules  []*rule
	counts map[[2]string]*Count
}

type rule struct {
	Fault
	images  *regexp.Regexp
	left    int
	spent   bool
	cleared chan struct{}
}

// Add puts a fault in force; the first that applies wins.
func (f *Faults) Add(fault Fault) error {
	switch fault.Only {
	case "", "manifests", "blobs":
	default:
		return fmt.Errorf("fault only on %q: it is manifests or blobs", fault.Only)
	}
	if fault.Status != 0 && (fault.Status < 400 || fault.Status > 599) {
		return fmt.Errorf("fault with status %d: it is between 400 and 599", fault.Status)
	}
	if fault.Status == 0 && fault.BytesPerSecond <= 0 && !fault.Stall {
		return fmt.Errorf("fault without effect: give a status, a rate, or a stall")
	}
	pattern := strings.ReplaceAll(regexp.QuoteMeta(cmp.Or(fault.Images, "*")), `\*`, ".*")
	images, err := regexp.Compile("^" + pattern + "$")
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = append(f.rules, &rule{Fault: fault, images: images, left: fault.Times, cleared: make(chan struct{})})
	return nil
}

// Clear ends all faults; bodies that stall go on.
func (f *Faults) Clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.rules {
		close(r.cleared)
	}
	f.rules = nil
}

// List is the faults in force.
func (f *Faults) List() []Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	faults := make([]Fault, 0, len(f.rules))
	for _, r := range f.rules {
		if !r.spent {
			faults = append(faults, r.Fault)
		}
	}
	return faults
}

// Counts are the requests so far, in the order of their images.
func (f *Faults) Counts() []Count {
	f.mu.Lock()
	defer f.mu.Unlock()
	counts := make([]Count, 0, len(f.counts))
	for _, c := range f.counts {
		counts = append(counts, *c)
	}
	slices.SortFunc(counts, func(a, b Count) int {
		return cmp.Or(cmp.Compare(a.Image, b.Image), cmp.Compare(a.Kind, b.Kind))
	})
	return counts
}

// ResetCounts forgets the requests so far.
func (f *Faults) ResetCounts() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counts = nil
}

// hit counts the request and returns the fault that applies to it.
func (f *Faults) hit(image, kind string) *rule {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count(image, kind).Requests++
	for _, r := range f.rules {
		if r.spent || (r.Only != "" && r.Only != kind) || !r.images.MatchString(image) {
			continue
		}
		if r.Times > 0 {
			// It stays in the list, so that clearing it frees the bodies that it stalls.
			r.left--
			r.spent = r.left == 0
		}
		return r
	}
	return nil
}

func (f *Faults) sent(image, kind string, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count(image, kind).Bytes += int64(n)
}

func (f *Faults) count(image, kind string) *Count {
	if f.counts == nil {
		f.counts = map[[2]string]*Count{}
	}
	key := [2]string{image, kind}
	if f.counts[key] == nil {
		f.counts[key] = &Count{Image: image, Kind: kind}
	}
	return f.counts[key]
}

// refuse answers as registries do, with an error body that clients show.
func (r *rule) refuse(w http.ResponseWriter) {
	code := map[int]string{
		http.StatusUnauthorized: "UNAUTHORIZED", http.StatusForbidden: "DENIED",
		http.StatusNotFound: "NAME_UNKNOWN", http.StatusTooManyRequests: "TOOMANYREQUESTS",
	}[r.Status]
	w.Header().Set("Content-Type", "application/json")
	if r.RetryAfter > 0 {
		w.Header().Set("Retry-After", fmt.Sprint(int(r.RetryAfter.Seconds())))
	}
	w.WriteHeader(r.Status)
	fmt.Fprintf(w, `{"errors":[{"code":%q,"message":%q}]}`, cmp.Or(code, "UNAVAILABLE"), http.StatusText(r.Status)+" (a fault of the lab)")
}

// body passes a response's bytes on, in the way the fault says.
type body struct {
	io.ReadCloser
	done  <-chan struct{}
	rule  *rule
	read  int64
	count func(int)
}

// slice is how often in a second a slowed body moves.
const slice = 20

func (b *body) Read(p []byte) (int, error) {
	if r := b.rule; r != nil {
		if r.BytesPerSecond > 0 {
			p = p[:min(int64(len(p)), max(1, r.BytesPerSecond/slice))]
			b.pause(time.Duration(float64(len(p)) / float64(r.BytesPerSecond) * float64(time.Second)))
		}
		if r.Stall {
			if left := r.StallAfter - b.read; left > 0 {
				p = p[:min(int64(len(p)), left)]
			} else {
				b.pause(0)
			}
		}
	}
	n, err := b.ReadCloser.Read(p)
	b.read += int64(n)
	b.count(n)
	return n, err
}

// pause waits for the time, or without one until the fault is cleared; the client's leaving ends both.
func (b *body) pause(d time.Duration) {
	var after <-chan time.Time
	if d > 0 {
		after = time.After(d)
	}
	select {
	case <-after:
	case <-b.rule.cleared:
		b.rule = nil
	case <-b.done:
	}
}
