// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	kubetesting "k8s.io/client-go/testing"
)

var (
	errUnauthorized = apierrors.NewUnauthorized("the token has expired")
	errForbidden    = apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "", errors.New(`user "u" cannot watch resource "pods"`))
)

// refuseWatches answers the first watches of a run's pods, and of all pods, with an error.
func (c *cluster) refuseWatches(times int, err error) {
	refused := map[string]int{}
	c.client.PrependWatchReactor("pods", func(action kubetesting.Action) (bool, watch.Interface, error) {
		r := action.(kubetesting.WatchAction).GetWatchRestrictions()
		what := r.Labels.String() + r.Fields.String()
		c.mu.Lock()
		defer c.mu.Unlock()
		if what == "" || refused[what] >= times { // The kubelets of the test watch without a selector.
			return false, nil, nil
		}
		refused[what]++
		return true, nil, err
	})
}

func TestRunWatchRefused(t *testing.T) {
	cases := map[string]struct {
		times  int
		err    error
		lists  bool // they are refused too
		state  State
		reason string
		words  string
	}{
		"a token that has expired, once": {1, errUnauthorized, false, StateDone, "", ""},
		"a token that stays refused":     {1000, errUnauthorized, true, StateFailed, ReasonAPI, "the token has expired"},
		"a right that is missing":        {1000, errForbidden, false, StateFailed, ReasonForbidden, "can-i watch pods"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				// A pod that the list shows to run needs no watch any more.
				cluster := newCluster(t, map[string]host{"a": {mute: c.reason != ""}}, aNode("a"))
				cluster.refuseWatches(c.times, c.err)
				if c.lists {
					cluster.client.PrependReactor("list", "pods", func(action kubetesting.Action) (bool, runtime.Object, error) {
						return strings.Contains(action.(kubetesting.ListAction).GetListRestrictions().Labels.String(), LabelRun+"="), nil, c.err
					})
				}
				o := cluster.run(t.Context(), look())[0]
				if o.State != c.state || (c.reason != "") != (o.Trouble != nil) || o.Trouble != nil && (o.Trouble.Reason != c.reason || !hasWord(o.Trouble, c.words)) {
					t.Errorf("%s %+v, want %s %s", o.State, o.Trouble, c.state, c.reason)
				}
			})
		})
	}
}

// TestLookoutOutlivesARefusal: who could watch once is not denied for the rest of the run.
func TestLookoutOutlivesARefusal(t *testing.T) {
	l := newLookout(newFleet(Config{}, nil), "")
	for _, err := range []error{nil, errUnauthorized, errForbidden} {
		l.note(err, true)
		if denied, _ := l.sight(); denied {
			t.Errorf("denied after %v", err)
		}
	}
	l.note(nil, true)
	if _, err := l.sight(); err != nil {
		t.Errorf("after a success there is still: %v", err)
	}
}
