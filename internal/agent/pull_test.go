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

func (w *world) wantState(name string, want v1alpha1.ImageState, reason string) v1alpha1.StoreImageStatus {
	w.Helper()
	st := w.state(ref(name).String())
	if st.State != want || st.Reason != reason {
		w.Errorf("%s is %s %q (%s), want %s %q", name, st.State, st.Reason, st.Message, want, reason)
	}
	return st
}

func (w *world) wantHere(name string, want bool) {
	w.Helper()
	if _, here := w.here(name); here != want {
		w.Errorf("%s is on the node: %t, want %t", name, here, want)
	}
}

func TestLostImageIsMendedAtOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		e := w.push("a:1", "a", 1000)
		w.start()
		w.want(e)
		w.pass(time.Second)
		w.wantState("a:1", v1alpha1.ImagePresent, "")
		w.rt.Wipe()
		w.pass(2 * time.Second)
		w.wantHere("a:1", true)
		if img, _ := w.here("a:1"); !img.Pinned {
			t.Error("it is not pinned again")
		}
		w.wantState("a:1", v1alpha1.ImagePresent, "")
	})
}

func TestDroppedPinIsSetAgain(t *testing.T) {
	inWorld(t, func(w *world) {
		w.rt.Traps.PinDropped = true
		e := w.push("a:1", "a", 1000)
		w.start()
		w.want(e)
		w.pass(time.Second)
		if _, err := w.runtime.Pull(t.Context(), engine.PullRequest{Ref: ref("a:1")}); err != nil { // As the kubelet does with Always.
			t.Fatal(err)
		}
		w.pass(2 * time.Second)
		if img, _ := w.here("a:1"); !img.Pinned {
			t.Error("the pin that a second pull dropped was not set again")
		}
	})
}

func TestFoundImageIsPinnedAndNotOurs(t *testing.T) {
	inWorld(t, func(w *world) {
		e := w.push("a:1", "a", 1000)
		w.rt.Load(content("a", 1000), "a:1")
		w.start()
		w.want(e)
		w.pass(time.Second)
		st := w.wantState("a:1", v1alpha1.ImagePresent, "")
		if img, _ := w.here("a:1"); st.Pulled || !st.Pinned || !img.Pinned {
			t.Errorf("pinned %t; %+v", img.Pinned, st)
		}
		if n := w.registry.Requests(ref("a:1").Repository()); n != 0 {
			t.Errorf("the registry was asked %d times for what was there", n)
		}
	})
}

// TestWhatCameAMomentBeforeIsFound: somebody else pulls an image, and it is asked for before any look has seen it.
func TestWhatCameAMomentBeforeIsFound(t *testing.T) {
	inWorld(t, func(w *world) {
		e := w.push("a:1", "a", 1000)
		w.start()
		w.pass(90 * time.Second)
		w.rt.Load(content("a", 1000), "a:1")
		w.want(e)
		w.pass(time.Second)
		if st := w.wantState("a:1", v1alpha1.ImagePresent, ""); st.Pulled {
			t.Errorf("it counts as pulled: %+v", st)
		}
		if n := w.registry.Requests(ref("a:1").Repository()); n != 0 {
			t.Errorf("the registry was asked %d times for what was there", n)
		}
	})
}

func TestOneBadImageHoldsUpNothing(t *testing.T) {
	inWorld(t, func(w *world) {
		bad := w.push("bad:1", "bad", 1000)
		w.registry.Delete(ref("bad:1@" + bad.Digest).WithoutTag())
		w.registry.Delete(ref("bad:1"))
		stalled := []v1alpha1.StoreImage{w.push("slow:1", "slow1", 1), w.push("slow:2", "slow2", 1), w.push("slow:3", "slow3", 1)}
		w.registry.Stall(ref("slow:1").Repository(), true)
		good := w.push("good:1", "good", 1000)
		w.start()
		w.want(append(stalled, bad, good)...)
		w.pass(3 * time.Minute)
		w.wantState("good:1", v1alpha1.ImagePresent, "")
		st := w.wantState("bad:1", v1alpha1.ImageFailed, "NotFound")
		if !strings.Contains(st.Message, "not found") || st.LastAttemptTime == nil {
			t.Errorf("the failure says %+v", st)
		}
		w.wantState("slow:1", v1alpha1.ImagePulling, "")
	})
}

