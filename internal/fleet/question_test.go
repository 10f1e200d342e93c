// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// after is a node that takes its time before it plans.
func after(d time.Duration) host {
	return host{session: func(n *nodeEnd) error {
		if err := n.start(); err != nil {
			return err
		}
		time.Sleep(d) // The clock of the test's bubble.
		return answerAll(n)
	}}
}

// TestRunQuestionIsNotHeldUp: nodes that are stuck are left out of it, and those that are on their way are not.
func TestRunQuestionIsNotHeldUp(t *testing.T) {
	stuck := host{status: waiting("ContainerCreating", "")}
	gone := host{status: waiting("ErrImagePull", "not found")}
	cases := map[string]struct {
		hosts    []host
		parallel int
		late     []int
		asked    time.Duration
	}{
		"all at once":                       {[]host{after(0), after(0)}, 10, nil, 0},
		"one is stuck":                      {[]host{after(0), stuck, after(0)}, 10, []int{1}, 30 * time.Second},
		"one has found its runtime, only":   {[]host{after(0), after(5 * time.Minute)}, 10, []int{1}, 30 * time.Second},
		"one after the other":               {[]host{after(0), after(20 * time.Second), after(40 * time.Second), after(65 * time.Second)}, 10, nil, 65 * time.Second},
		"one after the other, in one place": {[]host{after(20 * time.Second), after(20 * time.Second), after(20 * time.Second)}, 1, nil, time.Minute},
		"half of them wait for the rest":    {[]host{after(0), after(50 * time.Second), after(50 * time.Second), after(50 * time.Second)}, 10, nil, 50 * time.Second},
		"those that fail are not the half":  {[]host{gone, gone, gone, after(50 * time.Second), after(50 * time.Second)}, 10, nil, 50 * time.Second},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hosts, nodes := map[string]host{}, []*corev1.Node{}
				for i, h := range c.hosts {
					node := fmt.Sprint("n", i)
					hosts[node], nodes = h, append(nodes, aNode(node))
				}
				cluster := newCluster(t, hosts, nodes...)
				cluster.fleet.cfg.MaxParallel = c.parallel
				began := time.Now()
				var asked time.Duration
				job := remove()
				job.Timeout = 4 * time.Minute
				job.Confirm = func(_ context.Context, outcomes []Outcome) bool {
					asked = time.Since(began)
					for i, o := range outcomes {
						if late := o.Trouble != nil && o.Trouble.Reason == ReasonLate; late != slices.Contains(c.late, i) {
							t.Errorf("%s is asked about as %s %+v", o.Node.Name, o.State, o.Trouble)
						}
					}
					return true
				}
				outcomes := cluster.run(t.Context(), job)
				if asked < c.asked || asked > c.asked+2*time.Second {
					t.Errorf("asked after %s, want %s", asked, c.asked)
				}
				for i, o := range outcomes {
					switch {
					case slices.Contains(c.late, i) && (o.State != StateSkipped || o.Trouble.Reason != ReasonLate || o.Plan != nil):
						t.Errorf("%s is %s %+v, want it left out", o.Node.Name, o.State, o.Trouble)
					case !slices.Contains(c.late, i) && c.hosts[i].status == nil && o.State != StateDone:
						t.Errorf("%s is %s %+v", o.Node.Name, o.State, o.Trouble)
					}
				}
			})
		})
	}
}

// TestRunSilentWhileAsked: a node that falls silent while a person thinks is lost, and holds up nothing.
func TestRunSilentWhileAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := newCluster(t, map[string]host{"b": {silent: true}}, aNode("a"), aNode("b"))
		job := remove()
		job.Confirm = func(context.Context, []Outcome) bool {
			time.Sleep(5 * time.Minute) // The clock of the test's bubble.
			return true
		}
		outcomes := cluster.run(t.Context(), job)
		if outcomes[0].State != StateDone || outcomes[1].State != StateLost {
			t.Errorf("%s and %s, want Done and Lost", outcomes[0].State, outcomes[1].State)
		}
	})
}
