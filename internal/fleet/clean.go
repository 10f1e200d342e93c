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
	// then taken from the API all the same, and ended by the kubelet when it is back; unless it may have removals to
	// finish.
	goneTimeout = 8 * time.Second
)

// manner is how much time a pod gets to end.
type manner int

const (
	atOnce    manner = iota // its process has ended, or has begun nothing: nothing is lost by not waiting for its kubelet
	soon                    // it has been told to end, and has nothing to finish
	inItsTime               // it may be in the middle of removals: its own grace is not shortened
)

// cleaner removes the pods of a run, each as soon as its answer is in.
type cleaner struct {
	fleet   *Fleet
	lookout *lookout
	all     sync.WaitGroup
}

func newCleaner(f *Fleet, l *lookout) *cleaner { return &cleaner{fleet: f, lookout: l} }

// remove begins to remove a pod of a node.
func (c *cleaner) remove(ctx context.Context, pod, node string, how manner) {
	ctx = context.WithoutCancel(ctx) // Also after Ctrl-C: what was made is removed.
	c.all.Go(func() {
		err := error(nil)
		switch how {
		case inItsTime:
			if err = c.fleet.delete(ctx, pod, nil); err == nil && !c.awaitGone(pod) {
				c.fleet.finish(node)
			}
		case soon:
			if c.fleet.delete(ctx, pod, new(int64(briefGrace.Seconds()))) == nil && c.awaitGone(pod) {
				return
			}
			fallthrough
		case atOnce:
			err = c.fleet.delete(ctx, pod, new(int64(0)))
		}
		if err != nil {
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

// finish notes a node whose pod was still at work when it was no longer waited for.
func (f *Fleet) finish(node string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.finishing = append(f.finishing, node)
}

// Finishing are the nodes whose pods were told to end and had not, since they may have removals to finish. They end by
// themselves.
func (f *Fleet) Finishing() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(slices.Values(f.finishing))
}

// delete takes a pod from the API, with the seconds that it gets to end; nil: those of its own. One that is gone
// already is as good.
func (f *Fleet) delete(ctx context.Context, pod string, grace *int64) error {
	ctx, cancel := context.WithTimeout(ctx, deleteTimeout)
	defer cancel()
	err := f.client.CoreV1().Pods(f.cfg.Namespace).Delete(ctx, pod, metav1.DeleteOptions{GracePeriodSeconds: grace})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
