// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"fmt"
	"math"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/condition"
	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
)

const (
	// firstRetry and maxRetry are the pauses after failures; each is twice the one before.
	firstRetry = 10 * time.Second
	maxRetry   = 5 * time.Minute
	// limitedRetry is the first pause where a registry says that it is asked too much, and maxRetryAfter how long it may
	// itself tell us to wait.
	limitedRetry  = time.Minute
	maxRetryAfter = time.Hour
	// interruptedRetry is the pause after a pull that the runtime's end interrupted.
	interruptedRetry = 2 * time.Second
	// diskRetry is how soon a full disk is looked at again.
	diskRetry = time.Minute
)

// tried is what may fail: an act, of an entry.
type tried struct{ act, image string }

func pullOf(image string) tried    { return tried{"pull", image} }
func recheckOf(image string) tried { return tried{"recheck", image} }
func pinOf(image string) tried     { return tried{"pin", image} }
func removalOf(image string) tried { return tried{"remove", image} }

// try is an act that failed, and when it is tried again.
type try struct {
	// about tells what was tried: when it changes, what failed before says nothing any more.
	about           string
	attempts        int32
	last, next      time.Time
	reason, message string
}

// interrupted is the try after something else than the image ended it.
func (t try) interrupted(about string, now time.Time) try {
	if t.about != about {
		t = try{about: about}
	}
	t.next = now.Add(interruptedRetry)
	return t
}

// describe puts the failure into a status; an interruption alone is none.
func (t try) describe(st *v1alpha1.StoreImageStatus) {
	if t.attempts == 0 {
		return
	}
	at := metav1.NewTime(t.last.Truncate(time.Second))
	st.State, st.Reason, st.Message, st.Attempts, st.LastAttemptTime = v1alpha1.ImageFailed, t.reason, t.message, t.attempts, &at
}

// failed is the try after one more failure.
func (t try) failed(about string, err error, now time.Time) try {
	if t.about != about {
		t = try{about: about}
	}
	t.attempts++
	t.last = now
	t.reason, t.message = string(engine.ReasonOf(err)), cut(err.Error())
	t.next = now.Add(pause(t.attempts, err))
	return t
}

// pause grows from try to try, and is never quite the same on two nodes.
func pause(attempts int32, err error) time.Duration {
	first := firstRetry
	if engine.ReasonOf(err) == engine.RateLimited {
		first = limitedRetry
	}
	wait := time.Duration(float64(first) * math.Pow(2, float64(min(attempts, 16)-1)))
	wait = min(wait, maxRetry)
	wait = time.Duration(float64(wait) * (0.8 + 0.4*rand.Float64()))
	return max(wait, retryAfter(err.Error()))
}

// retryAfterText is what registries say and runtimes pass on, as a number of seconds or a span of time.
var retryAfterText = regexp.MustCompile(`(?i)(?:retry|try again)[- ](?:after|in)"?[:=]?\s*"?([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h)?`)

func retryAfter(text string) time.Duration {
	found := retryAfterText.FindStringSubmatch(text)
	if found == nil {
		return 0
	}
	number, err := strconv.ParseFloat(found[1], 64)
	if err != nil {
		return 0
	}
	unit := map[string]time.Duration{"ms": time.Millisecond, "": time.Second, "s": time.Second, "m": time.Minute, "h": time.Hour}[strings.ToLower(found[2])]
	return time.Duration(min(number*float64(unit), float64(maxRetryAfter)))
}

// about tells apart what a pull was tried with: another digest, or other credentials, make it another pull.
func (d *decider) about(e v1alpha1.StoreImage) string { return aboutOf(e, d.spec.Credentials) }

func aboutOf(e v1alpha1.StoreImage, credentials []v1alpha1.SealedCredentials) string {
	about := []string{e.Image + "@" + e.Digest}
	for _, c := range credentials {
		if slices.Contains(e.Credentials, c.Name) {
			about = append(about, c.Name, c.SecretUID, c.SecretResourceVersion)
		}
	}
	return strings.Join(about, " ")
}

// try is the failure that counts for an entry now.
func (d *decider) try(e v1alpha1.StoreImage) (try, bool) {
	t, ok := d.tries[pullOf(e.Image)]
	if ok && t.about != d.about(e) {
		d.forget = append(d.forget, pullOf(e.Image))
		return try{}, false
	}
	return t, ok
}

