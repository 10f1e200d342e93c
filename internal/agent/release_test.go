// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/agent"
	"orlop.dev/orlop/internal/engine/enginetest"
	"orlop.dev/orlop/internal/plan"
)

// release marks entries as released, with the word that no pod needs anything now.
func (w *world) release(entries ...v1alpha1.StoreImage) {
	for i := range entries {
		entries[i].Released = true
	}
	w.api.Change(func(s *v1alpha1.ImageStoreSpec) {
		s.Images, s.Needs = entries, &v1alpha1.PodNeeds{AsOf: metav1.NowMicro()}
	})
	w.pass(time.Second)
}

// answer answers the question that the agent has asked, if it has asked one.
func (w *world) answer(pods ...v1alpha1.NeededImage) bool {
	asked := w.api.Store().Status.NeedsAsked
	needs := w.api.Store().Spec.Needs
	if asked == "" || needs != nil && needs.Answers == asked {
		return false
	}
	w.api.Change(func(s *v1alpha1.ImageStoreSpec) {
		s.Needs = &v1alpha1.PodNeeds{AsOf: metav1.NewMicroTime(time.Now().Add(time.Hour)), Answers: asked, Images: pods} // Its clock is wrong.
	})
	w.pass(time.Second)
	return true
}

// What is removed on a slow disk would be put back, and removed again, for ever, if what pods need were asked only before.
func TestALongRemovalIsNotUndone(t *testing.T) {
	inWorld(t, func(w *world) {
		e := w.push("a:1", "a", 1000)
		w.rt.Before = func(c enginetest.Call) {
			if c.Op == enginetest.OpRemove {
				time.Sleep(plan.NeedsMaxAge + 5*time.Second)
			}
		}
		w.start()
		w.want(e)
		w.pass(time.Second)
		w.release(e)
		for range 10 {
			w.pass(15 * time.Second)
			w.answer()
		}
		w.wantHere("a:1", false)
		if removals, restores := w.rt.Calls(enginetest.OpRemove), w.rt.Calls(enginetest.OpRestore); removals != 1 || restores != 0 {
			t.Errorf("%d removals, %d put back", removals, restores)
		}
	})
}

func (w *world) wantForgotten(name string) {
	w.Helper()
	if st := w.state(ref(name).String()); st.Image != "" {
		w.Errorf("there is still a record: %+v", st)
	}
}

func TestReleaseRemovesWhatOrlopPulled(t *testing.T) {
	inWorld(t, func(w *world) {
		ours, found := w.push("ours:1", "ours", 1000), w.push("found:1", "found", 1000)
		kept := w.push("kept:1", "kept", 1000)
		kept.RemovalPolicy = v1alpha1.RemovalPolicyKeep
		w.rt.Load(content("found", 1000), "found:1")
		w.start()
		w.want(ours, found, kept)
		w.pass(time.Second)
		before := len(w.api.Writes())
		w.release(ours, found, kept)
		w.wantHere("ours:1", false)
		for _, name := range []string{"found:1", "kept:1"} {
			if img, here := w.here(name); !here || img.Pinned {
				t.Errorf("%s: here %t, pinned %t", name, here, img.Pinned)
			}
		}
		for _, name := range []string{"ours:1", "found:1", "kept:1"} {
			w.wantForgotten(name)
		}
		if n := len(w.api.Writes()) - before; n > 2 {
			t.Errorf("it took %d writes", n)
		}
	})
}

// A pin that came about though the runtime's answer did not is lifted again: as somebody else's it would keep the image for ever.
func TestAPinWithoutAnAnswerIsLifted(t *testing.T) {
	inWorld(t, func(w *world) {
		entry := w.push("ours:1", "ours", 1000)
		entry.Pin = true
		released := entry
		released.Released = true
		cut := false
		w.rt.Before = func(call enginetest.Call) {
			if call.Op != enginetest.OpPin || cut {
				return
			}
			cut = true
			if err := (&enginetest.Containerd{Runtime: w.rt}).Pin(t.Context(), call.Ref, true); err != nil {
				t.Error(err)
			}
			w.rt.FailNext(enginetest.OpPin, context.DeadlineExceeded)
			w.api.Change(func(s *v1alpha1.ImageStoreSpec) {
				s.Images, s.Needs = []v1alpha1.StoreImage{released}, &v1alpha1.PodNeeds{AsOf: metav1.NowMicro()}
			})
		}
		w.start()
		w.want(entry)
		for range 60 {
			w.pass(5 * time.Second)
			w.answer()
		}
		if !cut {
			t.Fatal("nothing was pinned")
		}
		w.wantHere("ours:1", false)
		w.wantForgotten("ours:1")
	})
}

