// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/engine"
)

// ask makes the spec ask for just these jobs, with the word that pods need only what is given.
func (w *world) ask(jobs ...v1alpha1.StoreJob) {
	w.api.Change(func(s *v1alpha1.ImageStoreSpec) { s.Jobs, s.Needs = jobs, &v1alpha1.PodNeeds{AsOf: metav1.NowMicro()} })
	synctest.Wait()
}

func pullJob(name string, images ...string) v1alpha1.StoreJob {
	return v1alpha1.StoreJob{Job: "shop/" + name, UID: name, Pull: &v1alpha1.StorePull{Images: images}}
}

func removeJob(name string, images ...string) v1alpha1.StoreJob {
	return v1alpha1.StoreJob{Job: "shop/" + name, UID: name, Remove: &v1alpha1.RemoveAction{Images: images}}
}

func pruneJob(name string, match ...string) v1alpha1.StoreJob {
	return v1alpha1.StoreJob{Job: "shop/" + name, UID: name, Prune: &v1alpha1.PruneAction{Match: match}}
}

// said is what the node answers to a job; a zero one if nothing.
func (w *world) said(job v1alpha1.StoreJob) v1alpha1.StoreJobStatus {
	for _, st := range w.api.Store().Status.Jobs {
		if st.UID == job.UID {
			return st
		}
	}
	return v1alpha1.StoreJobStatus{}
}

func (w *world) wantSaid(job v1alpha1.StoreJob, state v1alpha1.JobState, reason string) v1alpha1.StoreJobStatus {
	w.Helper()
	st := w.said(job)
	if st.State != state || st.Reason != reason || st.Run != job.Run || st.DryRun != job.DryRun {
		w.Errorf("%s is %s %q (%s), run %d, dry run %t; want %s %q", job.Job, st.State, st.Reason, st.Message, st.Run, st.DryRun, state, reason)
	}
	return st
}

// old loads images that came long ago.
func (w *world) old(names ...string) {
	for _, name := range names {
		w.rt.Load(content(name, 1000), name)
	}
}

func (w *world) later() {
	w.start()
	w.pass(time.Hour)
}

func decision(st v1alpha1.StoreJobStatus, name string) v1alpha1.JobImage {
	for _, image := range st.Images {
		if image.Image == name || image.Image == ref(name).String() {
			return image
		}
	}
	return v1alpha1.JobImage{}
}

func TestAQuickJobIsOneWrite(t *testing.T) {
	inWorld(t, func(w *world) {
		w.push("a:1", "a", 1000)
		w.old("b:1", "c:1")
		w.later()
		for _, job := range []v1alpha1.StoreJob{pullJob("pull", "a:1", "b:1"), removeJob("remove", "b:1"), pruneJob("prune")} {
			before := len(w.api.Writes())
			w.ask(job)
			w.wantSaid(job, v1alpha1.JobSucceeded, "")
			w.pass(time.Hour)
			if n := len(w.api.Writes()) - before; n != 1 {
				t.Errorf("%s took %d writes: %+v", job.Job, n, w.api.Writes()[before:])
			}
		}
		before := len(w.api.Writes())
		w.ask()
		w.pass(time.Hour)
		if n := len(w.api.Writes()) - before; n != 1 || len(w.api.Store().Status.Jobs) != 0 {
			t.Errorf("the end of a job took %d writes, and leaves %+v", n, w.api.Store().Status.Jobs)
		}
	})
}

// An agent that is killed has its work done again by the next.
func TestAnAgentIsEndedInTheMiddleOfAJob(t *testing.T) {
	inWorld(t, func(w *world) {
		w.rt.BytesPerSecond = 1000
		w.push("a:1", "a", 10_000)
		w.old("b:1")
		w.later()
		job, done := pullJob("pull", "a:1"), removeJob("done", "b:1")
		w.ask(done, job)
		w.pass(5 * time.Second)
		before := w.wantSaid(job, v1alpha1.JobRunning, "")
		said := w.wantSaid(done, v1alpha1.JobSucceeded, "")
		w.stop()
		w.pass(time.Minute)
		w.start()
		w.pass(20 * time.Second)
		st := w.wantSaid(job, v1alpha1.JobSucceeded, "")
		if !strings.Contains(st.Message, "begun before by an agent that was ended") || !st.StartTime.Equal(before.StartTime) {
			t.Errorf("it says %q, begun %s and before %s", st.Message, st.StartTime, before.StartTime)
		}
		if now := w.wantSaid(done, v1alpha1.JobSucceeded, ""); !now.CompletionTime.Equal(said.CompletionTime) || now.Removed != 1 {
			t.Errorf("the answer was %+v, and is %+v", said, now)
		}
		if n := w.registry.Requests(ref("a:1").Repository()); n != 2 {
			t.Errorf("it was pulled %d times", n)
		}
	})
}

