// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/session"
)

// conversation is one talk with a node, from the request to the result.
type conversation struct {
	*visit
	talk *talk
	pod  string

	silence *time.Timer
	heard   bool // anything at all
	started bool
	stopped *verdict
	told    told

	// These are nil, and never ready, while they are not waited for.
	more    <-chan struct{}  // the node needs more
	tick    <-chan time.Time // it hears how current that is
	late    <-chan struct{}  // the plan is too late, if it is not there yet
	decided <-chan struct{}  // the plan waits for the yes
	slot    chan<- struct{}  // the yes waits for a slot
}

// tellEvery is how often a node hears that what its pods need is still so, where it is: several times within
// plan.NeedsMaxAge, together with markEvery.
const tellEvery = 10 * time.Second

// verdict is how a conversation ended.
type verdict struct {
	state   State
	trouble *Trouble
	exited  bool // the pod's process has ended by itself
	// elsewhere: not the runtime that the Node reports was at the socket. unheard: nothing at all was heard.
	elsewhere, unheard bool
}

// hold says the request, and listens until the result, or until nothing more can come.
func (c *conversation) hold(ctx context.Context) verdict {
	request := c.request()
	c.talk.outbox.ask(request)
	current := time.NewTicker(tellEvery)
	defer current.Stop()
	if c.run.needs != nil {
		c.tick = current.C
	}
	c.late = c.run.asked
	c.silence = time.NewTimer(startedTimeout)
	defer c.silence.Stop()
	interrupt := ctx.Done()
	for {
		select {
		case m, more := <-c.talk.heard:
			if !more {
				return c.broken(ctx)
			}
			if v := c.take(m, request.Confirm); v != nil {
				return *v
			}
		case <-c.decided:
			c.decided = nil
			if ctx.Err() == nil {
				c.decide()
			}
		case <-c.late:
			c.stop(StateSkipped, late(""))
		case c.slot <- struct{}{}:
			c.holding = true
			c.proceed()
		case <-c.more:
			c.tellNews(false)
		case <-c.tick:
			c.tellNews(false)
		case <-c.silence.C:
			return c.silent()
		case <-c.deadline.C:
			c.stop(StateTimedOut, &Trouble{Reason: ReasonTimeout, Message: fmt.Sprintf("not done within %s", c.run.job.Timeout), Advice: "allow more with --timeout"})
		case <-interrupt:
			interrupt = nil
			c.stop(StateInterrupted, &Trouble{Reason: ReasonInterrupted, Message: "interrupted"})
		}
	}
}

func (c *conversation) request() session.Request {
	request := c.run.job.Ask(c.out.Node)
	request.Runtime = c.out.Node.Runtime
	if c.run.needs != nil {
		c.more = c.run.needs.more(c.out.Node.Name)
		request.Needs, c.told = c.run.needs.of(c.out.Node.Name)
		// Also where nobody is asked: the runtime is looked at before anything is removed from it.
		request.Confirm = !request.DryRun
	}
	return request
}

// tellNews tells the node what its pods need, as far as it has not been told, and perhaps to proceed. A connection that
// takes nothing shows as silence.
func (c *conversation) tellNews(proceed bool) {
	u := session.Update{}
	if c.run.needs != nil {
		c.more = c.run.needs.more(c.out.Node.Name)
		u, c.told = c.run.needs.news(c.out.Node.Name, c.told)
	}
	if u.Proceed = proceed; u != (session.Update{}) {
		c.talk.outbox.tell(u)
	}
}

// stop tells the node to end, and gives it a moment for its last word.
func (c *conversation) stop(state State, trouble *Trouble) {
	if c.stopped != nil {
		return
	}
	c.stopped = &verdict{state: state, trouble: trouble}
	c.more, c.tick, c.late, c.decided, c.slot = nil, nil, nil, nil, nil
	c.talk.hush()
	c.silence.Reset(lastWordTimeout)
}

// take hears one message; not nil: it was the last that counts.
func (c *conversation) take(m session.Message, confirm bool) *verdict {
	if m.Started != nil {
		if err := c.sameRuntime(*m.Started); err != nil {
			return &verdict{state: StateFailed, elsewhere: true, trouble: &Trouble{Reason: ReasonNoSocket, Message: err.Error(), Advice: "name the runtime's socket with --runtime-socket"}}
		}
		c.started = true
	}
	if m != (session.Message{}) {
		c.run.heard(c.visit, m)
	}
	c.heard = true
	if c.stopped == nil {
		c.silence.Reset(silenceTimeout)
	}
	switch {
	case m.Result != nil:
		v := c.finish(*m.Result)
		return &v
	case m.Plan != nil && confirm && c.stopped == nil && c.out.Plan != nil: // Else it is late, and about to be told so.
		c.late, c.decided = nil, c.run.decided
		if c.run.job.Confirm != nil {
			c.deadline.Stop()
			c.release()
		}
	}
	return nil
}