// absent is about an image that is not here, or not as it should be.
func (d *decider) absent(e v1alpha1.StoreImage, st v1alpha1.StoreImageStatus, want oci.Ref) v1alpha1.StoreImageStatus {
	t, tried := d.try(e)
	if tried {
		t.describe(&st)
	}
	switch {
	case e.Hold != "":
		if t.attempts == 0 {
			st.Reason, st.Message = string(e.Hold), holdText[e.Hold]
		} else {
			d.hasten = append(d.hasten, pullOf(e.Image))
		}
		return st
	case d.sealed(e) != "":
		st.State, st.Reason, st.Message = v1alpha1.ImageWaiting, v1alpha1.ReasonWaitingForCredentials, d.sealed(e)
		return st
	case tried && d.waits(t):
		return st
	}
	if full := d.full(e, d.records[e.Image]); full != "" {
		st.State, st.Reason, st.Message = v1alpha1.ImageFailed, string(engine.InsufficientDisk), full
		d.wake.or(d.now.Add(diskRetry))
		return st
	}
	if d.crowded(e) {
		st.Reason, st.Message = string(engine.InsufficientDisk), "it waits to see how much room the pulls before it leave"
		return st
	}
	st.Pulled, st.Digest = true, e.Digest
	st.Pinned = st.Pinned || e.Pin && d.canPin
	d.pull = append(d.pull, order{entry: e, want: want, pin: e.Pin && d.canPin && d.reservePin(e)})
	d.held += need(e.Size)
	return st
}

var holdText = map[v1alpha1.HoldReason]string{
	v1alpha1.HoldNode:      "no pull starts while this node is not available",
	v1alpha1.HoldTurn:      "as many nodes as allowed are pulling",
	v1alpha1.HoldScout:     "the registry refused the controller, and another node tries first",
	v1alpha1.HoldSuspended: "the cache is suspended",
}

// full is why the disk does not take a pull; empty where it does, or cannot be seen.
func (d *decider) full(e v1alpha1.StoreImage, before v1alpha1.StoreImageStatus) string {
	if d.disk.Capacity == 0 {
		return ""
	}
	used, limit := d.used()
	switch {
	case used+need(e.Size) <= limit:
		return ""
	case before.Reason == string(engine.InsufficientDisk) && before.State == v1alpha1.ImageFailed:
		return before.Message // Its numbers move with every log line; that is no news.
	case e.Size == 0:
		return fmt.Sprintf("the disk is %d %% full, and pulls stop at %d %%", 100*used/d.disk.Capacity, d.limits.disk)
	}
	return fmt.Sprintf("it takes about %s, compressed and unpacked: the disk of %s, %d %% full now, would be more than %d %% full",
		units.HumanSize(float64(need(e.Size))), units.HumanSize(float64(d.disk.Capacity)), 100*used/d.disk.Capacity, d.limits.disk)
}

// used is what the disk holds, as the kubelet counts, and what it may.
func (d *decider) used() (used, limit int64) {
	return d.disk.Capacity - d.disk.Available, d.disk.Capacity / 100 * int64(d.limits.disk)
}

// crowded reports whether a pull fits, but perhaps not beside those that come before it.
func (d *decider) crowded(e v1alpha1.StoreImage) bool {
	used, limit := d.used()
	return d.disk.Capacity > 0 && e.Size > 0 && d.held > 0 && used+d.held+need(e.Size) > limit
}

// reservePin reports whether an image that is still to come may be pinned as it comes, and takes it out of what may be pinned. One of
// which the size is not known is pinned once it is here.
func (d *decider) reservePin(e v1alpha1.StoreImage) bool {
	switch {
	case d.disk.Capacity == 0:
		return true
	case e.Size == 0 || need(e.Size) > d.budget:
		return false
	}
	d.budget -= need(e.Size)
	return true
}

// sortPulls puts the new ones before those that have failed.
func (d *decider) sortPulls() {
	slices.SortStableFunc(d.pull, func(a, b order) int { return int(d.tries[a.key()].attempts - d.tries[b.key()].attempts) })
}

// grant lets so many of the pulls begin.
func (d *decision) grant(number int) {
	chosen := d.pull[:min(max(number, 0), len(d.pull))]
	starts := map[string]bool{}
	for _, o := range chosen {
		starts[o.entry.Image] = true
	}
	d.pull, d.queued = chosen, d.pull[len(chosen):]
	for i := range d.images {
		if st := &d.images[i]; starts[st.Image] && st.State == v1alpha1.ImageWaiting {
			st.State = v1alpha1.ImagePulling
		}
	}
}

// maxMessage bounds a message in the status.
const maxMessage = 256

func cut(text string) string { return condition.Cut(text, maxMessage) }
