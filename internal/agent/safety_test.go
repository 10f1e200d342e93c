// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/engine/enginetest"
)

// An agent notes what it is about to pull. What somebody else brings before the next agent comes to it is theirs.
func TestWhatCameBetweenTwoAgentsIsFound(t *testing.T) {
	eachWorld(t, func(w *world) {
		w.cfg.MaxParallelPulls = 1
		w.rt.BytesPerSecond = 1000
		a, b := w.push("a:1", "a", 100_000), w.push("b:1", "b", 1000)
		w.start()
		w.want(a, b)
		w.pass(time.Second)
		if st := w.wantState("b:1", v1alpha1.ImageWaiting, ""); !st.Pulled {
			w.Fatalf("it is not noted before its pull: %+v", st)
		}
		w.stop()
		w.rt.Load(content("b", 1000), "b:1")
		w.start()
		w.pass(10 * time.Second)
		if st := w.wantState("b:1", v1alpha1.ImagePresent, ""); st.Pulled {
			w.Errorf("it counts as ours: %+v", st)
		}
		w.release(b)
		w.wantHere("b:1", true)
	})
}

// Somebody else has what the pull lacked, as a pod's own credentials: what they bring is theirs, also where the agent that failed
// is not there any more.
func TestWhatComesAfterAFailedPullIsFound(t *testing.T) {
	for name, restart := range map[string]bool{"one agent": false, "two agents": true} {
		t.Run(name, func(t *testing.T) {
			eachWorld(t, func(w *world) {
				a, b := w.push("a:1", "a", 1000), w.push("b:1", "b", 1000)
				w.registry.Protect("docker.io", engine.Credentials{Username: "pod", Password: "secret"})
				w.start()
				w.want(a, b)
				w.pass(time.Second)
				w.wantState("a:1", v1alpha1.ImageFailed, "Unauthorized")
				if restart {
					w.stop()
				}
				w.rt.Load(content("a", 1000), "a:1")
				if restart {
					w.rt.Load(content("b", 1000), "b:1")
					b.Released = true
					w.want(a, b)
					w.start()
				}
				w.pass(2 * time.Minute)
				if st := w.wantState("a:1", v1alpha1.ImagePresent, ""); st.Pulled {
					w.Errorf("it counts as ours: %+v", st)
				}
				w.release(a, b)
				w.pass(time.Minute)
				w.wantHere("a:1", true)
				w.wantHere("b:1", restart)
				w.wantForgotten("a:1")
				w.wantForgotten("b:1")
			})
		})
	}
}

// What comes after a failure by our own pull is ours all the same.
func TestWhatIsPulledAfterAFailureIsOurs(t *testing.T) {
	eachWorld(t, func(w *world) {
		e := w.push("a:1", "a", 1000)
		repository := ref("a:1").Repository()
		w.registry.Fail(repository, engine.Becausef(engine.RegistryUnavailable, "connection refused"))
		w.start()
		w.want(e)
		w.pass(time.Second)
		w.wantState("a:1", v1alpha1.ImageFailed, "RegistryUnavailable")
		w.start()
		w.pass(time.Second)
		w.registry.Fail(repository, nil)
		w.pass(10 * time.Minute)
		if st := w.wantState("a:1", v1alpha1.ImagePresent, ""); !st.Pulled {
			w.Errorf("it counts as found: %+v", st)
		}
		w.release(e)
		w.wantHere("a:1", false)
	})
}

// What a person has pinned on the machine stays when the cache lets go of it, until that person does.
func TestAPinByHandOutlivesTheCache(t *testing.T) {
	inWorld(t, func(w *world) {
		byHand := func(pinned bool) {
			if err := (&enginetest.Containerd{Runtime: w.rt}).PinByHand(t.Context(), ref("a:1"), pinned); err != nil {
				t.Fatal(err)
			}
		}
		e := w.push("a:1", "a", 1000)
		w.start()
		w.want(e)
		w.pass(time.Second)
		byHand(true)
		w.release(e)
		w.wantHere("a:1", true)
		w.wantState("a:1", v1alpha1.ImageReleasing, "Pinned")
		byHand(false)
		w.pass(3 * time.Second)
		w.answer()
		w.wantHere("a:1", false)
		w.wantForgotten("a:1")
	})
}