// decide acts on the answer to the question.
func (c *conversation) decide() {
	switch {
	case !c.run.yes && len(c.out.Plan.Remove) > 0: // A plan to do nothing needs no yes.
		c.stop(StateDeclined, nil)
	case c.holding:
		c.proceed()
	default:
		c.slot = c.run.slots
	}
}

func (c *conversation) proceed() {
	c.slot = nil
	c.out.Proceeded = true // No one else looks at it before the visit has ended.
	c.deadline.Reset(c.run.job.Timeout)
	c.tellNews(true)
}

// finish takes the result, and sees the node end.
func (c *conversation) finish(result session.Result) verdict {
	c.talk.hush()
	v := verdict{state: StateDone, exited: c.exited()}
	switch {
	case c.stopped != nil:
		v.state, v.trouble = c.stopped.state, c.stopped.trouble
	case result.Error != "":
		v.state, v.trouble = StateFailed, &Trouble{Reason: string(result.Reason), Message: result.Error}
		v.elsewhere = !c.started && result.Reason == engine.RuntimeUnavailable
	}
	return v
}

// exited waits a moment for the node's process to end by itself.
func (c *conversation) exited() bool {
	timeout := time.NewTimer(exitTimeout)
	defer timeout.Stop()
	heard := c.talk.heard
	for {
		select {
		case _, more := <-heard:
			if !more {
				heard = nil
			}
		case <-c.talk.over:
			return c.talk.broke == nil
		case <-timeout.C:
			return false
		}
	}
}

func (c *conversation) silent() verdict {
	switch {
	case c.stopped != nil:
		return *c.stopped
	case !c.heard:
		return verdict{state: StateFailed, trouble: &Trouble{Reason: ReasonSilent, Message: fmt.Sprintf("our pod is running, but has said nothing for %s", startedTimeout)}}
	}
	return verdict{state: StateLost, trouble: &Trouble{Reason: ReasonLost, Message: fmt.Sprintf("nothing was heard for %s", silenceTimeout)}}
}

// autopsyTimeout is how long a pod's status may take to tell why its stream ended.
const autopsyTimeout = 3 * time.Second

// broken explains a stream that ended without a result.
func (c *conversation) broken(ctx context.Context) verdict {
	<-c.talk.over
	v := verdict{state: StateLost, exited: c.talk.broke == nil, unheard: !c.started}
	if c.stopped != nil {
		v.state, v.trouble, v.unheard = c.stopped.state, c.stopped.trouble, false
		return v
	}
	said := errors.New("its stream ended")
	if broke := c.talk.broke; broke != nil && strings.Contains(broke.Error(), "cannot create resource") {
		v.state, v.unheard = StateFailed, false
		v.trouble = &Trouble{Reason: ReasonForbidden, Message: broke.Error(), Advice: "kubectl auth can-i create pods --subresource=attach -n " + c.run.fleet.cfg.Namespace}
		return v
	}
	v.trouble = &Trouble{Reason: ReasonLost, Message: fmt.Sprintf("the connection to our pod broke: %s", cmp.Or(c.talk.broke, said))}
	timeout := time.NewTimer(autopsyTimeout)
	defer timeout.Stop()
	for {
		s, changed := c.run.lookout.look(c.pod)
		if at, trouble := judge(s.pod, s); at == stageOver {
			v.trouble, v.unheard = trouble, false
			if !c.started {
				v.state = StateFailed
			}
			return v
		}
		if s.gone {
			v.trouble.Message, v.unheard = "our pod was deleted by someone else", false
			return v
		}
		select {
		case <-changed:
		case <-timeout.C:
			return v
		case <-ctx.Done():
			return v
		}
	}
}

var versionNumber = regexp.MustCompile(`\d+(\.\d+)+`)

// sameRuntime refuses a runtime other than the one that the Node reports: a host may have a second one, which knows
// nothing of the cluster's images.
func (c *conversation) sameRuntime(found engine.Description) error {
	node := c.out.Node
	reported, answers := versionNumber.FindString(node.RuntimeVersion), versionNumber.FindString(found.Version)
	if reported == "" || answers == "" || reported == answers || c.run.fleet.cfg.Socket != "" {
		return nil
	}
	return fmt.Errorf("at %s answers %s %s, and not the %s %s that the Node reports", c.socket, found.Name, found.Version, node.Runtime, node.RuntimeVersion)
}
