// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/plan"
	"orlop.dev/orlop/internal/session"
)

// planOne shows a plan with one removal, and waits for the word to go on.
func planOne(n *nodeEnd) error {
	if err := n.start(); err != nil {
		return err
	}
	planned := plan.Plan{Remove: []plan.Removal{{Image: engine.Image{ID: "sha256:1"}}}}
	if err := n.say(session.Message{Plan: &planned}); err != nil {
		return err
	}
	for {
		u, err := n.update()
		if err != nil || u.Proceed {
			return err
		}
	}
}

// TestRunLetsRemovalsFinish: a pod that may be in the middle of removals is told to end, and its grace is not
// shortened; any other goes soon.
func TestRunLetsRemovalsFinish(t *testing.T) {
	plans := func(n *nodeEnd) error {
		if err := planOne(n); err != nil {
			return err
		}
		return mute(n)
	}
	cases := map[string]struct {
		act       func(n *nodeEnd, interrupt func()) error
		silent    bool
		state     State
		graces    []int64
		finishing bool
		within    time.Duration
	}{
		"interrupted in the middle": {func(n *nodeEnd, interrupt func()) error {
			if err := planOne(n); err != nil {
				return err
			}
			interrupt()
			_ = mute(n)
			for n.say(session.Message{}) == nil { // It finishes its batch for as long as anyone listens.
				time.Sleep(time.Second) // The clock of the test's bubble.
			}
			return nil
		}, false, StateInterrupted, []int64{-1}, true, 19 * time.Second},
		"lost in the middle": {func(n *nodeEnd, _ func()) error {
			if err := planOne(n); err != nil {
				return err
			}
			return errBroken
		}, false, StateLost, []int64{-1}, true, 12 * time.Second},
		"its stream ends in the middle": {func(n *nodeEnd, _ func()) error { return planOne(n) }, false, StateLost, []int64{-1}, true, 12 * time.Second},
		"falls silent in the middle":    {func(n *nodeEnd, _ func()) error { return plans(n) }, true, StateLost, []int64{-1}, true, 29 * time.Second},
		"interrupted with a last word": {func(n *nodeEnd, interrupt func()) error {
			if err := planOne(n); err != nil {
				return err
			}
			interrupt()
			_ = mute(n)
			return n.say(session.Message{Result: &session.Result{Reason: engine.Unknown, Error: "gone"}})
		}, false, StateInterrupted, []int64{0}, false, time.Second},
		"lost before it began": {func(n *nodeEnd, _ func()) error {
			if err := n.start(); err != nil {
				return err
			}
			return errBroken
		}, false, StateLost, []int64{1, 0}, false, 12 * time.Second},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				cluster := newCluster(t, map[string]host{"a": {slow: true, silent: c.silent, session: func(n *nodeEnd) error { return c.act(n, cancel) }}}, aNode("a"))
				began := time.Now()
				o := cluster.run(ctx, remove())[0]
				if took := time.Since(began); took > c.within {
					t.Errorf("it took %s, want at most %s", took, c.within)
				}
				if o.State != c.state || o.Unsettled() != c.finishing || (len(cluster.fleet.Finishing()) > 0) != c.finishing {
					t.Errorf("%s %+v, finishing %q", o.State, o.Trouble, cluster.fleet.Finishing())
				}
				if got := cluster.graces["a"]; !slices.Equal(got, c.graces) {
					t.Errorf("deleted with %d, want %d", got, c.graces)
				}
				grace := time.Duration(*cluster.made("a")[0].Spec.TerminationGracePeriodSeconds) * time.Second
				if grace != removalGrace {
					t.Errorf("the pod has %s", grace)
				}
			})
		})
	}
}

// TestDiscardLetsRemovalsFinish: cleanup too.
func TestDiscardLetsRemovalsFinish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := newCluster(t, map[string]host{"a": {slow: true}, "b": {slow: true}}, aNode("a"), aNode("b"))
		for _, o := range []order{{node: Node{Name: "a"}, verb: "prune", grace: removalGrace}, {node: Node{Name: "b"}, verb: "list"}} {
			pod := cluster.fleet.pod(o)
			pod.Status.Phase = corev1.PodRunning
			if _, err := cluster.client.CoreV1().Pods(pod.Namespace).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		pods, err := cluster.fleet.Leftovers(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		cluster.fleet.Discard(t.Context(), pods)
		if got := cluster.fleet.Finishing(); !slices.Equal(got, []string{"a"}) {
			t.Errorf("finishing: %q", got)
		}
		if a, b := cluster.graces["a"], cluster.graces["b"]; !slices.Equal(a, []int64{-1}) || !slices.Equal(b, []int64{1, 0}) {
			t.Errorf("deleted with %d and %d", a, b)
		}
	})
}
