// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/engine/enginetest"
	"orlop.dev/orlop/internal/plan"
)

// 125 images on a node are 125 decisions with reasons.
func TestAPruneTellsOfEveryImage(t *testing.T) {
	inWorld(t, func(w *world) {
		for i := range 50 {
			w.old(fmt.Sprintf("minchou/a%d:1", i), fmt.Sprintf("other/b%d:1", i))
		}
		cached := w.push("minchou/cached:1", "cached", 1000)
		w.rt.Load(content("cached", 1000), "minchou/cached:1")
		for i := range 24 {
			name := fmt.Sprintf("minchou/used%d:1", i)
			w.old(name)
			w.rt.Start(name, enginetest.Container{Name: name, Pod: "shop/web"})
		}
		used := int64(1000)
		w.gate.disk = plan.Disk{Capacity: 10_000_000, Available: 5_000_000, Used: 5_000_000}
		w.rt.Before = func(c enginetest.Call) {
			if c.Op == enginetest.OpRemove {
				w.gate.set(func() { w.gate.disk.Used -= used; w.gate.disk.Available += used })
			}
		}
		w.later()
		w.want(cached)
		job := pruneJob("prune", "minchou/*")
		w.ask(job)
		w.pass(time.Second)
		st := w.wantSaid(job, v1alpha1.JobSucceeded, "")
		if len(st.Images) != 125 || st.Removed != 50 || st.Kept != 75 || st.Bytes != 50*2000 {
			t.Errorf("%d decisions, %d removed, %d kept, %d bytes", len(st.Images), st.Removed, st.Kept, st.Bytes)
		}
		if st.FreedBytes == nil || *st.FreedBytes != 50*used || st.DiskBefore != 5000 || st.DiskAfter != 4950 {
			t.Errorf("freed %v, disk %d and %d", st.FreedBytes, st.DiskBefore, st.DiskAfter)
		}
		for name, want := range map[string]string{
			"minchou/a1:1": "", "other/b1:1": "NotSelected", "minchou/cached:1": "Cached", "minchou/used1:1": "InUse",
		} {
			if d := decision(st, name); d.Reason != want || want != "" && d.Message == "" {
				t.Errorf("%s: %+v", name, d)
			}
		}
	})
}

func TestRemoveJobs(t *testing.T) {
	for name, c := range map[string]struct {
		images []string
		force  bool
		pods   []v1alpha1.NeededImage
		here   []string // of those that were
		want   map[string]v1alpha1.JobImageState
	}{
		"one":                  {images: []string{"a:1"}, here: []string{"b:1", "cached:1", "used:1", "exited:1"}, want: map[string]v1alpha1.JobImageState{"a:1": "Removed"}},
		"absent":               {images: []string{"gone:1"}, here: []string{"a:1", "b:1"}, want: map[string]v1alpha1.JobImageState{"gone:1": "Absent"}},
		"named by a pod":       {images: []string{"a:1", "b:1"}, pods: []v1alpha1.NeededImage{{Image: "a:1", Pod: "shop/x"}}, here: []string{"a:1"}, want: map[string]v1alpha1.JobImageState{"a:1": "Kept", "b:1": "Removed"}},
		"in use, and cached":   {images: []string{"used:1", "exited:1", "cached:1"}, here: []string{"used:1", "exited:1", "cached:1"}, want: map[string]v1alpha1.JobImageState{"used:1": "Kept", "exited:1": "Kept", "cached:1": "Kept"}},
		"with force":           {images: []string{"used:1", "exited:1"}, force: true, here: []string{"used:1"}, want: map[string]v1alpha1.JobImageState{"used:1": "Kept", "exited:1": "Removed"}},
		"a pattern":            {images: []string{"docker.io/library/?:*"}, here: []string{"used:1"}, want: map[string]v1alpha1.JobImageState{"a:1": "Removed", "b:1": "Removed"}},
		"a cache's with force": {images: []string{"cached:1"}, force: true, want: map[string]v1alpha1.JobImageState{"cached:1": "Removed"}},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.old("a:1", "b:1", "used:1", "exited:1")
				w.rt.Start("used:1", enginetest.Container{Name: "web", Pod: "shop/web"})
				w.rt.Start("exited:1", enginetest.Container{Name: "job", Pod: "shop/job"})
				w.rt.Exit("job")
				cached := w.push("cached:1", "cached", 1000)
				w.later()
				w.want(cached)
				w.pass(time.Hour)
				job := removeJob("remove", c.images...)
				job.Remove.Force = c.force
				w.api.Change(func(s *v1alpha1.ImageStoreSpec) {
					s.Jobs, s.Needs = []v1alpha1.StoreJob{job}, &v1alpha1.PodNeeds{AsOf: metav1.NowMicro(), Images: c.pods}
				})
				w.pass(time.Second)
				st := w.wantSaid(job, v1alpha1.JobSucceeded, "")
				for image, want := range c.want {
					if d := decision(st, image); d.State != want || want == "Kept" && (d.Reason == "" || d.Message == "") {
						t.Errorf("%s: %+v, want %s", image, d, want)
					}
					if want == "Removed" && image != "cached:1" { // A cache has it pulled again.
						w.wantHere(image, false)
					}
				}
				if len(st.Images) != len(c.want) {
					t.Errorf("%d decisions: %+v", len(st.Images), st.Images)
				}
				for _, image := range c.here {
					w.wantHere(image, true)
				}
			})
		})
	}
}