// A removal looks once more after it, and may put the image back. Until then its record must not go.
func TestARecordOutlivesItsRemoval(t *testing.T) {
	inWorld(t, func(w *world) {
		e := w.push("a:1", "a", 1000)
		w.rt.Before = func(c enginetest.Call) {
			switch c.Op {
			case enginetest.OpRemove:
				w.rt.Start("a:1", enginetest.Container{Name: "web", Pod: "shop/web-1"}) // After the last look.
			case enginetest.OpRestore:
				time.Sleep(110 * time.Second) // Within the two minutes that the way back may take.
			default:
			}
		}
		w.start()
		w.want(e)
		w.pass(time.Second)
		w.release(e)
		w.pass(90 * time.Second)
		w.wantHere("a:1", false)
		if st := w.wantState("a:1", v1alpha1.ImageReleasing, ""); !st.Pulled {
			t.Errorf("in the middle of the removal the record is %+v", st)
		}
		w.pass(2 * time.Minute)
		w.wantHere("a:1", true)
		if st := w.wantState("a:1", v1alpha1.ImageReleasing, "InUse"); !st.Pulled {
			t.Errorf("after it was put back the record is %+v", st)
		}
	})
}

// counted counts how often the connection was closed.
type counted struct {
	*gate
	closed atomic.Int32
}

func (c *counted) Close() error { c.closed.Add(1); return nil }

// The way back is the connection by which a removal began, and it is used for minutes after a runtime's restart.
func TestTheRuntimeRestartsWhileAnImageGoes(t *testing.T) {
	inWorld(t, func(w *world) {
		rt := &counted{gate: w.gate}
		w.cfg.Open = func(context.Context, string) (engine.Interface, error) { return rt, nil }
		e := w.push("a:1", "a", 1000)
		slow := true
		w.rt.Before = func(c enginetest.Call) {
			if c.Op == enginetest.OpRemove && slow {
				slow = false
				time.Sleep(time.Minute)
			}
		}
		w.start()
		w.want(e)
		w.pass(time.Second)
		w.release(e)
		w.pass(20 * time.Second)
		w.rt.Hangup()
		w.pass(20 * time.Second)
		if n := rt.closed.Load(); n != 0 {
			t.Errorf("in the middle of a removal its connection was closed %d times", n)
		}
		w.pass(time.Minute)
		w.wantHere("a:1", false)
		if n := rt.closed.Load(); n != 1 {
			t.Errorf("after the removal the first connection was closed %d times, want 1", n)
		}
	})
}

// It is wanted again while it goes.
func TestWantedAgainWhileItGoes(t *testing.T) {
	inWorld(t, func(w *world) {
		e := w.push("a:1", "a", 1000)
		slow := true
		w.rt.Before = func(c enginetest.Call) {
			if c.Op == enginetest.OpRestore || c.Op == enginetest.OpRemove && slow {
				slow = false
				time.Sleep(110 * time.Second)
			}
		}
		w.start()
		w.want(e)
		w.pass(time.Second)
		w.release(e)
		w.want(e)
		w.pass(10 * time.Minute)
		w.wantHere("a:1", true)
		if st := w.wantState("a:1", v1alpha1.ImagePresent, ""); !st.Pulled || !st.Pinned {
			t.Errorf("the record is %+v", st)
		}
	})
}

// Two pools of agents that both select a node must not write against each other for ever.
func TestTwoAgentsOnOneNode(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		first := w.stop
		w.stop = nil
		w.start()
		w.pass(10 * time.Second)
		before := len(w.api.Writes())
		w.pass(time.Hour)
		if n := len(w.api.Writes()) - before; n > 60 {
			t.Errorf("an hour took %d writes", n)
		}
		second := w.stop
		first()
		w.stop = second
		w.pass(10 * time.Minute)
		before = len(w.api.Writes())
		w.pass(time.Hour)
		if n := len(w.api.Writes()) - before; n > 0 {
			t.Errorf("alone, it took %d writes", n)
		}
		w.want(w.push("a:1", "a", 1000))
		w.pass(5 * time.Second)
		w.wantState("a:1", v1alpha1.ImagePresent, "")
	})
}