// The same of a tag that moves while it is pinned: what it stood for is released under its digest, and no look has seen the pin by then.
func TestAPinWithoutAnAnswerIsLiftedOfAMovedTag(t *testing.T) {
	inWorld(t, func(w *world) {
		old := w.push("a:1", "old", 1000)
		left := old
		left.Image, left.Released = ref("a:1").Repository()+"@"+old.Digest, true
		newer := w.push("a:1", "new", 1000)
		moved := false
		w.rt.Before = func(call enginetest.Call) {
			if call.Op != enginetest.OpPin || moved {
				return
			}
			moved = true
			w.api.Change(func(s *v1alpha1.ImageStoreSpec) {
				s.Images, s.Needs = []v1alpha1.StoreImage{newer, left}, &v1alpha1.PodNeeds{AsOf: metav1.NowMicro()}
			})
			time.Sleep(10 * time.Millisecond) // In which the agent looks.
			if err := (&enginetest.Containerd{Runtime: w.rt}).Pin(t.Context(), call.Ref, true); err != nil {
				t.Error(err)
			}
			w.rt.FailNext(enginetest.OpPin, context.Canceled)
		}
		w.start()
		w.want(old)
		for range 12 {
			w.pass(5 * time.Second)
			w.answer()
		}
		if !moved {
			t.Error("nothing was pinned")
		}
		w.wantHere("a@"+old.Digest, false)
		w.wantForgotten(left.Image)
		w.wantState("a:1", v1alpha1.ImagePresent, "")
	})
}

func TestReleaseAsksWhatIsNeeded(t *testing.T) {
	for name, c := range map[string]struct {
		need   v1alpha1.NeededImage
		reason string
	}{
		"by a pod": {v1alpha1.NeededImage{Image: "a:1", Pod: "shop/web"}, "Needed"},
		"by a cache, and the registry does not answer": {v1alpha1.NeededImage{Image: ref("a:1").String(), Cache: "shop/late"}, "Cached"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				e := w.push("a:1", "a", 1000)
				w.start()
				w.want(e)
				w.pass(time.Second)
				e.Released = true
				w.want(e)
				w.pass(time.Minute)
				w.wantHere("a:1", true)
				w.wantState("a:1", v1alpha1.ImageReleasing, "StaleNeeds")
				if !w.answer(c.need) {
					t.Fatal("the agent did not ask")
				}
				w.wantHere("a:1", true)
				w.wantState("a:1", v1alpha1.ImageReleasing, c.reason)
				writes := len(w.api.Writes())
				for range 60 {
					w.pass(time.Minute)
					w.answer(c.need)
				}
				if n := len(w.api.Writes()) - writes; n > 40 {
					t.Errorf("an hour of asking took %d writes", n)
				}
				for range 20 {
					w.pass(time.Minute)
					w.answer()
				}
				w.wantHere("a:1", false)
				w.wantForgotten("a:1")
				if asked := w.api.Store().Status.NeedsAsked; asked != "" {
					t.Errorf("it still asks %s", asked)
				}
			})
		})
	}
}

func TestReleaseWaitsForContainers(t *testing.T) {
	inWorld(t, func(w *world) {
		e := w.push("a:1", "a", 1000)
		w.start()
		w.want(e)
		w.pass(time.Second)
		w.rt.Start("a:1", enginetest.Container{Name: "web", Pod: "shop/web-1"})
		w.release(e)
		w.pass(10 * time.Minute)
		w.wantHere("a:1", true)
		w.wantState("a:1", v1alpha1.ImageReleasing, "InUse")
		if asked := w.api.Store().Status.NeedsAsked; asked != "" {
			t.Error("it asks the cluster, though the node itself sees that the image is in use")
		}
		w.rt.Forget("web")
		w.pass(3 * time.Second)
		w.answer()
		w.wantHere("a:1", false)
		w.wantForgotten("a:1")
	})
}