// A tag of several is told by its own name, and the image stays.
func TestARemovedTag(t *testing.T) {
	inWorld(t, func(w *world) {
		w.rt.Load(content("a", 1000), "a:1", "a:2")
		w.later()
		job := removeJob("remove", "a:2")
		for run, dryRun := range []bool{true, false} {
			job.Run, job.DryRun = int32(run), dryRun
			w.ask(job)
			w.pass(time.Second)
			st := w.wantSaid(job, v1alpha1.JobSucceeded, "")
			if d := decision(st, "a:2"); d.State != v1alpha1.JobImageRemoved || !d.Partly || len(st.Images) != 1 {
				t.Errorf("%+v", st.Images)
			}
		}
		w.wantHere("a:1", true)
		w.wantHere("a:2", false)
	})
}

// Without the controller's word on pods the agent asks, and removes nothing on an old one.
func TestARemoveJobAsksWhatPodsNeed(t *testing.T) {
	inWorld(t, func(w *world) {
		w.old("a:1", "b:1")
		w.later()
		job := removeJob("remove", "a:1", "b:1")
		before := len(w.api.Writes())
		w.api.Change(func(s *v1alpha1.ImageStoreSpec) {
			s.Jobs, s.Needs = []v1alpha1.StoreJob{job}, &v1alpha1.PodNeeds{AsOf: metav1.NewMicroTime(time.Now().Add(-time.Minute))}
		})
		w.pass(4 * time.Second)
		w.wantSaid(job, v1alpha1.JobWaiting, string(plan.ReasonStaleNeeds))
		w.wantHere("a:1", true)
		if !w.answer(v1alpha1.NeededImage{Image: "b:1", Pod: "shop/web"}) {
			t.Fatal("the agent did not ask")
		}
		st := w.wantSaid(job, v1alpha1.JobSucceeded, "")
		w.wantHere("a:1", false)
		w.wantHere("b:1", true)
		if d := decision(st, "b:1"); d.Reason != string(plan.ReasonNeeded) {
			t.Errorf("%+v", d)
		}
		w.pass(time.Hour)
		if n := len(w.api.Writes()) - before; n != 2 || w.api.Store().Status.NeedsAsked != "" {
			t.Errorf("it took %d writes, and asks %q", n, w.api.Store().Status.NeedsAsked)
		}
	})
}

func TestAskingIsBoundedWhileNobodyAnswers(t *testing.T) {
	inWorld(t, func(w *world) {
		w.old("a:1")
		w.later()
		job := removeJob("remove", "a:1")
		before := len(w.api.Writes())
		w.api.Change(func(s *v1alpha1.ImageStoreSpec) { s.Jobs = []v1alpha1.StoreJob{job} })
		w.pass(time.Hour)
		if n := len(w.api.Writes()) - before; n > 20 {
			t.Errorf("an hour took %d writes", n)
		}
		w.wantHere("a:1", true)
		for range 2 { // What was asked some time ago is too old; then it is asked again, at once.
			w.answer()
			w.pass(time.Second)
		}
		w.wantSaid(job, v1alpha1.JobSucceeded, "")
	})
}

func TestPodsNameMoreThanCanBeTold(t *testing.T) {
	inWorld(t, func(w *world) {
		w.old("a:1")
		w.later()
		job := removeJob("remove", "a:1")
		w.api.Change(func(s *v1alpha1.ImageStoreSpec) {
			s.Jobs, s.Needs = []v1alpha1.StoreJob{job}, &v1alpha1.PodNeeds{AsOf: metav1.NowMicro(), Omitted: 1}
		})
		w.pass(time.Second)
		w.wantSaid(job, v1alpha1.JobFailed, string(plan.ReasonStaleNeeds))
		w.wantHere("a:1", true)
	})
}

