// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/condition"
	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/plan"
)

func failedImage(name string, err error) v1alpha1.JobImage {
	return v1alpha1.JobImage{Image: name, State: v1alpha1.JobImageFailed, Reason: string(engine.ReasonOf(err)), Message: cut(err.Error())}
}

// open is how many images of a pull are not settled, and how many of them are being pulled.
func (t *task) open() (open, under int) {
	for i := range t.items {
		if t.items[i].done == nil {
			open++
		}
		if t.items[i].under != nil {
			under++
		}
	}
	return open, under
}

// conclude is the task's last word, once there is nothing left to do for it.
func (t *task) conclude(now time.Time) (v1alpha1.StoreJobStatus, bool) {
	if t.items == nil {
		return t.concludeRemoval(now)
	}
	open, under := t.open()
	if under > 0 || open > 0 && !t.ended {
		return v1alpha1.StoreJobStatus{}, false
	}
	images := make([]v1alpha1.JobImage, 0, len(t.items))
	for i := range t.items {
		if done := t.items[i].done; done != nil {
			images = append(images, *done)
		}
	}
	st := t.answer(images, now)
	if open > 0 {
		t.cancelled(&st, fmt.Sprintf("ended when %d of %d images were done", len(t.items)-open, len(t.items)))
	}
	return st, true
}

// answer sums up what became of the images.
func (t *task) answer(images []v1alpha1.JobImage, now time.Time) v1alpha1.StoreJobStatus {
	started, completed := metav1.NewTime(t.started.Truncate(time.Second)), metav1.NewTime(now.Truncate(time.Second))
	st := v1alpha1.StoreJobStatus{
		UID: t.entry.UID, Run: t.entry.Run, DryRun: t.entry.DryRun, Planned: t.shown != nil, State: v1alpha1.JobSucceeded,
		StartTime: &started, CompletionTime: &completed, Images: images,
	}
	var first *v1alpha1.JobImage
	for i := range images {
		count(&st, &images[i])
		if images[i].State == v1alpha1.JobImageFailed && first == nil {
			first = &images[i]
		}
	}
	if first != nil {
		st.State, st.Reason = v1alpha1.JobFailed, first.Reason
		st.Message = fmt.Sprintf("%d of %d images failed: %s: %s", st.Failed, len(images), first.Image, first.Message)
		if len(images) == 1 {
			st.Message = first.Image + ": " + first.Message
		}
	}
	st.Message = t.remark(st.Message)
	return st
}

func count(st *v1alpha1.StoreJobStatus, image *v1alpha1.JobImage) {
	switch image.State {
	case v1alpha1.JobImagePulled:
		st.Pulled++
		st.Bytes += image.Bytes
	case v1alpha1.JobImagePresent:
		st.Present++
	case v1alpha1.JobImageRemoved:
		st.Removed++
		st.Bytes += image.Bytes
	case v1alpha1.JobImageKept:
		st.Kept++
	case v1alpha1.JobImageAbsent:
		st.Absent++
	case v1alpha1.JobImageFailed:
		st.Failed++
	}
}

func (t *task) cancelled(st *v1alpha1.StoreJobStatus, message string) {
	st.State, st.Reason = v1alpha1.JobCancelled, v1alpha1.ReasonCancelled
	st.Message = t.remark(message)
}

func (t *task) fail(st *v1alpha1.StoreJobStatus, reason, message string) {
	st.State, st.Reason, st.Message = v1alpha1.JobFailed, reason, t.remark(message)
}

// maxJobMessage is what the schema takes.
const maxJobMessage = 512

// remark adds that this was not the first try, of which nothing is known.
func (t *task) remark(message string) string {
	if t.interrupted {
		message = strings.TrimPrefix(message+"; begun before by an agent that was ended", "; ")
	}
	return condition.Cut(message, maxJobMessage)
}

// interim is what there is to say of a task that takes its time: whether it has begun, and what it waits for. It does not
// change while it goes on, so that it costs one write.
func (t *task) interim(watched, blind bool) v1alpha1.StoreJobStatus {
	started := metav1.NewTime(t.started.Truncate(time.Second))
	st := v1alpha1.StoreJobStatus{UID: t.entry.UID, Run: t.entry.Run, DryRun: t.entry.DryRun, State: v1alpha1.JobRunning, StartTime: &started}
	if t.shown != nil { // The next agent must know of it, should this one be ended.
		st.Planned, st.Images, st.OmittedImages = true, t.shown.images, t.shown.omitted
	}
	if watched && t.items != nil {
		st.Progress = t.progress()
	}
	t.running = t.running || t.isUnderWay()
	if t.running {
		return st
	}
	st.State = v1alpha1.JobWaiting
	switch {
	case blind:
		st.Reason, st.Message = string(engine.RuntimeUnavailable), "the container runtime does not answer"
	case t.sealed != "":
		st.Reason, st.Message = v1alpha1.ReasonWaitingForCredentials, t.sealed
	case t.asks:
		st.Reason, st.Message = string(plan.ReasonStaleNeeds), waitsForNeeds
	}
	return st
}

// progress is how far a pull is, as far as the runtime tells. What has not begun is in no number but that of the images.
func (t *task) progress() *v1alpha1.JobProgress {
	p := &v1alpha1.JobProgress{Images: int32(len(t.items))}
	for i := range t.items {
		it := &t.items[i]
		moved := it.moved
		if it.done != nil {
			p.FinishedImages++
		} else if it.under != nil {
			moved = it.under.gauge.read()
		}
		if moved != nil {
			p.DoneBytes += moved.DoneBytes
			p.TotalBytes += moved.TotalBytes
		}
	}
	return p
}

// isUnderWay reports whether anything has been begun.
func (t *task) isUnderWay() bool {
	for i := range t.items {
		if it := &t.items[i]; it.under != nil || it.done != nil || it.try.attempts > 0 {
			return true
		}
	}
	return t.acting || t.rounds > 0
}

// statuses are the answers in the order of the spec. What is done within a moment is told once it is done.
func (w *work) statuses(spec *v1alpha1.ImageStoreSpec, now time.Time, watched bool) []v1alpha1.StoreJobStatus {
	var all []v1alpha1.StoreJobStatus
	told := make(map[string]bool, len(spec.Jobs))
	for i := range spec.Jobs {
		uid := spec.Jobs[i].UID
		if told[uid] {
			continue
		}
		told[uid] = true
		if t := w.tasks[uid]; t != nil && (t.asks || !now.Before(t.began.Add(jobGap)) || watched && t.isUnderWay()) {
			all = append(all, t.interim(watched, w.blind))
		} else if st, ok := w.answers[uid]; ok {
			all = append(all, st)
		}
	}
	return all
}

// kept remembers of final answers what the API has of them: what found no room there is not held here either.
func (w *work) kept(written []v1alpha1.StoreJobStatus) {
	for i := range written {
		st := &written[i]
		has, ok := w.answers[st.UID]
		if ok && st.State.Final() && has.Run == st.Run && has.DryRun == st.DryRun && has.State == st.State && has.CompletionTime.Equal(st.CompletionTime) {
			w.answers[st.UID] = *st
		}
	}
}