// releaseFor marks entries as released, with the word of what pods need.
func (w *world) releaseFor(pods []v1alpha1.NeededImage, entries ...v1alpha1.StoreImage) {
	for i := range entries {
		entries[i].Released = true
	}
	w.api.Change(func(s *v1alpha1.ImageStoreSpec) {
		s.Images, s.Needs = entries, &v1alpha1.PodNeeds{AsOf: metav1.NowMicro(), Images: pods}
	})
	w.pass(5 * time.Second)
}

// That the pod which holds an image has gone shows by its containers. What was told of pods before still names it.
func TestReleaseFollowsItsPod(t *testing.T) {
	inWorld(t, func(w *world) {
		e := w.push("a:1", "a", 1000)
		w.start()
		w.want(e)
		w.pass(time.Second)
		w.rt.Start("a:1", enginetest.Container{Name: "web", Pod: "shop/web-1"})
		w.releaseFor([]v1alpha1.NeededImage{{Image: "a:1", Pod: "shop/web-1"}}, e)
		w.wantState("a:1", v1alpha1.ImageReleasing, "InUse")
		w.rt.Forget("web")
		w.pass(2 * time.Second)
		w.wantHere("a:1", true)
		if !w.answer() {
			t.Error("it did not ask")
		}
		w.wantHere("a:1", false)
		w.wantForgotten("a:1")
	})
}

// Another pod may hold the image by then, which has no container yet.
func TestReleaseFollowsItsPodToTheNext(t *testing.T) {
	inWorld(t, func(w *world) {
		e := w.push("a:1", "a", 1000)
		w.start()
		w.want(e)
		w.pass(time.Second)
		w.rt.Start("a:1", enginetest.Container{Name: "web", Pod: "shop/web-1"})
		w.release(e)
		w.pass(4 * time.Second)
		w.rt.Forget("web")
		w.pass(2 * time.Second)
		w.wantHere("a:1", true)
		before := len(w.api.Writes())
		for range 3600 {
			w.answer(v1alpha1.NeededImage{Image: "a:1", Pod: "shop/web-2"})
			w.pass(time.Second)
		}
		w.wantHere("a:1", true)
		w.wantState("a:1", v1alpha1.ImageReleasing, "Needed")
		if n := len(w.api.Writes()) - before; n > 40 {
			t.Errorf("an hour of asking took %d writes", n)
		}
	})
}

// What a waiting pod holds is asked for later and later, and what was in use goes as soon as it is not.
func TestAReleaseDoesNotWaitForAnothersQuestion(t *testing.T) {
	inWorld(t, func(w *world) {
		held, used := w.push("held:1", "held", 1000), w.push("used:1", "used", 1000)
		waiting := v1alpha1.NeededImage{Image: "held:1", Pod: "shop/waiting"}
		w.start()
		w.want(held, used)
		w.pass(time.Second)
		w.rt.Start("used:1", enginetest.Container{Name: "web", Pod: "shop/web-1"})
		w.releaseFor([]v1alpha1.NeededImage{waiting}, held, used)
		for range 3600 {
			w.pass(time.Second)
			w.answer(waiting)
		}
		w.wantHere("held:1", true)
		w.wantHere("used:1", true)
		w.rt.Forget("web")
		for range 12 {
			w.pass(time.Second)
			w.answer(waiting)
		}
		w.wantHere("held:1", true)
		w.wantHere("used:1", false)
	})
}

func TestReleaseHeedsOmittedNeedsAndTheFuture(t *testing.T) {
	for name, needs := range map[string]v1alpha1.PodNeeds{
		"omitted": {AsOf: metav1.NewMicroTime(time.Date(2000, 1, 1, 0, 0, 1, 0, time.UTC)), Omitted: 1},
		"future":  {AsOf: metav1.NewMicroTime(time.Date(2000, 1, 1, 1, 0, 0, 0, time.UTC))},
		"past":    {AsOf: metav1.NewMicroTime(time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC))},
		"another": {AsOf: metav1.NewMicroTime(time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC)), Answers: "another's question"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) { // Whose clock begins with 2000.
				e := w.push("a:1", "a", 1000)
				w.start()
				w.want(e)
				w.pass(time.Second)
				e.Released = true
				w.api.Change(func(s *v1alpha1.ImageStoreSpec) { s.Images, s.Needs = []v1alpha1.StoreImage{e}, &needs })
				w.pass(time.Second)
				w.wantHere("a:1", true)
			})
		})
	}
}