// A removal that is cancelled finishes what it has begun, and begins no more.
func TestACancelledRemoval(t *testing.T) {
	inWorld(t, func(w *world) {
		for i := range 100 {
			w.old(fmt.Sprintf("x%02d:1", i))
		}
		w.later()
		w.rt.Before = func(c enginetest.Call) {
			if c.Op == enginetest.OpRemove {
				time.Sleep(4 * time.Second)
			}
		}
		job := pruneJob("prune")
		w.ask(job)
		w.pass(3 * time.Second)
		w.wantSaid(job, v1alpha1.JobRunning, "")
		job.Cancel = true
		w.ask(job)
		w.pass(3 * time.Second)
		st := w.wantSaid(job, v1alpha1.JobCancelled, v1alpha1.ReasonCancelled)
		images, err := w.runtime.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if st.Removed == 0 || st.Removed > 50 || int(st.Removed) != 100-len(images) || st.Removed+st.Kept != 100 {
			t.Errorf("%d left; the answer is %d removed, %d kept: %s", len(images), st.Removed, st.Kept, st.Message)
		}
		next := pruneJob("next")
		w.rt.Before = nil
		w.ask(job, next)
		w.pass(3 * time.Second)
		if st := w.wantSaid(next, v1alpha1.JobSucceeded, ""); int(st.Removed) != len(images) {
			t.Errorf("the next removed %d of %d", st.Removed, len(images))
		}
	})
}

// Nobody waits for the answer of a job that is gone: its removal ends, and the next begins.
func TestAJobIsDeletedInTheMiddle(t *testing.T) {
	inWorld(t, func(w *world) {
		w.old("a:1", "b:1")
		w.push("slow:1", "slow", 1000)
		w.registry.Stall(ref("slow:1").Repository(), true)
		w.later()
		slow := true
		w.rt.Before = func(c enginetest.Call) {
			if c.Op == enginetest.OpRemove && slow {
				slow = false
				time.Sleep(10 * time.Second)
			}
		}
		w.ask(removeJob("remove", "a:1"), pullJob("pull", "slow:1"))
		w.pass(3 * time.Second)
		next := removeJob("next", "b:1")
		w.ask(next)
		w.pass(20 * time.Second)
		w.wantSaid(next, v1alpha1.JobSucceeded, "")
		if jobs := w.api.Store().Status.Jobs; len(jobs) != 1 {
			t.Errorf("there are answers of %d jobs", len(jobs))
		}
		w.wantHere("a:1", false)
	})
}

// What is being pulled is not taken away by another job, with force neither.
func TestWhatIsBeingPulledStays(t *testing.T) {
	inWorld(t, func(w *world) {
		w.rt.BytesPerSecond = 1000
		w.old("a:1")
		w.push("a:1", "a2", 100_000)
		w.later()
		pull, remove := pullJob("pull", "a:1"), removeJob("remove", "a:1")
		pull.Pull.ImagePullPolicy = "Always"
		remove.Remove.Force = true
		w.ask(pull)
		w.pass(time.Second)
		w.ask(pull, remove)
		w.pass(time.Second)
		st := w.wantSaid(remove, v1alpha1.JobSucceeded, "")
		if d := decision(st, "a:1"); d.State != v1alpha1.JobImageKept || d.Message != "it is being pulled for NodeJob shop/pull" {
			t.Errorf("%+v", d)
		}
		w.pass(2 * time.Minute)
		w.wantSaid(pull, v1alpha1.JobSucceeded, "")
		w.wantHere("a:1", true)
	})
}

func TestARemovalRetries(t *testing.T) {
	inWorld(t, func(w *world) {
		w.old("a:1", "b:1")
		w.later()
		w.rt.FailNext(enginetest.OpRemove, engine.Becausef(engine.Unknown, "disk error"))
		job := removeJob("remove", "a:1", "b:1")
		w.ask(job)
		w.pass(time.Second)
		if st := w.wantSaid(job, v1alpha1.JobFailed, "Unknown"); st.Removed != 1 || st.Failed != 1 {
			t.Errorf("%+v", st)
		}
		w.old("a:1", "b:1")
		w.rt.FailNext(enginetest.OpRemove, engine.Becausef(engine.Unknown, "disk error"))
		job.Run, job.RestartLimit = 1, 1
		w.ask(job)
		w.pass(30 * time.Second)
		if st := w.wantSaid(job, v1alpha1.JobSucceeded, ""); st.Removed != 2 || len(st.Images) != 2 {
			t.Errorf("%+v", st)
		}
	})
}