// What the runtime alone holds, for reasons that nobody else sees, is not asked for six times a minute.
func TestARemovalThatIsRefusedAgainAndAgain(t *testing.T) {
	inWorld(t, func(w *world) {
		e := w.push("a:1", "a", 1000)
		w.start()
		w.want(e)
		w.pass(time.Second)
		refusals := make([]error, 1000)
		for i := range refusals {
			refusals[i] = engine.Becausef(engine.InUse, "a:1 has children")
		}
		w.rt.FailNext(enginetest.OpRemove, refusals...)
		w.release(e)
		before := len(w.api.Writes())
		for range 1800 {
			w.pass(2 * time.Second)
			w.answer()
		}
		w.wantHere("a:1", true)
		w.wantState("a:1", v1alpha1.ImageReleasing, "InUse")
		if n := len(w.api.Writes()) - before; n > 60 {
			t.Errorf("an hour took %d writes", n)
		}
	})
}

// A pin that could not be lifted when the store went is lifted later.
func TestDeletedStoreWhileTheRuntimeIsAway(t *testing.T) {
	inWorld(t, func(w *world) {
		e := w.push("a:1", "a", 1000)
		w.start()
		w.want(e)
		w.pass(time.Second)
		w.rt.FailNext(enginetest.OpPin, engine.Becausef(engine.RuntimeUnavailable, "restarting"))
		w.api.Delete()
		w.pass(3 * time.Minute)
		if img, here := w.here("a:1"); !here || img.Pinned {
			t.Errorf("the image: here %t, pinned %t", here, img.Pinned)
		}
	})
}

// On a runtime without marks the record is all that tells. It goes over to the name by digest that a cache wants too.
func TestTheRecordOfAMovedTagGoesToAWantedDigest(t *testing.T) {
	inWorld(t, func(w *world) {
		w.rt = enginetest.NewCRIO(w.registry)
		w.runtime = engine.Verify(w.rt)
		w.gate.Interface = w.runtime
		tag := w.push("a:1", "old", 1000)
		fixed := tag
		fixed.Image = ref("a:1").Repository() + "@" + tag.Digest
		w.start()
		w.want(tag)
		w.pass(time.Second)
		w.stop()
		status := w.api.Store().Status
		found := w.state(tag.Image)
		found.Image, found.Pulled = fixed.Image, false // The cache that asked for the digest found it there.
		status.Images = append(status.Images, found)
		w.api.SetStatus(status)
		moved := w.push("a:1", "new", 1000)
		w.want(moved, fixed)
		w.start()
		w.pass(time.Second)
		w.wantHere("a@"+tag.Digest, true)
		w.release(moved, fixed)
		w.pass(time.Second)
		w.wantHere("a:1", false)
		w.wantHere("a@"+tag.Digest, false)
	})
}

// A pin that could not be lifted when the store was made anew is known in the new one, and lifted when the controller lets it go.
func TestAStoreMadeAnewWhileTheRuntimeIsAway(t *testing.T) {
	inWorld(t, func(w *world) {
		e := w.push("a:1", "a", 1000)
		w.start()
		w.want(e)
		w.pass(time.Second)
		away := engine.Becausef(engine.RuntimeUnavailable, "restarting")
		w.rt.FailNext(enginetest.OpPin, away, away, away, away)
		w.api.Delete()
		w.api.Create(v1alpha1.ImageStoreSpec{})
		w.pass(time.Minute)
		st := w.state(e.Image)
		if img, here := w.here("a:1"); !here || !img.Pinned || !st.Pinned || st.Pulled {
			t.Fatalf("the image: here %t, pinned %t; its record: %+v", here, img.Pinned, st)
		}
		e.Released, e.RemovalPolicy = true, v1alpha1.RemovalPolicyKeep
		w.want(e)
		w.pass(10 * time.Minute)
		if img, here := w.here("a:1"); !here || img.Pinned {
			t.Errorf("the image: here %t, pinned %t", here, img.Pinned)
		}
		w.wantForgotten("a:1")
	})
}
