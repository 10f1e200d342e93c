// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package nodejob

import (
	"context"
	"sync"
	"time"
)

// agents knows on which nodes there is an agent. It asks once for each change of an agent's pod, as there are many nodes and jobs.
type agents struct {
	ask func(ctx context.Context, node string) (expected bool, until time.Time, err error)

	mu    sync.Mutex
	known map[string]agent
	// lost is when an agent was seen to go. One that was there a moment ago is expected back: its pod is being replaced.
	lost map[string]time.Time
	// changes counts: what was asked before one is not kept after it.
	changes uint64
}

type agent struct {
	expected bool
	until    time.Time // zero: until something happens
	since    time.Time // when it was found not to be there
}

func newAgents(ask func(ctx context.Context, node string) (bool, time.Time, error)) *agents {
	return &agents{ask: ask, known: map[string]agent{}, lost: map[string]time.Time{}}
}

// look tells whether the agent is there or about to be, until when that is so if nothing happens, and since when it is not.
func (a *agents) look(ctx context.Context, node string, now time.Time) (expected bool, until, since time.Time, err error) {
	a.mu.Lock()
	at, ok := a.known[node]
	changes := a.changes
	a.mu.Unlock()
	if ok && (at.until.IsZero() || now.Before(at.until)) {
		return at.expected, at.until, at.since, nil
	}
	found := agent{since: at.since}
	if found.expected, found.until, err = a.ask(ctx, node); err != nil {
		return false, until, since, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if back := a.lost[node].Add(patience); !found.expected && now.Before(back) {
		found.expected, found.until = true, back
	}
	switch {
	case found.expected:
		found.since = time.Time{}
	case found.since.IsZero():
		found.since = now
	}
	if changes == a.changes {
		a.known[node] = found
	}
	return found.expected, found.until, found.since, nil
}

// changed has the node's agent asked for again; lost: it was there, and is no more.
func (a *agents) changed(node string, lost bool, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.changes++
	at := a.known[node]
	if at.expected || at.since.IsZero() {
		delete(a.known, node)
	} else {
		at.until = now // Since when it is away is kept.
		a.known[node] = at
	}
	if lost {
		a.lost[node] = now
	}
}

// forget drops a node that is gone.
func (a *agents) forget(node string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.known, node)
	delete(a.lost, node)
}
