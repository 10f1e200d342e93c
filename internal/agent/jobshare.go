// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"slices"
	"time"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/session"
)

// jobSight is all that is decided from which images jobs pull.
type jobSight struct {
	now   time.Time
	tasks []*task
	view  *view
	// full is why the disk takes no more.
	full string
	// busy are names that are being pulled or removed.
	busy map[oci.Ref]bool
	// sealed tells of a registry why its credentials cannot be opened now.
	sealed func(t *task, registry string) string
	pulls  int // the limit
	free   int // pulls that may begin, whoever wants them
	room   int // of these, how many the caches may have
	caches int // and want
	// under are the pulls of jobs.
	under  map[*fetching]bool
	served map[string]uint64
}

// jobDecision is what should happen now.
type jobDecision struct {
	settled []settled
	starts  []start
	granted int // to caches
	wake    earliest
}

// settled is an image about which there is nothing to do, or nothing to be done.
type settled struct {
	t     *task
	item  int
	image v1alpha1.JobImage
	full  string // it would not have room now: a try that failed
}

// start is a pull that may begin.
type start struct {
	t    *task
	item int
}

// maxFetches bounds the pulls of jobs that are under way, as a multiple of the limit: registries that hang take none of
// the others' turns, but memory.
const maxFetches = 10

// decideJobs is a function of what is seen. The limit of pulls is shared among the caches, together, and the jobs, each: who has the
// fewest under way comes first. A pull that takes long no longer counts for others, but for its own job.
func decideJobs(s jobSight) jobDecision {
	var made jobDecision
	mine, long := map[*task]int{}, map[*task]int{}
	for f := range s.under {
		if s.now.Sub(f.began) >= slowAfter {
			long[f.task]++
			continue
		}
		mine[f.task]++
		made.wake.or(f.began.Add(slowAfter))
	}
	free := min(s.free, maxFetches*s.pulls-len(s.under))
	parties := []party{{most: min(s.caches, s.room), served: s.served[""]}}
	ready := [][]int{nil}
	tasks := []*task{nil}
	for _, t := range s.tasks {
		if t.ended || t.items == nil {
			continue
		}
		own := s.pulls - mine[t] - max(0, long[t]-s.pulls)
		can := s.scan(t, &made, min(own, max(free, 0)))
		if len(can) == 0 {
			continue
		}
		parties = append(parties, party{most: len(can), under: mine[t], served: s.served[t.entry.UID]})
		ready, tasks = append(ready, can), append(tasks, t)
	}
	grants := share(max(s.free, 0), max(free, 0), parties)
	made.granted = grants[0]
	for i, t := range tasks {
		if i > 0 {
			s.begin(t, ready[i], grants[i], &made)
		}
	}
	return made
}

// begin takes the first of the images that nobody else is about to pull.
func (s *jobSight) begin(t *task, ready []int, granted int, made *jobDecision) {
	for _, item := range ready {
		if granted == 0 {
			return
		}
		names := namesOf(t.items[item].ref)
		if s.isBusy(names) {
			continue
		}
		made.starts = append(made.starts, start{t, item})
		for _, name := range names {
			s.busy[name] = true
		}
		granted--
	}
}

func (s *jobSight) isBusy(names []oci.Ref) bool {
	return slices.ContainsFunc(names, func(name oci.Ref) bool { return s.busy[name] })
}

// party is somebody who wants to pull: the caches together, or a job.
type party struct {
	most   int // how many it could begin
	under  int
	served uint64
}

// share gives out the free pulls one by one; of them, no more than forJobs to all but the first.
func share(free, forJobs int, parties []party) []int {
	grants := make([]int, len(parties))
	for range free {
		best := -1
		for i, p := range parties {
			if grants[i] >= p.most || i > 0 && forJobs <= 0 {
				continue
			}
			if best < 0 || before(p, grants[i], parties[best], grants[best]) {
				best = i
			}
		}
		if best < 0 {
			break
		}
		grants[best]++
		if best > 0 {
			forJobs--
		}
	}
	return grants
}

func before(a party, granted int, b party, others int) bool {
	if x, y := a.under+granted, b.under+others; x != y {
		return x < y
	}
	return a.served < b.served
}

// scan settles what needs no pull, and gives those that could begin, at most so many, those that have failed last.
func (s *jobSight) scan(t *task, made *jobDecision, most int) []int {
	var ready, again []int
	t.sealed = ""
	for i := range t.items {
		it := &t.items[i]
		if it.done != nil || it.under != nil {
			continue
		}
		if image, here := s.here(t, it.ref); here {
			made.settled = append(made.settled, settled{t: t, item: i, image: image})
			continue
		}
		if s.now.Before(it.try.next) {
			made.wake.or(it.try.next)
			continue
		}
		switch why := s.sealed(t, it.ref.Registry()); {
		case s.full != "":
			made.settled = append(made.settled, settled{t: t, item: i, full: s.full})
		case t.entry.DryRun:
			made.settled = append(made.settled, settled{t: t, item: i, image: v1alpha1.JobImage{Image: it.ref.String(), State: v1alpha1.JobImagePulled}})
		case why != "":
			t.sealed = why
		case s.isBusy(namesOf(it.ref)):
		case it.try.attempts > 0:
			again = append(again, i)
		case len(ready) < most:
			ready = append(ready, i)
		}
	}
	ready = append(ready, again...)
	return ready[:max(0, min(most, len(ready)))]
}

// here is the answer about an image that is on the node, if that is enough.
func (s *jobSight) here(t *task, ref oci.Ref) (v1alpha1.JobImage, bool) {
	policy := session.PullPolicy(t.entry.Pull.ImagePullPolicy)
	img, here := s.view.find(ref)
	if !here || policy.For(ref) != session.PullIfNotPresent {
		return v1alpha1.JobImage{}, false
	}
	return v1alpha1.JobImage{Image: ref.String(), State: v1alpha1.JobImagePresent, ID: img.ID, Digest: digestIn(img, ref)}, true
}
