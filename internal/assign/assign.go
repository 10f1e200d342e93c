// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package assign is where the reconciler of NodeJobs leaves what each job asks of each node, and the one of ImageStores finds it: a store
// has one writer. Nothing here outlives the process, and nothing has to: what a job asked stands in the stores, and until
// its reconciler has spoken of the job, what stands there stays.
package assign

import (
	"maps"
	"slices"
	"strings"
	"sync"

	"orlop.dev/orlop/api/v1alpha1"
)

// Ledger holds what every job asks. Its methods may be called by several goroutines.
type Ledger struct {
	mu    sync.RWMutex
	jobs  map[string]map[string]v1alpha1.StoreJob // by the job's uid, then by node
	wake  func(nodes ...string)
	order map[string]string // what entries are sorted by
	// left are the nodes that went since a job was spoken of, by the job's uid: what was asked of one is not asked of the next of its name.
	left map[string]map[string]bool
}

// New makes an empty ledger; wake is told of nodes for which something has changed.
func New(wake func(nodes ...string)) *Ledger {
	return &Ledger{jobs: map[string]map[string]v1alpha1.StoreJob{}, order: map[string]string{}, left: map[string]map[string]bool{}, wake: wake}
}

// Set makes entries, by node, all that the job asks. created orders jobs: an RFC 3339 time.
func (l *Ledger) Set(uid, created string, entries map[string]v1alpha1.StoreJob) {
	l.mu.Lock()
	before, left := l.jobs[uid], l.left[uid]
	l.jobs[uid], l.order[uid] = entries, created+" "+uid
	delete(l.left, uid)
	l.mu.Unlock()
	l.tell(before, entries, left)
}

// Leave passes over what was asked of the node, until its job is spoken of again: the node is gone.
func (l *Ledger) Leave(node string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for uid, nodes := range l.jobs {
		if _, ok := nodes[node]; !ok {
			continue
		}
		if l.left[uid] == nil {
			l.left[uid] = map[string]bool{}
		}
		l.left[uid][node] = true
	}
}

// Forget drops the job: it is gone, and so is what it asked.
func (l *Ledger) Forget(uid string) {
	l.mu.Lock()
	before := l.jobs[uid]
	delete(l.jobs, uid)
	delete(l.order, uid)
	delete(l.left, uid)
	l.mu.Unlock()
	l.tell(before, nil, nil)
}

func (l *Ledger) tell(before, after map[string]v1alpha1.StoreJob, left map[string]bool) {
	changed := map[string]bool{}
	for node, entry := range after {
		if was, ok := before[node]; !ok || left[node] || !same(was, entry) {
			changed[node] = true
		}
	}
	for node := range before {
		if _, ok := after[node]; !ok {
			changed[node] = true
		}
	}
	if len(changed) > 0 {
		l.wake(slices.Sorted(maps.Keys(changed))...)
	}
}

// same compares what can change while a job goes on: its action cannot.
func same(a, b v1alpha1.StoreJob) bool {
	return a.Run == b.Run && a.DryRun == b.DryRun && a.Planned == b.Planned && a.Cancel == b.Cancel && a.RestartLimit == b.RestartLimit &&
		(a.Outcome == nil) == (b.Outcome == nil)
}

// Of is what the job asks, by node, as it was said last; ok is false if nothing was said of it yet. It is not to be changed.
func (l *Ledger) Of(uid string) (entries map[string]v1alpha1.StoreJob, ok bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	entries, ok = l.jobs[uid]
	return entries, ok
}

// Poke wakes the nodes of which the job asks something: what it asks means something else now.
func (l *Ledger) Poke(uid string) {
	entries, _ := l.Of(uid)
	if len(entries) > 0 {
		l.wake(slices.Sorted(maps.Keys(entries))...)
	}
}

// On is what jobs ask of a node: of jobs that were spoken of, what was said; of others what stands, if exists says that there
// still is such a job. What stands keeps its order, so that a process that has yet to hear of some jobs writes nothing; what is new comes
// after it, oldest jobs first.
func (l *Ledger) On(node string, standing []v1alpha1.StoreJob, exists func(job, uid string) bool) []v1alpha1.StoreJob {
	l.mu.RLock()
	defer l.mu.RUnlock()
	entries := make([]v1alpha1.StoreJob, 0, len(standing)+1)
	stands := make(map[string]bool, len(standing))
	for i := range standing {
		uid := standing[i].UID
		stands[uid] = true
		nodes, spoken := l.jobs[uid]
		entry, asked := nodes[node]
		asked = asked && !l.left[uid][node]
		if !spoken {
			entry, asked = standing[i], true
		}
		if asked && exists(entry.Job, uid) {
			entries = append(entries, entry)
		}
	}
	var added []v1alpha1.StoreJob
	for uid, nodes := range l.jobs {
		if entry, ok := nodes[node]; ok && !l.left[uid][node] && !stands[uid] && exists(entry.Job, uid) {
			added = append(added, entry)
		}
	}
	slices.SortFunc(added, func(a, b v1alpha1.StoreJob) int { return strings.Compare(l.order[a.UID], l.order[b.UID]) })
	return append(entries, added...)
}
