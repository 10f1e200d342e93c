// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagestore

import (
	"cmp"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/condition"
)

// The bounds of what jobs ask of one node. Caches go first: of what they leave of their room, jobs have at least leastJobBytes.
const (
	// maxJobs is as the schema has it: with one entry more the API server would refuse the whole store.
	maxJobs       = 1000
	maxJobBytes   = 100 << 10
	leastJobBytes = 40 << 10
	// forOutcomes is how many entries are kept free for outcomes, mostOutcomeBytes what all of them take at most: a pod is held until its own is
	// written down, so that it comes in where there is no room for what is asked.
	forOutcomes, mostOutcomeBytes = 100, 200 << 10
	// mostAskBytes is what is asked takes at most with a job that is larger than the room: as many images as the schema lets through.
	mostAskBytes = 300 << 10
)

// fit makes room: finished entries lose what they asked for, oldest first, and outcomes what they tell beside the result; then those of jobs
// that are complete for good go; what still finds no room, of those that are not told yet, waits. That a node is done with a job that may
// go on is never dropped.
func (a *assigned) fit(room int, now time.Time) {
	l := &load{entries: len(a.entries), room: room}
	for i := range a.entries {
		l.add(&a.entries[i], 1)
	}
	if !l.full() {
		return
	}
	a.shorten(l, func(e *v1alpha1.StoreJob) bool { return e.Outcome == nil && a.finished(e) })
	a.shorten(l, func(e *v1alpha1.StoreJob) bool { return e.Outcome != nil && ended(a.of[e.UID]) })
	a.drop(l, now)
	a.shorten(l, func(e *v1alpha1.StoreJob) bool { return e.Outcome != nil })
	a.wait(l)
}

// load is what entries take.
type load struct{ entries, asks, outcomes, room int }

func (l *load) add(e *v1alpha1.StoreJob, sign int) {
	if e.Outcome != nil {
		l.outcomes += sign * jobWeight(e)
	} else {
		l.asks += sign * jobWeight(e)
	}
}

func (l *load) short() bool { return l.asks+l.outcomes > l.room }

func (l *load) full() bool { return l.short() || l.entries > maxJobs-forOutcomes }

// shorten leaves of those that may be only that they are done, and how. What they point to is shared with the ledger and the cache.
func (a *assigned) shorten(l *load, may func(*v1alpha1.StoreJob) bool) {
	for i := range a.entries {
		e := &a.entries[i]
		if !l.short() || !may(e) {
			continue
		}
		l.add(e, -1)
		e.Pull, e.Remove, e.Prune = nil, nil, nil
		if e.Outcome != nil {
			e.Outcome = &v1alpha1.PodOutcome{State: e.Outcome.State, Reason: e.Outcome.Reason}
		}
		l.add(e, 1)
	}
}

// drop goes by the age of the jobs, and not by what stands: the ledger says some of what was dropped again each time.
func (a *assigned) drop(l *load, now time.Time) {
	var over []*v1alpha1.StoreJob
	for i := range a.entries {
		if e := &a.entries[i]; a.finished(e) && settledForGood(a.of[e.UID], now) {
			over = append(over, e)
		}
	}
	slices.SortStableFunc(over, func(x, y *v1alpha1.StoreJob) int {
		return cmp.Or(a.of[x.UID].CreationTimestamp.Compare(a.of[y.UID].CreationTimestamp.Time), strings.Compare(x.UID, y.UID))
	})
	gone := map[string]bool{}
	for _, e := range over {
		if !l.full() {
			break
		}
		l.add(e, -1)
		l.entries--
		gone[e.UID] = true
	}
	a.entries = slices.DeleteFunc(a.entries, func(e v1alpha1.StoreJob) bool { return gone[e.UID] })
}

