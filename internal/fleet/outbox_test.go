// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/plan"
	"orlop.dev/orlop/internal/session"
)

// TestOutbox: what is newer takes the place of what was not sent, and nothing of it is lost.
func TestOutbox(t *testing.T) {
	early, late := time.Unix(1, 0), time.Unix(2, 0)
	one, two := &plan.Needs{AsOf: early}, &plan.Needs{AsOf: late}
	cases := map[string]struct {
		updates []session.Update
		want    session.Update
	}{
		"newer needs":                      {[]session.Update{{Needs: one}, {Needs: two}}, session.Update{Needs: two}},
		"needs that are still so":          {[]session.Update{{Needs: one}, {AsOf: late}}, session.Update{Needs: one, AsOf: late}},
		"needs that are no longer so":      {[]session.Update{{AsOf: early}, {Needs: two}}, session.Update{Needs: two}},
		"the word to go on, then needs":    {[]session.Update{{Proceed: true}, {Needs: one}, {AsOf: late}}, session.Update{Needs: one, AsOf: late, Proceed: true}},
		"a time, then the word to go on":   {[]session.Update{{AsOf: late}, {Proceed: true}}, session.Update{AsOf: late, Proceed: true}},
		"a time after another, and a word": {[]session.Update{{AsOf: early}, {AsOf: late, Proceed: true}}, session.Update{AsOf: late, Proceed: true}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			o := newOutbox()
			o.ask(session.Request{Verb: session.VerbPrune})
			for _, u := range c.updates {
				o.tell(u)
			}
			if r, ok := o.next().(session.Request); !ok || r.Verb != session.VerbPrune || r.Sent.IsZero() {
				t.Errorf("first comes %+v", r)
			}
			got, ok := o.next().(session.Update)
			if got.Sent = (time.Time{}); !ok || cmp.Diff(c.want, got) != "" {
				t.Error(cmp.Diff(c.want, got))
			}
			o.tell(session.Update{Proceed: true})
			o.close()
			if line := o.next(); line != nil {
				t.Errorf("after its end it says %+v", line)
			}
		})
	}
}

// TestRunChurn: on a node whose connection takes nothing for a while, pods come and go. It hears what is newest then,
// and is not lost for it.
func TestRunChurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c *cluster
		lines := 0
		stalls := func(n *nodeEnd) error {
			if err := n.start(); err != nil {
				return err
			}
			for i := range 500 {
				if err := c.client.Tracker().Add(aPod(fmt.Sprint("p", i), "a", fmt.Sprintf("app:%d", i))); err != nil {
					t.Error(err)
				}
				time.Sleep(100 * time.Millisecond) // The clock of the test's bubble.
			}
			for {
				u, err := n.update()
				if err != nil {
					return err
				}
				lines++
				if u.Needs != nil && slices.Contains(refs(*u.Needs), "app:499") {
					return n.finish(session.Result{Reason: engine.Unknown, Error: "heard it"})
				}
			}
		}
		c = newCluster(t, map[string]host{"a": {session: stalls}}, aNode("a"))
		job := remove()
		job.Timeout = 10 * time.Minute
		if o := c.run(t.Context(), job)[0]; !hasWord(o.Trouble, "heard it") {
			t.Errorf("%s %+v", o.State, o.Trouble)
		}
		if lines > 3 {
			t.Errorf("it heard the newest only with line %d", lines)
		}
	})
}

// TestRunUpdatesAreFew: nodes that wait hear a few times a minute that nothing has changed, however many there are.
func TestRunUpdatesAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const count, waits = 40, 5 * time.Minute
		var mu sync.Mutex
		most, whole := 0, 0
		hosts, nodes := map[string]host{}, []*corev1.Node{}
		for i := range count {
			node := fmt.Sprint("n", i)
			nodes = append(nodes, aNode(node))
			hosts[node] = host{session: func(n *nodeEnd) error {
				time.Sleep(time.Duration(i) * time.Second) // Each is created, and noticed, at another time.
				if err := n.start(); err != nil {
					return err
				}
				if err := n.say(session.Message{Plan: &plan.Plan{}}); err != nil {
					return err
				}
				lines := 0
				for u := (session.Update{}); !u.Proceed; lines++ {
					var err error
					if u, err = n.update(); err != nil {
						return err
					}
					mu.Lock()
					if u.Needs != nil {
						whole++
					}
					mu.Unlock()
				}
				mu.Lock()
				most = max(most, lines)
				mu.Unlock()
				return n.finish(session.Result{})
			}}
		}
		c := newCluster(t, hosts, nodes...)
		c.fleet.cfg.MaxParallel = 4
		job := remove()
		job.Confirm = func(context.Context, []Outcome) bool {
			time.Sleep(waits) // The clock of the test's bubble.
			return true
		}
		began := time.Now()
		for _, o := range c.run(t.Context(), job) {
			if o.State != StateDone {
				t.Fatalf("%s is %s: %+v", o.Node.Name, o.State, o.Trouble)
			}
		}
		if limit := int(time.Since(began)/tellEvery) + 2; most > limit || most < int(waits/tellEvery)/2 {
			t.Errorf("%d updates to a node, want at most %d", most, limit)
		}
		if whole > 2*count {
			t.Errorf("%d times all needs, for %d nodes without news", whole, count)
		}
	})
}