// A prune that takes longer than what pods need is good for hears of it again meanwhile.
func TestALongPruneKeepsAsking(t *testing.T) {
	inWorld(t, func(w *world) {
		for i := range 300 {
			w.old(fmt.Sprintf("x%03d:1", i))
		}
		w.later()
		w.rt.Before = func(c enginetest.Call) {
			if c.Op == enginetest.OpRemove {
				time.Sleep(20 * time.Second)
			}
		}
		job := pruneJob("prune")
		before := len(w.api.Writes())
		w.ask(job)
		for range 600 {
			w.pass(time.Second)
			w.answer()
		}
		if st := w.wantSaid(job, v1alpha1.JobSucceeded, ""); st.Removed != 300 {
			t.Errorf("%d removed, %d kept: %s", st.Removed, st.Kept, st.Message)
		}
		if n := len(w.api.Writes()) - before; n > 20 {
			t.Errorf("it took %d writes", n)
		}
	})
}

// Where the controller is away for a while in the middle, the rest goes when it is back.
func TestALongPruneWithoutTheController(t *testing.T) {
	inWorld(t, func(w *world) {
		for i := range 300 {
			w.old(fmt.Sprintf("x%03d:1", i))
		}
		w.later()
		w.rt.Before = func(c enginetest.Call) {
			if c.Op == enginetest.OpRemove {
				time.Sleep(20 * time.Second)
			}
		}
		job := pruneJob("prune")
		w.ask(job)
		w.pass(10 * time.Minute)
		w.wantSaid(job, v1alpha1.JobRunning, "")
		w.rt.Before = nil
		for range 30 {
			w.pass(10 * time.Second)
			w.answer()
		}
		st := w.wantSaid(job, v1alpha1.JobSucceeded, "")
		if st.Removed < 200 || st.Removed+st.Kept != 300 || len(st.Images) != 300 {
			t.Errorf("%d removed, %d kept, %d told: %s", st.Removed, st.Kept, len(st.Images), st.Message)
		}
		for _, image := range st.Images { // What was put back has just come.
			if image.Reason != "" && image.Reason != string(plan.ReasonRecent) {
				t.Errorf("%+v", image)
			}
		}
	})
}

// On CRI-O nothing but the agent's own watch knows when images came.
func TestPruneByTheOwnWatch(t *testing.T) {
	inWorld(t, func(w *world) {
		w.rt = enginetest.NewCRIO(w.registry)
		w.runtime = engine.Verify(w.rt)
		w.gate.Interface = w.runtime
		w.old("a:1", "b:1")
		w.start()
		unused := pruneJob("unused")
		unused.Prune.UnusedFor, unused.DryRun = "1h", true
		for _, c := range []struct {
			after   time.Duration
			removed int32
			reason  string
		}{{5 * time.Minute, 0, "Recent Unknown"}, {40 * time.Minute, 0, "Unknown"}, {30 * time.Minute, 2, ""}} {
			w.pass(c.after)
			unused.Run++
			w.ask(unused)
			w.pass(time.Second)
			st := w.wantSaid(unused, v1alpha1.JobSucceeded, "")
			if st.Removed != c.removed || c.reason != "" && !slices.Contains(strings.Fields(c.reason), decision(st, "a:1").Reason) {
				t.Errorf("%+v", st)
			}
		}
		w.old("new:1")
		w.pass(time.Minute)
		prune := pruneJob("prune")
		w.ask(unused, prune)
		w.pass(time.Second)
		if st := w.wantSaid(prune, v1alpha1.JobSucceeded, ""); st.Removed != 2 || decision(st, "new:1").Reason != "Recent" {
			t.Errorf("%+v", st)
		}
	})
}

// What comes while one agent takes the place of another has just come, on a runtime that does not tell when.
func TestWhatComesBetweenTwoAgentsIsNew(t *testing.T) {
	inWorld(t, func(w *world) {
		w.rt = enginetest.NewCRIO(w.registry)
		w.runtime = engine.Verify(w.rt)
		w.gate.Interface = w.runtime
		w.old("old:1")
		w.later()
		w.stop()
		w.old("new:1")
		w.pass(time.Minute)
		w.start()
		w.pass(20 * time.Second)
		prune := pruneJob("prune")
		w.ask(prune)
		w.pass(time.Second)
		if st := w.wantSaid(prune, v1alpha1.JobSucceeded, ""); decision(st, "new:1").Reason != string(plan.ReasonRecent) || st.Removed != 1 {
			t.Errorf("%+v", st)
		}
		w.wantHere("new:1", true)
	})
}

func TestAnActionThatCannotBeRead(t *testing.T) {
	inWorld(t, func(w *world) {
		w.old("a:1")
		w.later()
		job := pruneJob("prune")
		job.Prune.Filter = []string{"size>=many"}
		job.RestartLimit = 5
		w.ask(job)
		synctest.Wait()
		if st := w.wantSaid(job, v1alpha1.JobFailed, v1alpha1.ReasonInvalid); !strings.Contains(st.Message, "many") {
			t.Errorf("it says %q", st.Message)
		}
		w.wantHere("a:1", true)
	})
}
