// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/plan"
	"orlop.dev/orlop/internal/session"
)

// Open connects to this machine's runtime. name is what the Node object reports, empty if nothing is known.
type Open func(ctx context.Context, name string) (engine.Interface, error)

// ErrAskerGone ends a session whose other side went away before the answer.
var ErrAskerGone = errors.New("whoever asked is gone: the input has ended")

// Serve answers one session: it reads a Request, does what it asks, and writes Messages. It returns an error when the
// answer could not be given; a node that could not do what was asked has answered so.
func Serve(ctx context.Context, in io.Reader, out io.Writer, open Open) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s := &server{in: json.NewDecoder(in), out: json.NewEncoder(out), proceed: make(chan struct{}), cancel: cancel}
	// A field that is not known here would narrow what is asked, such as a bound on a prune: it must not be passed over.
	s.in.DisallowUnknownFields()
	var req session.Request
	if err := s.in.Decode(&req); err != nil {
		return s.refuse(err)
	}
	s.heard(req.Sent, &req.Needs, time.Time{})
	// Not waited for: a read of standard input cannot be interrupted, and ends with the process.
	go s.readUpdates()
	var pulse sync.WaitGroup
	answered := make(chan struct{})
	pulse.Go(func() { s.live(answered) })
	result, err := s.answer(ctx, req, open)
	close(answered)
	pulse.Wait()
	if cause := context.Cause(ctx); errors.Is(cause, ErrAskerGone) && (err == nil || errors.Is(err, context.Canceled)) {
		err = cause
	}
	if err != nil {
		result.Reason, result.Error = engine.ReasonOf(err), err.Error()
	}
	if writeErr := s.send(session.Message{Result: &result}); writeErr != nil {
		return fmt.Errorf("answering: %w", writeErr)
	}
	s.linger(ctx)
	return nil
}

// refuse answers a request that cannot be read. That nothing was asked is an error of ours alone.
func (s *server) refuse(err error) error {
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("reading the request: %w", err)
	}
	result := session.Result{Reason: engine.Unsupported,
		Error: fmt.Sprintf("the request cannot be read: %v; are kubectl-orlop and the node image of the same version?", err)}
	return s.send(session.Message{Result: &result})
}

// lingerTimeout is how long the answer may take to be heard.
const lingerTimeout = 5 * time.Second

// linger waits for the other side to close, which it does when it has heard the answer: what a process has written
// just before its end may be lost on its way through a runtime's streams.
func (s *server) linger(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(lingerTimeout):
	}
}

// live gives signs of life until the answer is ready.
func (s *server) live(answered <-chan struct{}) {
	tick := time.NewTicker(session.AliveEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.tell(session.Message{})
		case <-answered:
			return
		}
	}
}

type server struct {
	in     *json.Decoder
	cancel context.CancelCauseFunc

	writing sync.Mutex
	out     *json.Encoder

	mu       sync.Mutex
	needs    plan.Needs
	clocks   bool
	ahead    time.Duration // of the asker's clock, by which needs are dated, to this machine's
	proceed  chan struct{}
	proceeds sync.Once
}

func (s *server) readUpdates() {
	for {
		var update session.Update
		if err := s.in.Decode(&update); err != nil {
			s.cancel(ErrAskerGone)
			return
		}
		s.heard(update.Sent, update.Needs, update.AsOf)
		if update.Proceed {
			s.proceeds.Do(func() { close(s.proceed) })
		}
	}
}

// heard takes what came on one line. How far this machine's clock is ahead of the asker's shows in the line that took
// the shortest way: one that was held up on its way must not make old needs look new.
func (s *server) heard(sent time.Time, needs *plan.Needs, asOf time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ahead := time.Since(sent); !sent.IsZero() && (!s.clocks || ahead < s.ahead) {
		s.clocks, s.ahead = true, ahead
	}
	if needs != nil {
		s.needs = *needs
	}
	if asOf.After(s.needs.AsOf) {
		s.needs.AsOf = asOf // What was told as last is still so.
	}
}

// currentNeeds are dated by this machine's clock.
func (s *server) currentNeeds() plan.Needs {
	s.mu.Lock()
	defer s.mu.Unlock()
	needs := s.needs
	if !needs.AsOf.IsZero() {
		needs.AsOf = needs.AsOf.Add(s.ahead)
	}
	return needs
}

func (s *server) send(m session.Message) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	return s.out.Encode(m)
}

// tell sends what is only information: when the other side is gone, the reader ends the work.
func (s *server) tell(m session.Message) { _ = s.send(m) }

func (s *server) answer(ctx context.Context, req session.Request, open Open) (session.Result, error) {
	if (req.Remove != nil || req.Prune != nil) && !req.Needs.Known {
		return session.Result{}, errors.New("a removal must come with what the pods of this node need")
	}
	rt, err := open(ctx, req.Runtime)
	if err != nil {
		return session.Result{}, err
	}
	described, err := rt.Describe(ctx)
	if err != nil {
		return session.Result{}, err
	}
	s.tell(session.Message{Started: &described})
	n := &Node{Runtime: rt, Needs: s.currentNeeds}
	switch {
	case req.Verb == session.VerbLook:
		inventory, err := n.Look(ctx)
		return session.Result{Inventory: &inventory}, err
	case req.Verb == session.VerbPull && req.Pull != nil:
		steps, err := n.Pull(ctx, *req.Pull, s.tell)
		return session.Result{Steps: steps}, err
	case req.Verb == session.VerbRemove && req.Remove != nil:
		planned, err := n.PlanRemove(ctx, *req.Remove)
		return s.act(ctx, n, req, planned, err)
	case req.Verb == session.VerbPrune && req.Prune != nil:
		planned, err := n.PlanPrune(ctx, *req.Prune)
		return s.act(ctx, n, req, planned, err)
	}
	return session.Result{}, fmt.Errorf("unknown request %q: kubectl-orlop and the node image are of different versions", req.Verb)
}

// act shows the plan, waits for the word where it was asked to, and carries it out.
func (s *server) act(ctx context.Context, n *Node, req session.Request, planned plan.Plan, err error) (session.Result, error) {
	if err != nil {
		return session.Result{}, err
	}
	if err := s.send(session.Message{Plan: &planned}); err != nil || req.DryRun {
		return session.Result{}, err
	}
	if req.Confirm {
		select {
		case <-s.proceed:
		case <-ctx.Done():
			return session.Result{}, ctx.Err()
		}
	}
	return n.Act(ctx, planned, func(step session.Step) { s.tell(session.Message{Step: &step}) })
}