func TestRetriesBackOffAndBeginAnewWithAnotherDigest(t *testing.T) {
	inWorld(t, func(w *world) {
		e := w.push("a:1", "a", 1000)
		repository := ref("a:1").Repository()
		w.registry.Fail(repository, engine.Becausef(engine.RegistryUnavailable, "connection refused"))
		w.start()
		w.want(e)
		w.pass(time.Second)
		w.wantState("a:1", v1alpha1.ImageFailed, "RegistryUnavailable")
		w.pass(time.Minute)
		after := w.registry.Requests(repository)
		if after < 3 || after > 5 {
			t.Errorf("%d tries in the first minute", after)
		}
		w.pass(time.Hour)
		if n := w.registry.Requests(repository) - after; n < 10 || n > 20 {
			t.Errorf("%d tries in an hour, want one each 5 minutes or so", n)
		}
		if st := w.state(e.Image); st.Attempts < 10 {
			t.Errorf("the status counts %d attempts", st.Attempts)
		}
		w.registry.Fail(repository, nil)
		e.Digest = w.registry.Push(ref("a:1"), content("a2", 1000)).String()
		w.want(e)
		w.pass(time.Second)
		if st := w.wantState("a:1", v1alpha1.ImagePresent, ""); st.Attempts != 0 {
			t.Errorf("it still counts %d attempts", st.Attempts)
		}
	})
}

func TestRetryAfterIsObeyed(t *testing.T) {
	inWorld(t, func(w *world) {
		e := w.push("a:1", "a", 1000)
		repository := ref("a:1").Repository()
		w.registry.Fail(repository, engine.Becausef(engine.RateLimited, `429 Too Many Requests: Retry-After: 900`))
		w.start()
		w.want(e)
		w.pass(14 * time.Minute)
		if n := w.registry.Requests(repository); n != 1 {
			t.Errorf("the registry said 15 minutes, and was asked %d times in 14", n)
		}
		w.pass(2 * time.Minute)
		if n := w.registry.Requests(repository); n != 2 {
			t.Errorf("after 16 minutes it was asked %d times, want 2", n)
		}
	})
}

func TestPullTimeout(t *testing.T) {
	inWorld(t, func(w *world) {
		e := w.push("a:1", "a", 1000)
		w.registry.Stall(ref("a:1").Repository(), true)
		w.start()
		w.want(e)
		w.pass(29 * time.Minute)
		w.wantState("a:1", v1alpha1.ImagePulling, "")
		w.pass(90 * time.Second)
		w.wantState("a:1", v1alpha1.ImageFailed, "Timeout")
	})
}

func TestHolds(t *testing.T) {
	inWorld(t, func(w *world) {
		e := w.push("a:1", "a", 1000)
		held := e
		held.Hold = v1alpha1.HoldTurn
		w.start()
		w.want(held)
		w.pass(time.Minute)
		if st := w.wantState("a:1", v1alpha1.ImageWaiting, "Turn"); st.Pulled {
			t.Error("it is recorded as pulled, and no pull may begin")
		}
		w.wantHere("a:1", false)
		w.want(e)
		w.pass(time.Second)
		w.wantState("a:1", v1alpha1.ImagePresent, "")

		held.Hold = v1alpha1.HoldNode
		w.want(held)
		w.pass(time.Minute)
		w.wantState("a:1", v1alpha1.ImagePresent, "")
		w.rt.Wipe()
		w.pass(time.Minute)
		w.wantState("a:1", v1alpha1.ImageWaiting, "Node")
	})
}

func TestHoldLetsWhatHasBegunEnd(t *testing.T) {
	inWorld(t, func(w *world) {
		e := w.push("a:1", "a", 10000)
		w.rt.BytesPerSecond = 1000
		w.start()
		w.want(e)
		w.pass(5 * time.Second)
		e.Hold = v1alpha1.HoldNode
		w.want(e)
		w.pass(6 * time.Second)
		w.wantState("a:1", v1alpha1.ImagePresent, "")
	})
}

func TestUnwantedPullsAreCancelled(t *testing.T) {
	inWorld(t, func(w *world) {
		e := w.push("a:1", "a", 1000)
		w.registry.Stall(ref("a:1").Repository(), true)
		w.start()
		w.want(e)
		w.pass(time.Minute)
		e.Released = true
		w.want(e)
		w.pass(time.Second)
		if st := w.state(e.Image); st.Image != "" {
			t.Errorf("there is a record left: %+v", st)
		}
		e.Released = false
		w.registry.Stall(ref("a:1").Repository(), false)
		w.want(e)
		w.pass(time.Second)
		w.wantState("a:1", v1alpha1.ImagePresent, "")
	})
}

func TestScoutTellsTheDigest(t *testing.T) {
	inWorld(t, func(w *world) {
		e := w.push("a:1", "a", 1000)
		digest := e.Digest
		e.Digest = ""
		w.start()
		w.want(e)
		w.pass(time.Second)
		if st := w.wantState("a:1", v1alpha1.ImagePresent, ""); st.Digest != digest {
			t.Errorf("it tells the digest %q, want %q", st.Digest, digest)
		}
		before := len(w.api.Writes())
		e.Digest = digest
		w.want(e)
		w.pass(time.Minute)
		w.wantState("a:1", v1alpha1.ImagePresent, "")
		if n := len(w.api.Writes()) - before; n != 1 || w.rt.Calls(enginetest.OpPull) != 1 {
			t.Errorf("the digest that it told itself took %d writes, and %d pulls in all", n, w.rt.Calls(enginetest.OpPull))
		}
	})
}