func TestJobsWhileTheRuntimeIsAway(t *testing.T) {
	inWorld(t, func(w *world) {
		w.push("a:1", "a", 1000)
		w.old("b:1")
		w.later()
		w.gate.set(func() { w.gate.list = engine.Becausef(engine.RuntimeUnavailable, "gone"); w.gate.down = w.gate.list })
		w.pass(2 * time.Minute)
		pull, prune := pullJob("pull", "a:1"), pruneJob("prune")
		w.ask(pull, prune)
		w.pass(time.Minute)
		w.wantSaid(pull, v1alpha1.JobWaiting, string(engine.RuntimeUnavailable))
		w.wantSaid(prune, v1alpha1.JobWaiting, string(engine.RuntimeUnavailable))
		w.gate.set(func() { w.gate.list, w.gate.down = nil, nil })
		w.pass(time.Minute)
		w.wantSaid(pull, v1alpha1.JobSucceeded, "")
		w.answer()
		if st := w.wantSaid(prune, v1alpha1.JobSucceeded, ""); st.Removed != 1 {
			t.Errorf("%+v", st)
		}
	})
}

func TestRetireCancelsJobs(t *testing.T) {
	inWorld(t, func(w *world) {
		w.push("a:1", "a", 1000)
		w.registry.Stall(ref("a:1").Repository(), true)
		w.later()
		pull := pullJob("pull", "a:1")
		w.ask(pull)
		w.pass(5 * time.Second)
		prune := pruneJob("prune")
		w.api.Change(func(s *v1alpha1.ImageStoreSpec) { s.Retire, s.Jobs = true, append(s.Jobs, prune) })
		w.pass(5 * time.Second)
		w.wantSaid(pull, v1alpha1.JobCancelled, v1alpha1.ReasonCancelled)
		w.wantSaid(prune, v1alpha1.JobCancelled, v1alpha1.ReasonCancelled)
		var retired bool
		for _, c := range w.api.Store().Status.Conditions {
			retired = retired || c.Type == v1alpha1.ConditionRetired && c.Status == metav1.ConditionTrue
		}
		if !retired {
			t.Error("it is not retired")
		}
	})
}

func TestEntriesThatAreNotForTheAgent(t *testing.T) {
	inWorld(t, func(w *world) {
		w.later()
		outcome := v1alpha1.StoreJob{Job: "shop/pod", UID: "pod", Outcome: &v1alpha1.PodOutcome{State: v1alpha1.JobFailed}}
		bare := v1alpha1.StoreJob{Job: "shop/bare", UID: "bare"}
		prune := pruneJob("prune")
		w.ask(outcome, bare, prune)
		w.wantSaid(prune, v1alpha1.JobSucceeded, "")
		if n := len(w.api.Store().Status.Jobs); n != 1 {
			t.Errorf("%d answers", n)
		}
		prune.Prune = nil // Room is short.
		w.ask(outcome, bare, prune)
		w.pass(time.Minute)
		w.wantSaid(prune, v1alpha1.JobSucceeded, "")
	})
}

func TestManyJobsAndManyImages(t *testing.T) {
	inWorld(t, func(w *world) {
		var images []string
		for i := range 500 {
			name := fmt.Sprintf("many%d:1", i)
			w.push(name, name, 100)
			images = append(images, name)
		}
		w.rt.BytesPerSecond = 1000
		w.later()
		jobs := []v1alpha1.StoreJob{pullJob("many", images...)}
		for i := range 200 {
			name := fmt.Sprintf("x%d:1", i)
			w.old(name)
			jobs = append(jobs, removeJob(fmt.Sprint("job", i), name))
		}
		before := len(w.api.Writes())
		w.ask(jobs...)
		w.pass(5 * time.Minute)
		for _, job := range jobs {
			if w.wantSaid(job, v1alpha1.JobSucceeded, ""); t.Failed() {
				break
			}
		}
		st := w.said(jobs[0])
		if st.Pulled != 500 || len(st.Images)+int(st.OmittedImages) != 500 || len(st.Images) < 250 {
			t.Errorf("%d pulled, %d told, %d left out", st.Pulled, len(st.Images), st.OmittedImages)
		}
		text, err := json.Marshal(w.api.Store().Status)
		if err != nil || len(text) > 200<<10 || len(text) < 160<<10 {
			t.Errorf("the status takes %d bytes, %v", len(text), err)
		}
		if n := len(w.api.Writes()) - before; n > 20 {
			t.Errorf("it took %d writes", n)
		}
	})
}

// An outcome of a pod is the controller's own note: to say that it was seen would be a write for nothing.
func TestAnOutcomeIsNotAnswered(t *testing.T) {
	inWorld(t, func(w *world) {
		e := w.push("a:1", "a", 1000)
		w.later()
		w.want(e)
		w.pass(time.Minute)
		before := len(w.api.Writes())
		w.api.Change(func(s *v1alpha1.ImageStoreSpec) {
			s.Revision-- // Change raises it: here nothing is asked of the agent.
			s.Jobs = append(s.Jobs, v1alpha1.StoreJob{Job: "a/b", UID: "u", Outcome: &v1alpha1.PodOutcome{State: v1alpha1.JobSucceeded}})
		})
		w.pass(time.Minute)
		if n := len(w.api.Writes()) - before; n != 0 {
			t.Errorf("an outcome made the agent write %d times", n)
		}
		w.release(e)
		w.pass(time.Minute)
		if last := w.api.Writes()[len(w.api.Writes())-1]; last.ObservedGeneration < 3 || last.ObservedRevision == 0 {
			t.Errorf("afterwards it says to have seen generation %d and revision %d", last.ObservedGeneration, last.ObservedRevision)
		}
	})
}
