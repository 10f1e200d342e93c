// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagestore

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/condition"
	"orlop.dev/orlop/internal/demand"
)

const (
	// jobGap is the least time between two writes of a store that only jobs ask for: many that come together are told together.
	jobGap = 250 * time.Millisecond
	// roomGap is when a node whose jobs found no room is looked at again. Answers, which make room, do not wake it.
	roomGap = 2 * time.Second
)

// assigned is what jobs ask of one node.
type assigned struct {
	store   *v1alpha1.ImageStore
	entries []v1alpha1.StoreJob
	// of are the NodeJobs, by uid.
	of map[string]*v1alpha1.NodeJob
	// watched is until when somebody looks on at one that pulls.
	watched time.Time
	// left counts those that found no room.
	left int
}

// assigned gathers what jobs ask of the node, as far as there is room.
func (c *Controller) assigned(ctx context.Context, store *v1alpha1.ImageStore, images []v1alpha1.StoreImage) (*assigned, error) {
	a := &assigned{store: store, of: map[string]*v1alpha1.NodeJob{}}
	if c.Jobs == nil {
		return a, nil
	}
	var failed error
	exists := func(name, uid string) bool {
		job, err := c.job(ctx, name)
		if err != nil {
			failed = err
			return false
		}
		if job == nil || string(job.UID) != uid || job.DeletionTimestamp != nil {
			return false
		}
		a.of[uid] = job
		return true
	}
	a.entries = c.Jobs.On(store.Name, store.Spec.Jobs, exists)
	if failed != nil {
		return nil, failed
	}
	defer a.watch(time.Now())
	a.fit(max(leastJobBytes, min(maxJobBytes, roomBeside(images).bytes)), time.Now())
	return a, nil
}

// watch finds until when somebody looks on at a job whose pulls have not ended.
func (a *assigned) watch(now time.Time) {
	for i := range a.entries {
		e := &a.entries[i]
		if job := a.of[e.UID]; e.Pull == nil || job == nil || a.finished(e) {
			continue
		} else if until := demand.WatchedUntil(job.Annotations, now); until.After(a.watched) {
			a.watched = until
		}
	}
}

// job is a NodeJob as the cache has it; nil: there is none.
func (c *Controller) job(ctx context.Context, name string) (*v1alpha1.NodeJob, error) {
	namespace, name, _ := strings.Cut(name, "/")
	job := &v1alpha1.NodeJob{}
	err := c.Client.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, job, client.UnsafeDisableDeepCopy)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading NodeJob %s/%s: %w", namespace, name, err)
	}
	return job, nil
}

// finished reports whether the node has answered the entry.
func (a *assigned) finished(e *v1alpha1.StoreJob) bool {
	if e.Outcome != nil {
		return true
	}
	answer := a.store.Answer(e.UID)
	if answer == nil || answer.Run != e.Run || answer.DryRun != e.DryRun {
		return false
	}
	return answer.State.Final()
}

// needs tells what entries that remove make of the needs in the spec: they stay as they stand, or the node's pods are to be listed. They stay
// as long as there is such an entry: that they are there costs nothing, to take them away would be a write for each job. undone: one of
// these has not ended.
func (a *assigned) needs() (stay, undone, list bool) {
	stands, asked := a.store.Spec.Needs, a.store.Status.NeedsAsked
	for i := range a.entries {
		e := &a.entries[i]
		if e.Remove == nil && e.Prune == nil {
			continue
		}
		stay = true
		if e.Cancel || a.finished(e) {
			continue
		}
		had := a.store.Job(e.UID)
		fresh := had == nil || had.Run != e.Run || had.DryRun != e.DryRun
		if stands == nil || fresh || asked != "" && asked != stands.Answers {
			return true, true, true
		}
		undone = true
	}
	return stay, undone, false
}

// pace spaces the writes that jobs ask for.
type pace struct {
	mu   sync.Mutex
	last map[string]time.Time
}

func newPace() *pace { return &pace{last: map[string]time.Time{}} }

func (p *pace) wrote(node string, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last[node] = now
}

func (p *pace) wait(node string, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last[node].Add(jobGap).Sub(now)
}

func (p *pace) forget(node string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.last, node)
}

// Ask has nodes looked at of which jobs ask something else than before: at once, unless they were written to just now.
func (c *Controller) Ask(nodes ...string) {
	q := c.queue.Load()
	if q == nil {
		return // Every node is looked at when it begins.
	}
	now := time.Now()
	for _, node := range nodes {
		request := reconcile.Request{NamespacedName: types.NamespacedName{Name: node}}
		if wait := c.pace.wait(node, now); wait > 0 {
			(*q).AddAfter(request, wait)
		} else {
			(*q).Add(request)
		}
	}
}

// tellRoom says that jobs found no room in a store.
func (c *Controller) tellRoom(store *v1alpha1.ImageStore, before, now int) {
	if now > 0 && before == 0 && store.UID != "" && c.Recorder != nil {
		c.Recorder.Eventf(store, nil, "Warning", "TooManyJobs", "Assign", "%s",
			condition.Cut(fmt.Sprintf("%d NodeJobs wait: this node is told of as many as there is room for (%d, or %d KB)", now, maxJobs, maxJobBytes>>10), maxNote))
	}
}