// The controller's clock is ahead by as much as the watch was away: what it wrote at the beginning of that looks new.
func TestWhatWasWrittenWhileNobodyWatchedIsNotNew(t *testing.T) {
	inWorld(t, func(w *world) {
		e := w.push("a:1", "a", 1000)
		w.start()
		w.want(e)
		w.pass(time.Second)
		w.api.Away(errors.New("no route to host"))
		e.Released = true
		w.api.Change(func(s *v1alpha1.ImageStoreSpec) {
			s.Images, s.Needs = []v1alpha1.StoreImage{e}, &v1alpha1.PodNeeds{AsOf: metav1.NewMicroTime(time.Now().Add(5 * time.Minute))}
		})
		w.pass(5 * time.Minute)
		w.api.Away(nil)
		w.pass(5 * time.Second)
		w.wantHere("a:1", true)
		if !w.answer() {
			t.Error("it asked nothing")
		}
		w.pass(5 * time.Second)
		w.wantHere("a:1", false)
	})
}

// The controller's clock is ahead. What it told as last looks new again once this node's clock has come to that time.
func TestAnOldWordIsNotNewByAnotherClock(t *testing.T) {
	const ahead = 5 * time.Minute
	for name, restart := range map[string]bool{"of one agent": false, "of the agent after it": true} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				e := w.push("a:1", "a", 1000)
				w.start()
				w.want(e)
				w.pass(time.Second)
				w.rt.Start("a:1", enginetest.Container{Name: "web", Pod: "shop/web-1"})
				e.Released = true
				w.api.Change(func(s *v1alpha1.ImageStoreSpec) {
					s.Images, s.Needs = []v1alpha1.StoreImage{e}, &v1alpha1.PodNeeds{AsOf: metav1.NewMicroTime(time.Now().Add(ahead))}
				})
				w.pass(ahead + 10*time.Second)
				if restart {
					w.start()
				}
				w.rt.Forget("web") // And a pod has come since that was told, and waits to start.
				w.pass(3 * time.Second)
				w.wantHere("a:1", true)
				if !w.answer(v1alpha1.NeededImage{Image: "a:1", Pod: "shop/web-2"}) {
					t.Error("the agent did not ask")
				}
				w.wantHere("a:1", true)
				w.wantState("a:1", v1alpha1.ImageReleasing, "Needed")
			})
		})
	}
}

// An answer is as old as its question, and stays so when the next has been asked.
func TestAnAnswerIsAsOldAsItsQuestion(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.push("a:1", "a", 1000), w.push("b:1", "b", 1000)
		w.start()
		w.want(a, b)
		w.pass(time.Second)
		w.rt.Start("a:1", enginetest.Container{Name: "web", Pod: "shop/web-1"})
		a.Released, b.Released = true, true
		w.want(a, b)
		w.pass(time.Hour) // By now it asks every five minutes.
		nextQuestion := func() string {
			before := w.api.Store().Status.NeedsAsked
			for range 600 {
				w.pass(time.Second)
				if asked := w.api.Store().Status.NeedsAsked; asked != before {
					return asked
				}
			}
			t.Fatal("it does not ask again")
			return ""
		}
		asked := nextQuestion()
		w.api.Change(func(s *v1alpha1.ImageStoreSpec) {
			s.Needs = &v1alpha1.PodNeeds{ // By a clock that is nearly five minutes ahead.
				AsOf: metav1.NewMicroTime(time.Now().Add(4*time.Minute + 40*time.Second)), Answers: asked,
				Images: []v1alpha1.NeededImage{{Image: "b:1", Pod: "shop/b"}},
			}
		})
		nextQuestion()
		w.rt.Forget("web") // And a pod has come since the answer, and waits to start.
		for range 60 {
			w.pass(time.Second)
			w.wantHere("a:1", true)
		}
		for range 20 {
			w.pass(30 * time.Second)
			w.answer()
		}
		w.wantHere("a:1", false)
	})
}

