// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/plan"
	"orlop.dev/orlop/internal/seal"
)

func TestAPullJob(t *testing.T) {
	inWorld(t, func(w *world) {
		w.cfg.MaxParallelPulls = 2
		w.rt.BytesPerSecond = 1000
		digest := w.push("a:1", "a", 3000).Digest
		w.push("b:latest", "b", 3000)
		w.old("b:latest", "c:1")
		w.later()
		job := pullJob("pull", "a:1", "b", "c:1", "a:1", "docker.io/library/a:1", "gone:1", "NOT//valid")
		w.ask(job)
		if st := w.said(job); st.UID != "" {
			t.Errorf("after no time it is told: %+v", st)
		}
		w.pass(firstMoment)
		if st := w.wantSaid(job, v1alpha1.JobRunning, ""); st.StartTime == nil || len(st.Images) != 0 {
			t.Errorf("in between it says %+v", st)
		}
		before := len(w.api.Writes())
		w.pass(20 * time.Second)
		st := w.wantSaid(job, v1alpha1.JobFailed, "NotFound")
		if st.Pulled != 2 || st.Present != 1 || st.Failed != 2 || st.Bytes != 6000 || len(st.Images) != 5 || st.CompletionTime == nil {
			t.Errorf("the answer is %+v", st)
		}
		if !strings.HasPrefix(st.Message, "2 of 5 images failed: docker.io/library/gone:1: ") {
			t.Errorf("the message is %q", st.Message)
		}
		if a := decision(st, "a:1"); a.State != v1alpha1.JobImagePulled || a.Digest != digest || a.ID == "" {
			t.Errorf("of a:1 it says %+v", a)
		}
		if n := len(w.api.Writes()) - before; n != 1 {
			t.Errorf("the end took %d writes", n)
		}
		if n := w.registry.Requests(ref("gone:1").Repository()); n != 1 {
			t.Errorf("what is not there was asked for %d times", n)
		}
		w.wantHere("a:1", true)
		if img, _ := w.here("a:1"); img.Pinned {
			t.Error("a job has pinned an image")
		}
	})
}

// firstMoment is after what is not done at once is told of.
const firstMoment = 2600 * time.Millisecond

func TestAPullJobRetries(t *testing.T) {
	inWorld(t, func(w *world) {
		w.push("a:1", "a", 1000)
		repository := ref("a:1").Repository()
		w.registry.Fail(repository, engine.Becausef(engine.RegistryUnavailable, "connection refused"))
		w.later()
		job := pullJob("pull", "a:1")
		job.RestartLimit = 2
		w.ask(job)
		w.pass(5 * time.Minute)
		st := w.wantSaid(job, v1alpha1.JobFailed, "RegistryUnavailable")
		if n := w.registry.Requests(repository); n != 3 || !strings.Contains(st.Message, "connection refused") {
			t.Errorf("%d tries; %q", n, st.Message)
		}
		job.Run++
		w.ask(job)
		w.pass(time.Second)
		w.registry.Fail(repository, nil)
		w.pass(time.Minute)
		if st := w.wantSaid(job, v1alpha1.JobSucceeded, ""); st.Pulled != 1 {
			t.Errorf("the answer is %+v", st)
		}
	})
}

func TestRetryAfterIsObeyedByJobs(t *testing.T) {
	inWorld(t, func(w *world) {
		w.push("a:1", "a", 1000)
		repository := ref("a:1").Repository()
		w.registry.Fail(repository, engine.Becausef(engine.RateLimited, "429 Too Many Requests: retry after 600s"))
		w.later()
		job := pullJob("pull", "a:1")
		job.RestartLimit = 1
		w.ask(job)
		w.pass(time.Second)
		w.registry.Fail(repository, nil)
		w.pass(9 * time.Minute)
		w.wantSaid(job, v1alpha1.JobRunning, "")
		w.pass(2 * time.Minute)
		w.wantSaid(job, v1alpha1.JobSucceeded, "")
	})
}

