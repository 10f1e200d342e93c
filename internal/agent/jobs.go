// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"slices"
	"time"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/session"
)

// task is one entry of spec.jobs that is being carried out. It is lost with the process: the next agent does it again, which does
// no harm.
type task struct {
	entry v1alpha1.StoreJob
	began time.Time // by this process
	// stirred is when it last went on after it had to wait: it may be done in a moment.
	stirred time.Time
	// started is when the first agent began with it; interrupted: that was another one, which was ended.
	started     time.Time
	interrupted bool
	// ended: nothing more is begun. dropped: its answer is not waited for any more either.
	ended, dropped bool
	// running: it has been told as such, and does not go back to waiting.
	running bool
	// asks: it waits for what pods need.
	asks bool
	// sealed is why its credentials cannot be opened yet.
	sealed string

	items []item // of a pull
	clearing
}

// item is one image of a pull.
type item struct {
	ref   oci.Ref
	done  *v1alpha1.JobImage
	under *fetching
	try   try
	cuts  int // how often something else than the image ended its pull
}

// work is what the agent does for jobs.
type work struct {
	tasks   map[string]*task                   // by the job's uid
	order   []*task                            // as in the spec
	answers map[string]v1alpha1.StoreJobStatus // by the job's uid: final ones, and those of agents and runs before
	fetches map[*fetching]bool
	served  map[string]uint64 // when each party had its last turn to pull
	turns   uint64
	said    uint64 // counts final answers
}

func newWork() work {
	return work{
		tasks: map[string]*task{}, answers: map[string]v1alpha1.StoreJobStatus{}, fetches: map[*fetching]bool{}, served: map[string]uint64{},
	}
}

// read takes in what an agent before this one has answered.
func (w *work) read(status v1alpha1.ImageStoreStatus) {
	w.abandon()
	for i := range status.Jobs {
		w.answers[status.Jobs[i].UID] = status.Jobs[i]
	}
}

// conclude finishes what is done.
func (w *work) conclude(now time.Time) {
	for _, t := range w.tasks {
		if answer, done := t.conclude(now); done {
			w.finish(t, answer)
		}
	}
}

func isFinal(state v1alpha1.JobState) bool {
	return state == v1alpha1.JobSucceeded || state == v1alpha1.JobFailed || state == v1alpha1.JobCancelled
}

// answered reports whether the entry needs nothing more of this node.
func (w *work) answered(e *v1alpha1.StoreJob) bool {
	if e.Outcome != nil || e.Pull == nil && e.Remove == nil && e.Prune == nil {
		return true
	}
	st, ok := w.answers[e.UID]
	return ok && st.Run == e.Run && st.DryRun == e.DryRun && isFinal(st.State)
}

// enlist makes the tasks those that the spec asks for. What is asked for no more is ended, and its answer forgotten.
func (w *work) enlist(spec *v1alpha1.ImageStoreSpec, now time.Time) {
	listed := make(map[string]bool, len(spec.Jobs))
	w.order = w.order[:0]
	for i := range spec.Jobs {
		e := &spec.Jobs[i]
		if listed[e.UID] {
			continue
		}
		listed[e.UID] = true
		t := w.tasks[e.UID]
		if t != nil && (t.entry.Run != e.Run || t.entry.DryRun != e.DryRun) {
			w.drop(t)
			t = nil
		}
		if t == nil {
			if w.answered(e) {
				continue
			}
			before, known := w.answers[e.UID]
			t = newTask(e, before, known, now)
			w.tasks[e.UID] = t
		}
		t.entry.RestartLimit = e.RestartLimit
		if e.Cancel || spec.Retire {
			t.end()
		}
		w.order = append(w.order, t)
	}
	for uid, t := range w.tasks {
		if !listed[uid] {
			w.drop(t)
		}
	}
	for uid := range w.answers {
		if !listed[uid] {
			delete(w.answers, uid)
			delete(w.served, uid)
		}
	}
}

func newTask(e *v1alpha1.StoreJob, before v1alpha1.StoreJobStatus, known bool, now time.Time) *task {
	t := &task{entry: *e, began: now, stirred: now, started: now}
	if known && before.Run == e.Run && before.DryRun == e.DryRun && before.State == v1alpha1.JobRunning && before.StartTime != nil {
		t.interrupted, t.running, t.started = true, true, before.StartTime.Time
	}
	if e.Pull != nil {
		t.items = itemsOf(e.Pull.Images)
	} else if known && !e.DryRun && (before.DryRun || before.Planned) {
		t.shown = shownBy(before)
	}
	return t
}

// itemsOf reads the names of a pull, each once. What is none has failed.
func itemsOf(images []string) []item {
	items := make([]item, 0, len(images))
	seen := make(map[oci.Ref]bool, len(images))
	for _, image := range images {
		ref, err := oci.Parse(image)
		switch {
		case err != nil:
			failed := failedImage(image, engine.Because(engine.InvalidReference, err))
			items = append(items, item{done: &failed})
		case !seen[ref]:
			seen[ref] = true
			items = append(items, item{ref: ref})
		}
	}
	return items
}

// end begins nothing more, and ends what can be ended.
func (t *task) end() {
	if t.ended {
		return
	}
	t.ended = true
	t.ending.Store(true)
	for i := range t.items {
		if f := t.items[i].under; f != nil {
			f.cancelled = true
			f.cancel()
		}
	}
}

func (w *work) drop(t *task) {
	t.end()
	t.dropped = true
	delete(w.tasks, t.entry.UID)
}

// abandon ends everything: the store is gone.
func (w *work) abandon() {
	for _, t := range w.tasks {
		w.drop(t)
	}
	w.order = nil
	clear(w.answers)
}

// finish puts the answer in the place of the task. Who has been dropped gives none.
func (w *work) finish(t *task, answer v1alpha1.StoreJobStatus) {
	if t.dropped {
		return
	}
	w.answers[t.entry.UID] = answer
	delete(w.tasks, t.entry.UID)
	w.said++
}

// young is when the first of the tasks that have begun, or went on, just now is to be told of, if it is not done by then; zero: there are none.
func (w *work) young(now time.Time) time.Time {
	var first time.Time
	for _, t := range w.tasks {
		if due := t.stirred.Add(firstGap); due.After(now) && (first.IsZero() || due.Before(first)) {
			first = due
		}
	}
	return first
}

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
	wake    time.Time
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

func (d *jobDecision) later(at time.Time) {
	if d.wake.IsZero() || at.Before(d.wake) {
		d.wake = at
	}
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
		made.later(f.began.Add(slowAfter))
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
	for i, t := range tasks[1:] {
		taken := 0
		for _, item := range ready[i+1] {
			if taken == grants[i+1] {
				break
			}
			if names := namesOf(t.items[item].ref); !s.isBusy(names) {
				made.starts = append(made.starts, start{t, item})
				for _, name := range names {
					s.busy[name] = true
				}
				taken++
			}
		}
	}
	return made
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
			made.later(it.try.next)
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
