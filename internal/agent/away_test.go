// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/engine/enginetest"
)

func TestAPIAway(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.push("a:1", "a", 1000), w.push("b:1", "b", 1000)
		w.start()
		w.api.RefuseWrites(errors.New("connection refused"))
		w.want(a, b)
		w.pass(time.Minute)
		w.wantHere("a:1", true)
		w.wantHere("b:1", true)
		w.api.RefuseWrites(nil)
		w.pass(time.Minute)
		if st := w.wantState("a:1", v1alpha1.ImagePresent, ""); !st.Pulled || !st.Pinned {
			t.Errorf("after its return, the API has %+v", st)
		}
	})
}

// A pull whose record could not be written is remembered by the mark on the image.
func TestMarkIsARecord(t *testing.T) {
	inWorld(t, func(w *world) {
		e := w.push("a:1", "a", 1000)
		w.start()
		w.api.RefuseWrites(errors.New("connection refused"))
		w.want(e)
		w.pass(time.Minute)
		w.wantHere("a:1", true)
		w.stop()
		w.api.RefuseWrites(nil)
		w.start()
		w.pass(time.Second)
		if st := w.wantState("a:1", v1alpha1.ImagePresent, ""); !st.Pulled {
			t.Error("after a restart, the image counts as found")
		}
	})
}

func TestRuntimeAway(t *testing.T) {
	inWorld(t, func(w *world) {
		e := w.push("a:1", "a", 1000)
		w.start()
		w.want(e)
		w.pass(time.Second)
		w.gate.set(func() { w.gate.down = engine.Becausef(engine.RuntimeUnavailable, "connection refused") })
		w.rt.Hangup()
		w.pass(5 * time.Second)
		ready := w.api.Store().Status.Conditions[0]
		if ready.Status != "False" || ready.Reason != "RuntimeUnavailable" || !strings.Contains(ready.Message, "connection refused") {
			t.Errorf("the condition is %+v", ready)
		}
		w.wantState("a:1", v1alpha1.ImagePresent, "")
		w.rt.Wipe()
		w.gate.set(func() { w.gate.down = nil })
		w.pass(20 * time.Second)
		if ready := w.api.Store().Status.Conditions[0]; ready.Status != "True" {
			t.Errorf("the condition is still %+v", ready)
		}
		w.wantHere("a:1", true)
	})
}

func TestFailedLookIsNotAnEmptyNode(t *testing.T) {
	inWorld(t, func(w *world) {
		e := w.push("a:1", "a", 1000)
		w.start()
		w.want(e)
		w.pass(time.Second)
		w.gate.set(func() { w.gate.list = errors.New("listing images: layer not known") })
		w.pass(5 * time.Minute)
		w.wantState("a:1", v1alpha1.ImagePresent, "")
		if n := w.rt.Calls(enginetest.OpPull); n != 1 {
			t.Errorf("%d pulls, want 1", n)
		}
		if ready := w.api.Store().Status.Conditions[0]; ready.Status != "False" {
			t.Errorf("the condition is %+v", ready)
		}
		w.gate.set(func() { w.gate.list = nil })
		w.pass(time.Minute)
		if ready := w.api.Store().Status.Conditions[0]; ready.Status != "True" {
			t.Errorf("the condition is still %+v", ready)
		}
	})
}

func TestRestartOfTheRuntimeIsNoFailureOfTheImage(t *testing.T) {
	inWorld(t, func(w *world) {
		e := w.push("a:1", "a", 1000)
		repository := ref("a:1").Repository()
		w.registry.Fail(repository, engine.Becausef(engine.RuntimeUnavailable, "error reading from server: EOF"))
		w.start()
		w.want(e)
		w.pass(time.Second)
		if st := w.state(e.Image); st.State == v1alpha1.ImageFailed || st.Attempts != 0 {
			t.Errorf("it is %+v", st)
		}
		w.pass(time.Minute)
		if n := w.registry.Requests(repository); n > 40 {
			t.Errorf("it was tried %d times in a minute", n)
		}
		w.registry.Fail(repository, nil)
		w.pass(3 * time.Second)
		w.wantState("a:1", v1alpha1.ImagePresent, "")
	})
}
