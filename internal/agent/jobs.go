// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"time"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
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
	moved *v1alpha1.PullProgress
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
	blind   bool   // the runtime does not answer
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

// answered reports whether the entry needs nothing more of this node.
func (w *work) answered(e *v1alpha1.StoreJob) bool {
	if e.Outcome != nil || e.Pull == nil && e.Remove == nil && e.Prune == nil {
		return true
	}
	st, ok := w.answers[e.UID]
	return ok && st.Run == e.Run && st.DryRun == e.DryRun && st.State.Final()
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
		t := w.taskFor(e, now)
		if t == nil {
			continue
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

// taskFor is the task of an entry, made now if need be; nil where nothing is to be done.
func (w *work) taskFor(e *v1alpha1.StoreJob, now time.Time) *task {
	t := w.tasks[e.UID]
	if t != nil && (t.entry.Run != e.Run || t.entry.DryRun != e.DryRun) {
		w.drop(t)
		t = nil
	}
	if t == nil && !w.answered(e) {
		before, known := w.answers[e.UID]
		t = newTask(e, before, known, now)
		w.tasks[e.UID] = t
	}
	return t
}

func newTask(e *v1alpha1.StoreJob, before v1alpha1.StoreJobStatus, known bool, now time.Time) *task {
	t := &task{entry: *e, began: now, stirred: now, started: now}
	if known && before.Run == e.Run && before.DryRun == e.DryRun && before.State == v1alpha1.JobRunning && before.StartTime != nil {
		t.interrupted, t.running, t.started = true, true, before.StartTime.Time
	}
	if e.Pull != nil {
		t.items = itemsOf(e.Pull.Images)
	} else if told := known && (before.DryRun || before.Planned); !e.DryRun && (told || e.Planned) {
		t.shown = shownBy(before)
		if t.shown.missing || !told {
			t.over, t.err = true, engine.Because(v1alpha1.ReasonNoPlan, errNoPlan)
		}
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
	var first earliest
	for _, t := range w.tasks {
		if due := t.stirred.Add(jobGap); due.After(now) {
			first.or(due)
		}
	}
	return first.at
}