// wait leaves out what is new and finds no room, the newest first: of what is asked, then of outcomes. What stood in its place stays.
func (a *assigned) wait(l *load) {
	alone := a.alone()
	for _, outcomes := range []bool{false, true} {
		for i := len(a.entries) - 1; i >= 0; i-- {
			e := &a.entries[i]
			if outcomes != (e.Outcome != nil) || !l.exceeds(e, e.UID == alone) || a.told(e) {
				continue
			}
			a.left++
			l.add(e, -1)
			if had := a.store.Job(e.UID); had != nil {
				*e = *had
				l.add(e, 1)
				continue
			}
			l.entries--
			a.entries = slices.Delete(a.entries, i, i+1)
		}
	}
}

// exceeds reports whether there is no room for an entry that is new. alone: no other is under way.
func (l *load) exceeds(e *v1alpha1.StoreJob, alone bool) bool {
	switch {
	case e.Outcome != nil:
		return l.entries > maxJobs || l.outcomes > mostOutcomeBytes
	case alone:
		return l.entries > maxJobs || l.asks > mostAskBytes
	}
	return l.full()
}

// told: the store says it, or has had the room for it.
func (a *assigned) told(e *v1alpha1.StoreJob) bool {
	had := a.store.Job(e.UID)
	return had != nil && (had.Run == e.Run && had.DryRun == e.DryRun || jobWeight(e) <= jobWeight(had))
}

// alone is the uid of the job that is told though it is larger than the room, or it would wait for ever: the first that is new, when nothing
// else is under way.
func (a *assigned) alone() (uid string) {
	for i := range a.entries {
		switch e := &a.entries[i]; {
		case e.Outcome != nil || a.finished(e):
		case a.told(e):
			return ""
		case uid == "":
			uid = e.UID
		}
	}
	return uid
}

// weight is what the entries take together.
func (a *assigned) weight() (bytes int) {
	if a == nil {
		return 0
	}
	for i := range a.entries {
		bytes += jobWeight(&a.entries[i])
	}
	return bytes
}

// settledForGood: nothing that may still happen to the job asks which nodes are done with it.
func settledForGood(job *v1alpha1.NodeJob, now time.Time) bool {
	if job == nil || job.Spec.DryRun || job.Status.Active > 0 || !condition.Holds(job.Status.Conditions, v1alpha1.ConditionComplete) {
		return false
	}
	if most, start := job.Spec.ActiveDeadlineSeconds, job.Status.StartTime; most != nil && start != nil && now.Before(start.Add(time.Duration(*most)*time.Second)) {
		return false // Nodes that were away are still served.
	}
	return !slices.ContainsFunc(job.Status.Conditions, func(c metav1.Condition) bool {
		return c.Type == v1alpha1.ConditionComplete && c.Reason == v1alpha1.ReasonPlanned
	})
}

func ended(job *v1alpha1.NodeJob) bool {
	return job != nil && (condition.Holds(job.Status.Conditions, v1alpha1.ConditionComplete) || condition.Holds(job.Status.Conditions, v1alpha1.ConditionFailed))
}

// jobBytes is what an entry takes beside its texts, outcomeBytes what an outcome does.
const jobBytes, outcomeBytes = 140, 80

func jobWeight(e *v1alpha1.StoreJob) int {
	bytes := jobBytes + len(e.Job) + len(e.UID)
	texts := func(lists ...[]string) {
		for _, list := range lists {
			for _, text := range list {
				bytes += len(text) + 3
			}
		}
	}
	if e.Pull != nil {
		texts(e.Pull.Images, e.Pull.Credentials)
	}
	if e.Remove != nil {
		texts(e.Remove.Images)
	}
	if e.Prune != nil {
		texts(e.Prune.Match, e.Prune.Keep, e.Prune.Filter)
		bytes += jobBytes
	}
	if o := e.Outcome; o != nil {
		bytes += outcomeBytes + len(o.Reason) + len(o.Message) + len(o.Pod)
		if o.StartTime != nil || o.CompletionTime != nil || o.ExitCode != nil || o.Pod != "" {
			bytes += jobBytes
		}
	}
	return bytes
}