func TestNothingIsRemovedWhileTheAPIIsAway(t *testing.T) {
	inWorld(t, func(w *world) {
		e := w.push("a:1", "a", 1000)
		w.start()
		w.want(e)
		w.pass(time.Second)
		w.api.RefuseWrites(errors.New("connection refused"))
		e.Released = true
		w.want(e)
		w.pass(10 * time.Minute)
		w.wantHere("a:1", true)
	})
}

func TestSharedImageStaysUntilTheLastLetsGo(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.push("a:1", "same", 1000), w.push("b:1", "same", 1000)
		w.start()
		w.want(a, b)
		w.pass(time.Second)
		a.Released = true
		w.api.Change(func(s *v1alpha1.ImageStoreSpec) {
			s.Images, s.Needs = []v1alpha1.StoreImage{a, b}, &v1alpha1.PodNeeds{AsOf: metav1.NowMicro()}
		})
		w.pass(time.Second)
		img, here := w.here("b:1")
		if !here || !img.Pinned {
			t.Errorf("b:1 here %t, pinned %t", here, img.Pinned)
		}
		w.wantState("a:1", v1alpha1.ImageReleasing, "Cached")
		w.release(a, b)
		w.wantHere("a:1", false)
		w.wantHere("b:1", false)
		w.wantForgotten("a:1")
		w.wantForgotten("b:1")
	})
}

func TestMovedTag(t *testing.T) {
	inWorld(t, func(w *world) {
		old := w.push("a:1", "old", 1000)
		w.start()
		w.want(old)
		w.pass(time.Second)
		newer := w.push("a:1", "new", 5000)
		left := old
		left.Image, left.Released = ref("a:1").Repository()+"@"+old.Digest, true
		w.rt.BytesPerSecond = 1000
		w.api.Change(func(s *v1alpha1.ImageStoreSpec) {
			s.Images, s.Needs = []v1alpha1.StoreImage{newer, left}, &v1alpha1.PodNeeds{AsOf: metav1.NowMicro()}
		})
		w.pass(time.Second)
		oldName := "a@" + old.Digest
		if img, here := w.here(oldName); !here || !img.Pinned {
			t.Errorf("before the new image is here, the old: here %t, pinned %t", here, img.Pinned)
		}
		if st := w.state(left.Image); !st.Pulled {
			t.Errorf("the record was not carried over: %+v", st)
		}
		w.pass(6 * time.Second)
		st := w.wantState("a:1", v1alpha1.ImagePresent, "")
		if st.Digest != newer.Digest || !st.Pulled || !st.Pinned {
			t.Errorf("the tag's record: %+v", st)
		}
		w.wantHere(oldName, false)
		if st := w.state(left.Image); st.Image != "" {
			t.Errorf("there is still a record of the old image: %+v", st)
		}
		if img, here := w.here("a:1"); !here || !img.Pinned || img.ID != content("new", 5000).Config().String() {
			t.Errorf("the tag: here %t, pinned %t, %s", here, img.Pinned, img.ID)
		}
	})
}

func TestMovedTagOfAFoundImageLeavesTheOldOne(t *testing.T) {
	inWorld(t, func(w *world) {
		old := w.push("a:1", "old", 1000)
		w.rt.Load(content("old", 1000), "a:1")
		w.start()
		w.want(old)
		w.pass(time.Second)
		newer := w.push("a:1", "new", 1000)
		left := old
		left.Image, left.Released = ref("a:1").Repository()+"@"+old.Digest, true
		w.api.Change(func(s *v1alpha1.ImageStoreSpec) {
			s.Images, s.Needs = []v1alpha1.StoreImage{newer, left}, &v1alpha1.PodNeeds{AsOf: metav1.NowMicro()}
		})
		w.pass(2 * time.Second)
		w.wantState("a:1", v1alpha1.ImagePresent, "")
		if img, here := w.here("a@" + old.Digest); !here || img.Pinned {
			t.Errorf("what was found: here %t, pinned %t", here, img.Pinned)
		}
		w.wantForgotten("a@" + old.Digest)
	})
}

