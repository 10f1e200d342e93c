// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package podrun

import (
	"context"
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"orlop.dev/orlop/api/v1alpha1"
)

// away is an API server that does not answer.
type away struct{ client.Reader }

var errAway = apierrors.NewServiceUnavailable("away")

func (away) Get(context.Context, client.ObjectKey, client.Object, ...client.GetOption) error {
	return errAway
}

func TestOrphans(t *testing.T) {
	job := aJob(0, corev1.RestartPolicyNever)
	again := aJob(0, corev1.RestartPolicyNever)
	again.UID = "u-2"
	going := aJob(0, corev1.RestartPolicyNever)
	going.Finalizers, going.DeletionTimestamp = []string{"foregroundDeletion"}, new(at(0))
	for name, c := range map[string]struct {
		cached, live *v1alpha1.NodeJob
		away         bool
		edit         func(*corev1.Pod)
		want         bool // it is let go
		err          error
	}{
		"its job is there":                      {cached: job, live: job},
		"the cache has not heard of its job":    {live: job},
		"its job is gone":                       {want: true},
		"its job is going":                      {cached: going, live: going, want: true},
		"its job was made anew":                 {cached: again, live: again, want: true},
		"nobody can say":                        {away: true, err: errAway},
		"its job went, and it was left behind":  {cached: job, live: job, edit: func(pod *corev1.Pod) { pod.OwnerReferences = nil }, want: true},
		"it is no NodeJob's":                    {edit: func(pod *corev1.Pod) { pod.Labels = nil }},
		"its job is there, and it is going too": {cached: job, live: job, edit: func(pod *corev1.Pod) { pod.DeletionTimestamp = new(at(0)) }},
	} {
		t.Run(name, func(t *testing.T) {
			pod := podOf(job, "node1", 0)
			pod.UID = "pod-uid"
			if c.edit != nil {
				c.edit(pod)
			}
			inCache, inAPI := []client.Object{pod}, []client.Object{}
			if c.cached != nil {
				inCache = append(inCache, c.cached.DeepCopy())
			}
			if c.live != nil {
				inAPI = append(inAPI, c.live.DeepCopy())
			}
			cached, live := newWorld(t, inCache...), newWorld(t, inAPI...)
			o := &Orphans{Client: cached.Client, Live: live.Client}
			if c.away {
				o.Live = away{}
			}
			if _, err := o.Reconcile(t.Context(), pod); !errors.Is(err, c.err) {
				t.Errorf("the error is %v", err)
			}
			left := cached.pods(t)
			if letGo := len(left) == 0 || !held(&left[0]); letGo != c.want {
				t.Errorf("let go: %t", letGo)
			}
		})
	}
}

func TestPodsOfAJobThatGoes(t *testing.T) {
	job := aJob(0, corev1.RestartPolicyNever)
	released := podOf(job, "node2", 0)
	released.Finalizers = nil
	o := &Orphans{Client: newWorld(t, podOf(job, "node1", 0), released).Client}
	if requests := o.pods(t.Context(), job); len(requests) != 1 || requests[0].Name != nameOf(job, "node1", 0) {
		t.Errorf("looked at again: %v", requests)
	}
}
