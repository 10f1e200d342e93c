// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"io"
	"strings"
	"sync"
	"time"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/node"
	"orlop.dev/orlop/internal/plan"
	"orlop.dev/orlop/internal/session"
)

const (
	// firstReconnect and maxReconnect are the pauses between attempts to reach the runtime.
	firstReconnect = 250 * time.Millisecond
	maxReconnect   = 10 * time.Second
	// openTimeout bounds one attempt.
	openTimeout = 30 * time.Second
)

// connection keeps the agent connected to the runtime. current and described belong to the goroutine of Run.
type connection struct {
	current   engine.Interface
	last      engine.Interface // as current, and still when it is away
	described engine.Description

	mu       sync.Mutex
	expected *string // what the store says, once it was seen
	renewed  chan struct{}
	end      context.CancelFunc // ends the connection of this moment

	// acting has room for the one removal under way: the connection by which it began is closed after it, since it is the way back too.
	acting chan struct{}
}

// expect tells which runtime must answer.
func (c *connection) expect(runtime string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.expected != nil && *c.expected == runtime {
		return
	}
	// Another version alone is found out by asking; to look for it anew would cost a restart's worth of work.
	renew := c.expected == nil || kindOf(*c.expected) != kindOf(runtime)
	c.expected = &runtime
	if renew {
		c.again()
	}
}

// lost ends the connection, and has another one made.
func (c *connection) lost() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.again()
}

// again is called with the lock held.
func (c *connection) again() {
	if c.end != nil {
		c.end()
	}
	select {
	case c.signal() <- struct{}{}:
	default:
	}
}

// signal is called with the lock held.
func (c *connection) signal() chan struct{} {
	if c.renewed == nil {
		c.renewed = make(chan struct{}, 1)
	}
	return c.renewed
}

func (c *connection) begin(ctx context.Context) (runtime string, known bool, live context.Context, renewed <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	live, c.end = context.WithCancel(ctx)
	if c.expected != nil {
		runtime, known = *c.expected, true
	}
	return runtime, known, live, c.signal()
}

// keep connects, and connects again, until ctx ends.
func (c *connection) keep(ctx context.Context, a *Agent) {
	pause := firstReconnect
	for ctx.Err() == nil {
		runtime, known, live, renewed := c.begin(ctx)
		if known {
			began := time.Now()
			err := a.connected(live, runtime)
			if ctx.Err() == nil {
				a.post(func() { a.away(err) })
			}
			if time.Since(began) > maxReconnect {
				pause = firstReconnect
			}
		}
		c.end()
		if !known {
			select {
			case <-ctx.Done():
			case <-renewed:
			}
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, maxReconnect)
	}
}

// connected connects, and stays until the connection is lost. It is no part of the goroutine of Run.
func (a *Agent) connected(ctx context.Context, runtime string) error {
	rt, described, err := a.connect(ctx, runtime)
	if err != nil {
		return err
	}
	defer a.jobs.Go(func() {
		a.rt.acting <- struct{}{}
		release(rt)
		<-a.rt.acting
	})
	a.post(func() { a.here(rt, described) })
	if watcher, ok := engine.As[engine.Watcher](rt); ok {
		return watcher.Watch(ctx, func() { a.post(a.changed) })
	}
	<-ctx.Done()
	return nil
}

// carry carries a plan of removals out.
func (c *connection) carry(ctx context.Context, n *node.Node, p plan.Plan) (session.Result, error) {
	c.acting <- struct{}{}
	defer func() { <-c.acting }()
	return n.Act(ctx, p, nil)
}

func (a *Agent) connect(ctx context.Context, runtime string) (engine.Interface, engine.Description, error) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	rt, err := a.cfg.Open(ctx, runtime)
	if err != nil {
		return nil, engine.Description{}, err
	}
	described, err := rt.Describe(ctx)
	if err != nil {
		release(rt)
	}
	return rt, described, err
}

func release(rt engine.Interface) {
	if closer, ok := engine.As[io.Closer](rt); ok {
		_ = closer.Close()
	}
}

func (a *Agent) here(rt engine.Interface, described engine.Description) {
	a.rt.current, a.rt.last, a.rt.described = rt, rt, described
	a.view.fresh, a.view.looking = false, false
	a.view.want(time.Now())
	a.cfg.Log.Info("the runtime answers", "node", a.cfg.Node, "runtime", a.runtimeName(), "endpoint", described.Endpoint)
}

// away notes that the runtime is gone. A nil err means that it was let go of, to look for another.
func (a *Agent) away(err error) {
	a.rt.current = nil
	a.view.fresh, a.view.looking = false, false
	if err != nil {
		a.view.err = err
	}
}

// kindOf is the name in what a Node reports, such as containerd://2.4.2.
func kindOf(reported string) string {
	kind, _, _ := strings.Cut(reported, ":")
	return kind
}