func TestSomebodyElsesNameKeepsAReleasedImage(t *testing.T) {
	inWorld(t, func(w *world) {
		e := w.push("a:1", "a", 1000)
		w.start()
		w.want(e)
		w.pass(time.Second)
		w.rt.Load(content("a", 1000), "a:1", "other:9")
		w.release(e)
		w.wantHere("a:1", false)
		w.wantHere("other:9", true)
		w.wantForgotten("a:1")
	})
}

func TestRestartLosesNothing(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.push("a:1", "a", 10_000), w.push("b:1", "b", 10_000)
		w.rt.BytesPerSecond = 1000
		w.start()
		w.want(a, b)
		w.pass(5 * time.Second)
		w.start() // In the middle of both.
		w.pass(15 * time.Second)
		for _, name := range []string{"a:1", "b:1"} {
			if st := w.wantState(name, v1alpha1.ImagePresent, ""); !st.Pulled {
				t.Errorf("%s counts as found", name)
			}
		}
		w.start()
		quiet := len(w.api.Writes())
		w.pass(time.Hour)
		if n := len(w.api.Writes()) - quiet; n != 0 {
			t.Errorf("%d writes in the hour after a restart", n)
		}
		w.release(a, b)
		w.wantHere("a:1", false)
		w.wantHere("b:1", false)
	})
}

func TestRetire(t *testing.T) {
	inWorld(t, func(w *world) {
		e := w.push("a:1", "a", 1000)
		w.start()
		w.want(e)
		w.pass(time.Second)
		w.api.Change(func(s *v1alpha1.ImageStoreSpec) { s.Retire = true })
		w.pass(time.Second)
		status := w.api.Store().Status
		retired := false
		for _, c := range status.Conditions {
			retired = retired || c.Type == v1alpha1.ConditionRetired && c.Status == "True"
		}
		if !retired || len(status.Images) != 0 {
			t.Errorf("after retiring, the status is %+v", status)
		}
		if img, here := w.here("a:1"); !here || img.Pinned {
			t.Errorf("the image: here %t, pinned %t", here, img.Pinned)
		}
		w.rt.Wipe()
		w.pass(time.Minute)
		w.wantHere("a:1", false)
		w.api.Change(func(s *v1alpha1.ImageStoreSpec) { s.Retire = false })
		w.pass(time.Second)
		w.wantState("a:1", v1alpha1.ImagePresent, "")
	})
}

func TestDeletedStore(t *testing.T) {
	inWorld(t, func(w *world) {
		e := w.push("a:1", "a", 1000)
		w.start()
		w.want(e)
		w.pass(time.Second)
		w.api.Delete()
		w.pass(time.Second)
		if img, here := w.here("a:1"); !here || img.Pinned {
			t.Errorf("the image: here %t, pinned %t", here, img.Pinned)
		}
		w.api.Create(v1alpha1.ImageStoreSpec{Images: []v1alpha1.StoreImage{e}})
		w.pass(time.Second)
		if img, here := w.here("a:1"); !here || !img.Pinned {
			t.Errorf("in a new store, the image: here %t, pinned %t", here, img.Pinned)
		}
		w.wantState("a:1", v1alpha1.ImagePresent, "")
	})
}

func TestEndOfTheAgent(t *testing.T) {
	for name, c := range map[string]struct {
		refused error
		after   time.Duration
		pinned  bool
	}{
		"an upgrade":              {nil, 0, true},
		"the API does not answer": {errors.New("connection refused"), 0, true},
		"the store is gone":       {agent.ErrGone, 0, false},
		"it goes a moment later":  {agent.ErrGone, time.Second, false},
		"it goes long after that": {agent.ErrGone, time.Minute, true},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				e := w.push("a:1", "a", 1000)
				w.start()
				w.want(e)
				w.pass(time.Second)
				later := time.AfterFunc(c.after, func() { w.api.Refuse(c.refused) })
				defer later.Stop()
				synctest.Wait()
				w.stop()
				if img, here := w.here("a:1"); !here || img.Pinned != c.pinned {
					t.Errorf("the image: here %t, pinned %t", here, img.Pinned)
				}
			})
		})
	}
}