// A registry that hangs in one job holds up neither another job nor a cache, nor the rest of its own for long.
func TestAHangingRegistryInAJob(t *testing.T) {
	inWorld(t, func(w *world) {
		var images []string
		for i := range 20 {
			name := fmt.Sprintf("slow%d:1", i)
			w.push(name, name, 1000)
			w.registry.Stall(ref(name).Repository(), true)
			images = append(images, name)
		}
		cached := w.push("cached:1", "cached", 1000)
		w.push("other:1", "other", 1000)
		w.later()
		hangs, other := pullJob("hangs", images...), pullJob("other", "other:1")
		w.ask(hangs)
		w.pass(10 * time.Minute)
		w.api.Change(func(s *v1alpha1.ImageStoreSpec) {
			s.Jobs, s.Images = append(s.Jobs, other), []v1alpha1.StoreImage{cached}
		})
		w.pass(time.Second)
		w.wantState("cached:1", v1alpha1.ImagePresent, "")
		w.pass(time.Second)
		w.wantSaid(other, v1alpha1.JobSucceeded, "")
		w.wantSaid(hangs, v1alpha1.JobRunning, "")
		hangs.Cancel = true
		before := len(w.api.Writes())
		w.ask(hangs, other)
		w.pass(2 * time.Second)
		if st := w.wantSaid(hangs, v1alpha1.JobCancelled, v1alpha1.ReasonCancelled); st.Message != "ended when 0 of 20 images were done" {
			t.Errorf("it says %q", st.Message)
		}
		if n := len(w.api.Writes()) - before; n != 1 {
			t.Errorf("to cancel took %d writes", n)
		}
	})
}

// A job of many images and a cache of many share the pulls.
func TestJobsAndCachesTakeTurns(t *testing.T) {
	inWorld(t, func(w *world) {
		w.cfg.MaxParallelPulls = 1
		w.rt.BytesPerSecond = 1000
		var entries []v1alpha1.StoreImage
		var first, second []string
		for i := range 10 {
			entries = append(entries, w.push(fmt.Sprintf("c%d:1", i), fmt.Sprint("c", i), 1000))
			w.push(fmt.Sprintf("x%d:1", i), fmt.Sprint("x", i), 1000)
			w.push(fmt.Sprintf("y%d:1", i), fmt.Sprint("y", i), 1000)
			first, second = append(first, fmt.Sprintf("x%d:1", i)), append(second, fmt.Sprintf("y%d:1", i))
		}
		w.later()
		w.api.Change(func(s *v1alpha1.ImageStoreSpec) {
			s.Images, s.Jobs = entries, []v1alpha1.StoreJob{pullJob("first", first...), pullJob("second", second...)}
		})
		w.pass(15500 * time.Millisecond)
		count := map[byte]int{}
		images, err := w.runtime.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, img := range images {
			count[img.Tags[0].Familiar()[0]]++
		}
		for _, party := range []byte("cxy") {
			if count[party] < 4 {
				t.Errorf("after 15 pulls each of three has %v", count)
				break
			}
		}
	})
}

// What a job pulls, a cache finds: it is not removed with the cache.
func TestWhatAJobPullsIsFound(t *testing.T) {
	inWorld(t, func(w *world) {
		w.rt.BytesPerSecond = 1000
		e := w.push("a:1", "a", 5000)
		w.later()
		job := pullJob("pull", "a:1")
		w.ask(job)
		w.pass(time.Second)
		w.want(e)
		w.pass(10 * time.Second)
		w.wantSaid(job, v1alpha1.JobSucceeded, "")
		if st := w.wantState("a:1", v1alpha1.ImagePresent, ""); st.Pulled || !st.Pinned {
			t.Errorf("the cache says %+v", st)
		}
		if n := w.registry.Requests(ref("a:1").Repository()); n != 1 {
			t.Errorf("it was pulled %d times", n)
		}
		w.release(e)
		w.wantHere("a:1", true)
	})
}

func TestPullPolicies(t *testing.T) {
	for name, c := range map[string]struct {
		image  string
		policy corev1.PullPolicy
		asks   int
	}{
		"a tag":                 {"a:1", "", 0},
		"latest":                {"a:latest", "", 1},
		"no tag":                {"a", "", 1},
		"always":                {"a:1", corev1.PullAlways, 1},
		"latest if not present": {"a:latest", corev1.PullIfNotPresent, 0},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				for _, tag := range []string{"a:1", "a:latest"} {
					w.push(tag, "a", 1000)
					w.rt.Load(content("a", 1000), tag)
				}
				w.later()
				job := pullJob("pull", c.image)
				job.Pull.ImagePullPolicy = c.policy
				plan := job
				plan.DryRun = true
				w.ask(plan)
				w.pass(time.Second)
				if st := w.wantSaid(plan, v1alpha1.JobSucceeded, ""); int(st.Pulled) != c.asks || int(st.Present) != 1-c.asks {
					t.Errorf("the plan is %+v", st)
				}
				if n := w.registry.Requests(ref("a:1").Repository()); n != 0 {
					t.Errorf("a dry run asked the registry")
				}
				w.ask(job)
				w.pass(time.Second)
				w.wantSaid(job, v1alpha1.JobSucceeded, "")
				if n := w.registry.Requests(ref("a:1").Repository()); n != c.asks {
					t.Errorf("the registry was asked %d times, want %d", n, c.asks)
				}
			})
		})
	}
}

