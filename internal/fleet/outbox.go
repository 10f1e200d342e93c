// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"sync"
	"time"

	"orlop.dev/orlop/internal/session"
)

// outbox has what is still to be said to a node, so that a connection that takes nothing holds up no one. There is room
// for the request and for one update: what is newer takes the place of what was not sent yet.
type outbox struct {
	mu      sync.Mutex
	changed sync.Cond
	request *session.Request
	update  *session.Update
	closed  bool
}

func newOutbox() *outbox {
	o := &outbox{}
	o.changed.L = &o.mu
	return o
}

func (o *outbox) ask(r session.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.request = &r
	o.changed.Signal()
}

func (o *outbox) tell(u session.Update) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return
	}
	if old := o.update; old != nil {
		u.Proceed = u.Proceed || old.Proceed
		if u.Needs == nil {
			u.Needs = old.Needs // A node takes AsOf for that of the needs beside it.
			if u.AsOf.IsZero() {
				u.AsOf = old.AsOf
			}
		}
	}
	o.update = &u
	o.changed.Signal()
}

// close ends it. The request is still sent, an update is not: who is told to end must not go on.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed, o.update = true, nil
	o.changed.Signal()
}

// next waits for the next line; nil: there will be none.
func (o *outbox) next() any {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.request == nil && o.update == nil && !o.closed {
		o.changed.Wait()
	}
	switch {
	case o.request != nil:
		line := *o.request
		o.request, line.Sent = nil, time.Now()
		return line
	case o.update != nil:
		line := *o.update
		o.update, line.Sent = nil, time.Now()
		return line
	}
	return nil
}