func TestWrongDigestIsCorrected(t *testing.T) {
	inWorld(t, func(w *world) {
		w.rt.Load(content("old", 10), "a:1")
		e := w.push("a:1", "new", 1000)
		w.start()
		w.want(e)
		w.pass(time.Second)
		w.wantState("a:1", v1alpha1.ImagePresent, "")
		img, _ := w.here("a:1")
		if img.ID != content("new", 1000).Config().String() {
			t.Error("the tag still means the old image")
		}
	})
}

func TestBadReference(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.want(v1alpha1.StoreImage{Image: "No Reference"})
		w.pass(time.Second)
		if st := w.state("No Reference"); st.State != v1alpha1.ImageFailed || st.Reason != "InvalidReference" {
			t.Errorf("it says %+v", st)
		}
	})
}

func TestDiskLimit(t *testing.T) {
	inWorld(t, func(w *world) {
		w.gate.disk = plan.Disk{Capacity: 100_000, Available: 50_000}
		big, small := w.push("big:1", "big", 11_000), w.push("small:1", "small", 1000)
		w.start()
		w.want(big, small)
		w.pass(time.Second)
		st := w.wantState("big:1", v1alpha1.ImageFailed, "InsufficientDisk")
		for _, number := range []string{"33kB", "100kB", "50 %", "80 %"} {
			if !strings.Contains(st.Message, number) {
				t.Errorf("%q is not in %q", number, st.Message)
			}
		}
		w.wantState("small:1", v1alpha1.ImagePresent, "")
		writes := len(w.api.Writes())
		w.gate.set(func() { w.gate.disk.Available = 49_000 })
		w.pass(10 * time.Minute)
		if n := len(w.api.Writes()) - writes; n != 0 {
			t.Errorf("a disk that is no emptier took %d writes", n)
		}
		w.gate.set(func() { w.gate.disk.Available = 90_000 })
		w.pass(2 * time.Minute)
		w.wantState("big:1", v1alpha1.ImagePresent, "")
	})
}

func TestPinLimit(t *testing.T) {
	inWorld(t, func(w *world) {
		w.gate.disk = plan.Disk{Capacity: 100_000, Available: 90_000}
		a, b := w.push("a:1", "a", 20_000), w.push("b:1", "b", 20_000) // 40,000 each once unpacked
		w.start()
		w.want(a)
		w.pass(20 * time.Second)
		w.want(a, b)
		w.pass(20 * time.Second)
		if st := w.wantState("a:1", v1alpha1.ImagePresent, ""); !st.Pinned {
			t.Error("the first is not pinned")
		}
		st := w.wantState("b:1", v1alpha1.ImagePresent, "InsufficientDisk")
		if img, _ := w.here("b:1"); st.Pinned || img.Pinned || !strings.Contains(st.Message, "not pinned") {
			t.Errorf("the second: pinned %t, %+v", img.Pinned, st)
		}
	})
}

// In the middle of a long row of pulls little is told; that a cache has become whole is.
func TestACacheThatIsWholeIsToldOf(t *testing.T) {
	inWorld(t, func(w *world) {
		w.rt.BytesPerSecond = 1000
		w.start()
		first, second, last := w.push("first:1", "first", 6000), w.push("second:1", "second", 9000), w.push("last:1", "last", 60_000)
		w.want(first, second, last)
		w.pass(7 * time.Second)
		w.wantState("first:1", v1alpha1.ImagePresent, "")
		before := len(w.api.Writes())
		w.pass(3 * time.Second)
		w.wantHere("second:1", true)
		if n := len(w.api.Writes()) - before; n > 0 {
			t.Errorf("%d writes for one image of a cache that lacks others", n)
		}
		small, dropped := w.push("small:1", "small", 1000), w.push("dropped:1", "dropped", 1000)
		small.Caches, dropped.Caches, dropped.Released = []string{"shop/small"}, []string{"shop/small"}, true
		w.want(first, second, last, small, dropped)
		w.pass(4 * time.Second)
		w.wantState("small:1", v1alpha1.ImagePresent, "")
		w.wantState("last:1", v1alpha1.ImagePulling, "")
	})
}

// Each by itself would find room.
func TestPinLimitOfPullsAtOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		w.gate.disk = plan.Disk{Capacity: 100_000, Available: 90_000}
		a, b, c := w.push("a:1", "a", 22_500), w.push("b:1", "b", 5000), w.push("c:1", "c", 5000)
		w.start()
		w.want(a)
		w.pass(20 * time.Second)
		w.gate.set(func() { w.gate.disk.Available = 50_000 })
		w.rt.BytesPerSecond = 5000
		w.want(a, b, c)
		w.pass(20 * time.Second)
		var pinned int64
		for _, e := range []v1alpha1.StoreImage{a, b, c} {
			if img, here := w.here(e.Image); !here {
				t.Errorf("%s is not here", e.Image)
			} else if img.Pinned {
				pinned += 2 * e.Size // As they are unpacked.
			}
		}
		if pinned != 55_000 {
			t.Errorf("pinned are %d bytes of 100,000, want 55,000", pinned)
		}
	})
}
