// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"sync"
	"time"

	"orlop.dev/orlop/internal/engine"
)

const (
	// perRegistry and inAll are how many questions are under way at once: registries limit who asks much.
	perRegistry, inAll = 8, 32
	// perStranger and ofStrangers are those for registries of which it is not known that they answer, or which do not: they take
	// no place of those that do, and few of each other's.
	perStranger, ofStrangers = 4, 64
	// downFor is how long a registry that did not answer at all is not asked again: what waits in its queue would wait in vain.
	downFor = 2 * time.Second
)

// slots are the places for questions to all registries: those that answer, and the others.
type slots struct{ known, strangers chan struct{} }

// host is what is known of one registry at the moment.
type host struct {
	slots, probes chan struct{}

	mu       sync.Mutex
	answered time.Time
	silent   bool      // it did not answer at all when it was last asked
	until    time.Time // no question before
	why      error
}

func (r *Resolver) host(registry string) (*host, slots) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.hosts == nil {
		r.hosts, r.slots = map[string]*host{}, slots{make(chan struct{}, inAll), make(chan struct{}, ofStrangers)}
	}
	if r.hosts[registry] == nil {
		r.hosts[registry] = &host{slots: make(chan struct{}, perRegistry), probes: make(chan struct{}, perStranger)}
	}
	return r.hosts[registry], r.slots
}

// held are the places that a question has.
type held []chan struct{}

func (h *held) enter(ctx context.Context, slots chan struct{}) error {
	select {
	case slots <- struct{}{}:
		*h = append(*h, slots)
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (h *held) leave() {
	for _, slots := range *h {
		<-slots
	}
	*h = nil
}

// admit waits for the turn of a question. Whoever waited while the registry was a stranger is let in as soon as it is none.
func (h *host) admit(ctx context.Context, all slots) (places held, err error) {
	if err := places.enter(ctx, h.slots); err != nil {
		return places, err
	}
	if h.known() {
		return places, places.enter(ctx, all.known)
	}
	var probe held
	if err := probe.enter(ctx, h.probes); err != nil {
		return places, err
	}
	if h.known() {
		probe.leave()
		return places, places.enter(ctx, all.known)
	}
	places = append(places, probe...)
	if h.resting() {
		return places, nil // It will not be asked: to wait for a place would only keep it from others.
	}
	return places, places.enter(ctx, all.strangers)
}

// known reports whether the registry answered when it was last asked.
func (h *host) known() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.answered.IsZero() && !h.silent
}

func (h *host) paused() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if time.Now().Before(h.until) {
		return h.why
	}
	return nil
}

func (h *host) resting() bool { return h.paused() != nil }

func (h *host) answer() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answered, h.silent = time.Now(), false
}

// refusal leaves the registry alone for a while if it asked for that, or if nobody had an answer since began.
func (h *host) refusal(e *Error, began time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case e.Reason == engine.RateLimited:
		h.until, h.why = time.Now().Add(e.RetryAfter), e
	case e.Status != 0:
		h.answered, h.silent = time.Now(), false
	case !h.answered.After(began):
		h.until, h.why, h.silent = time.Now().Add(downFor), e, true
	}
}