func TestAPullJobOnAFullDisk(t *testing.T) {
	inWorld(t, func(w *world) {
		w.push("a:1", "a", 1000)
		w.old("here:1")
		w.gate.disk = plan.Disk{Capacity: 1000, Available: 100}
		w.later()
		job := pullJob("pull", "a:1", "here:1")
		w.ask(job)
		w.pass(time.Second)
		st := w.wantSaid(job, v1alpha1.JobFailed, "InsufficientDisk")
		if st.Present != 1 || w.registry.Requests(ref("a:1").Repository()) != 0 {
			t.Errorf("%+v", st)
		}
		job.Run, job.RestartLimit = 1, 3
		w.ask(job)
		w.pass(5 * time.Second)
		w.gate.set(func() { w.gate.disk.Available = 900 })
		w.pass(time.Minute)
		w.wantSaid(job, v1alpha1.JobSucceeded, "")
	})
}

func TestAPullJobWithCredentials(t *testing.T) {
	inWorld(t, func(w *world) {
		login := engine.Credentials{Username: "me", Password: "secret"}
		w.registry.Protect("private.example", login)
		w.push("private.example/a:1", "a", 1000)
		w.push("b:1", "b", 1000)
		w.later()
		job := pullJob("pull", "private.example/a:1", "b:1")
		job.Pull.Credentials = []string{"c1"}
		w.ask(job)
		w.pass(firstMoment)
		w.wantSaid(job, v1alpha1.JobWaiting, v1alpha1.ReasonWaitingForCredentials)
		w.sealTo(t, login)
		w.pass(10 * time.Second)
		if st := w.wantSaid(job, v1alpha1.JobSucceeded, ""); st.Pulled != 2 {
			t.Errorf("%+v", st)
		}
	})
}

func (w *world) sealTo(t *testing.T, login engine.Credentials) {
	t.Helper()
	store := w.api.Store()
	plain := fmt.Appendf(nil, `{"username":%q,"password":%q}`, login.Username, login.Password)
	sealed, err := seal.Seal(store.Status.Key.Public, plain, seal.Binding{
		NodeUID: "uid-1", StoreUID: string(store.UID), SecretUID: "s1", Registry: "private.example",
	})
	if err != nil {
		t.Fatal(err)
	}
	w.api.Change(func(s *v1alpha1.ImageStoreSpec) {
		s.Credentials = []v1alpha1.SealedCredentials{{
			Name: "c1", KeyID: store.Status.Key.ID, Registry: "private.example", Secret: "shop/regcred", SecretUID: "s1", Sealed: sealed,
		}}
	})
}

func TestAJobsProgressIsToldWhileSomebodyLooksOn(t *testing.T) {
	inWorld(t, func(w *world) {
		e := w.slowly("a:1")
		w.old("b:1")
		w.later()
		job := pullJob("pull", "a:1", "b:1")
		w.ask(job)
		w.pass(10 * time.Second)
		if p := w.wantSaid(job, v1alpha1.JobRunning, "").Progress; p != nil {
			t.Errorf("nobody looks on, and it tells %+v", p)
		}
		w.watchFor(20 * time.Second)
		before := len(w.api.Writes())
		w.pass(10 * time.Second)
		p := w.said(job).Progress
		if p == nil || p.Images != 2 || p.FinishedImages != 1 || p.TotalBytes != e.Size || p.DoneBytes < e.Size/5 {
			t.Errorf("progress is %+v", p)
		}
		if n := len(w.api.Writes()) - before; n > 6 {
			t.Errorf("10 s took %d writes", n)
		}
		w.pass(time.Minute)
		if st := w.wantSaid(job, v1alpha1.JobSucceeded, ""); st.Progress != nil {
			t.Errorf("it is done, and there is progress: %+v", st.Progress)
		}
	})
}
