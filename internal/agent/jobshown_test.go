// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"strings"
	"testing"
	"time"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/engine/enginetest"
	"orlop.dev/orlop/internal/plan"
)

// What was planned is carried out, and nothing beyond it.
func TestAPlanIsCarriedOut(t *testing.T) {
	inWorld(t, func(w *world) {
		w.old("a:1", "b:1", "c:1")
		w.rt.Start("c:1", enginetest.Container{Name: "web", Pod: "shop/web"})
		w.later()
		job := pruneJob("prune")
		job.DryRun = true
		w.ask(job)
		w.pass(time.Second)
		if st := w.wantSaid(job, v1alpha1.JobSucceeded, ""); st.Removed != 2 || st.Kept != 1 || st.Bytes != 4000 || st.FreedBytes != nil {
			t.Fatalf("the plan is %+v", st)
		}
		w.wantHere("a:1", true)
		w.rt.Forget("web")
		w.rt.Load(content("d:1", 1000), "d:1")
		w.rt.Load(content("b:1", 1000), "new:1") // b has another name now.
		w.stop()
		w.pass(time.Hour)
		w.later() // Another agent, later.
		job.DryRun = false
		w.ask(job)
		w.pass(time.Second)
		st := w.wantSaid(job, v1alpha1.JobSucceeded, "")
		w.wantHere("a:1", false)
		for _, name := range []string{"b:1", "c:1", "d:1", "new:1"} {
			w.wantHere(name, true)
		}
		if st.Removed != 1 || st.Kept != 3 || !st.Planned {
			t.Errorf("the answer is %+v", st)
		}
		for name, want := range map[string]string{"b:1": "has got the name docker.io/library/new:1 since the plan was shown", "c:1": "it was not in the plan that was shown"} {
			if d := decision(st, name); d.Reason != string(plan.ReasonNotSelected) || d.Message != want {
				t.Errorf("%s: %+v", name, d)
			}
		}
	})
}

// A plan outlives an agent that is ended while it carries it out, a failure, and being suspended.
func TestAPlanIsKeptOverRuns(t *testing.T) {
	inWorld(t, func(w *world) {
		w.old("a:1", "b:1")
		w.later()
		job := pruneJob("prune")
		job.DryRun = true
		w.ask(job)
		w.pass(time.Second)
		w.old("late:1")
		w.pass(time.Hour)
		w.rt.Before = func(c enginetest.Call) {
			if c.Op == enginetest.OpMeasure {
				time.Sleep(time.Minute)
			}
		}
		w.old("later:1") // So that there is something to measure.
		job.DryRun = false
		w.ask(job)
		w.pass(5 * time.Second)
		if st := w.wantSaid(job, v1alpha1.JobRunning, ""); !st.Planned || len(st.Images) != 2 {
			t.Errorf("in the middle it says %+v", st)
		}
		w.rt.Before = nil
		w.stop()
		w.rt.FailNext(enginetest.OpRemove, engine.Becausef(engine.Unknown, "disk error"))
		w.start()
		w.ask(job)
		w.pass(5 * time.Second)
		if st := w.wantSaid(job, v1alpha1.JobFailed, "Unknown"); st.Removed != 1 || st.Failed != 1 || !strings.Contains(st.Message, "begun before") {
			t.Errorf("the answer is %+v", st)
		}
		job.Run, job.Cancel = 1, true
		w.ask(job)
		w.pass(5 * time.Second)
		w.wantSaid(job, v1alpha1.JobCancelled, v1alpha1.ReasonCancelled)
		job.Run, job.Cancel = 2, false
		w.ask(job)
		w.pass(5 * time.Second)
		if st := w.wantSaid(job, v1alpha1.JobSucceeded, ""); st.Removed != 1 || !st.Planned {
			t.Errorf("the answer is %+v", st)
		}
		for name, want := range map[string]bool{"a:1": false, "b:1": false, "late:1": true, "later:1": true} {
			w.wantHere(name, want)
		}
	})
}

// An answer can be lost with its store. Then nobody knows what was shown, and nothing goes.
func TestThePlanWasLost(t *testing.T) {
	inWorld(t, func(w *world) {
		w.old("a:1")
		w.later()
		job := pruneJob("prune")
		job.DryRun = true
		w.ask(job)
		w.pass(time.Second)
		w.wantSaid(job, v1alpha1.JobSucceeded, "")
		w.ask() // As a new store, which has no answers.
		w.pass(time.Second)
		job.DryRun, job.Planned = false, true
		for run := range int32(3) {
			job.Run, job.Cancel = run, run == 1
			w.ask(job)
			w.pass(time.Second)
			if st := w.wantSaid(job, v1alpha1.JobFailed, v1alpha1.ReasonNoPlan); !st.Planned {
				t.Errorf("run %d: the answer is %+v", run, st)
			}
		}
		w.wantHere("a:1", true)
	})
}

// Where the dry run came to no plan, nothing goes.
func TestThereWasNoPlan(t *testing.T) {
	inWorld(t, func(w *world) {
		w.old("a:1")
		w.later()
		job := pruneJob("prune")
		job.DryRun, job.Cancel = true, true
		w.ask(job)
		w.pass(time.Second)
		w.wantSaid(job, v1alpha1.JobCancelled, v1alpha1.ReasonCancelled)
		job.DryRun, job.Cancel = false, false
		for job.Run = 1; job.Run < 3; job.Run++ {
			w.ask(job)
			w.pass(time.Second)
			w.wantSaid(job, v1alpha1.JobFailed, v1alpha1.ReasonNoPlan)
		}
		w.wantHere("a:1", true)
	})
}
