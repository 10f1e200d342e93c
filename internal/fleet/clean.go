// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	deleteTimeout = 10 * time.Second
	// goneTimeout is how long a kubelet may take to end a pod and let it go. One that is away never does: its pod is
	// then taken from the API all the same, and ended by the kubelet when it is back.
	goneTimeout = 8 * time.Second
)

// cleaner removes the pods of a run, each as soon as its answer is in.
type cleaner struct {
	fleet   *Fleet
	lookout *lookout
	all     sync.WaitGroup
}

func newCleaner(f *Fleet, l *lookout) *cleaner { return &cleaner{fleet: f, lookout: l} }

// remove begins to remove a pod. ended: its process has ended by itself, so that nothing is lost by not waiting for
// its kubelet.
func (c *cleaner) remove(ctx context.Context, pod string, ended bool) {
	ctx = context.WithoutCancel(ctx) // Also after Ctrl-C: what was made is removed.
	c.all.Go(func() {
		var err error
		if !ended {
			if err = c.fleet.delete(ctx, pod, graceSeconds); err == nil && c.awaitGone(pod) {
				return
			}
		}
		if err = c.fleet.delete(ctx, pod, 0); err != nil {
			c.fleet.leave(pod, err)
		}
	})
}

// wait returns when every pod is gone.
func (c *cleaner) wait() { c.all.Wait() }

func (c *cleaner) awaitGone(pod string) bool {
	timeout := time.NewTimer(goneTimeout)
	defer timeout.Stop()
	for {
		s, changed := c.lookout.look(pod)
		if s.gone {
			return true
		}
		select {
		case <-changed:
		case <-timeout.C:
			return false
		}
	}
}

// leave notes a pod that could not be removed.
func (f *Fleet) leave(pod string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left = append(f.left, fmt.Sprintf("%s: %s", pod, err))
}

// Left are the pods that could not be removed, and why.
func (f *Fleet) Left() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.left)
}

// delete takes a pod from the API. One that is gone already is as good.
func (f *Fleet) delete(ctx context.Context, pod string, grace int64) error {
	ctx, cancel := context.WithTimeout(ctx, deleteTimeout)
	defer cancel()
	err := f.client.CoreV1().Pods(f.cfg.Namespace).Delete(ctx, pod, metav1.DeleteOptions{GracePeriodSeconds: new(grace)})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
