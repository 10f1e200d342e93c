// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/engine/enginetest"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/plan"
	"orlop.dev/orlop/internal/session"
)

// asker is the other side of a session.
type asker struct {
	t    *testing.T
	in   *io.PipeWriter
	out  *json.Decoder
	done chan error
}

func ask(t *testing.T, rt engine.Interface, req session.Request) *asker {
	t.Helper()
	inRead, inWrite := io.Pipe()
	outRead, outWrite := io.Pipe()
	a := &asker{t: t, in: inWrite, out: json.NewDecoder(outRead), done: make(chan error, 1)}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	go func() {
		err := Serve(ctx, inRead, outWrite, func(context.Context, string) (engine.Interface, error) { return rt, nil })
		_ = outWrite.Close() // Pipes in memory close without fail.
		_ = inRead.Close()
		a.done <- err
	}()
	a.say(req)
	return a
}

func (a *asker) say(v any) {
	a.t.Helper()
	if err := json.NewEncoder(a.in).Encode(v); err != nil {
		a.t.Fatal(err)
	}
}

// until reads messages until one fits.
func (a *asker) until(fits func(session.Message) bool) session.Message {
	a.t.Helper()
	for {
		var m session.Message
		if err := a.out.Decode(&m); err != nil {
			a.t.Fatalf("the node fell silent: %v", err)
		}
		if fits(m) {
			return m
		}
	}
}

func (a *asker) result() session.Result {
	a.t.Helper()
	return *a.until(func(m session.Message) bool { return m.Result != nil }).Result
}

func freshNeeds(items ...plan.Need) plan.Needs {
	return plan.Needs{Known: true, AsOf: time.Now(), Items: items}
}

func removeWeb(t *testing.T, needs plan.Needs, confirm bool) session.Request {
	return session.Request{Verb: session.VerbRemove, Remove: &plan.RemoveRequest{Targets: targets(t, web)}, Needs: needs, Confirm: confirm}
}

func loaded() *enginetest.Containerd {
	fake := enginetest.NewContainerd(enginetest.NewRegistry())
	load(fake.Runtime)
	return fake
}

func TestServeLooks(t *testing.T) {
	a := ask(t, loaded(), session.Request{Verb: session.VerbLook})
	started := a.until(func(m session.Message) bool { return m.Started != nil })
	if started.Started.Name != "containerd" {
		t.Errorf("runtime is %q", started.Started.Name)
	}
	if got := a.result(); got.Inventory == nil || len(got.Inventory.Images) != 3 || got.Error != "" {
		t.Errorf("result: %+v", got)
	}
}

func TestServeWaitsForTheWord(t *testing.T) {
	fake := loaded()
	a := ask(t, engine.Verify(fake), removeWeb(t, freshNeeds(), true))
	m := a.until(func(m session.Message) bool { return m.Plan != nil })
	if len(m.Plan.Remove) != 1 || !m.Plan.NeedsKnown {
		t.Fatalf("plan: %+v", m.Plan)
	}
	if fake.Calls(enginetest.OpRemove) != 0 {
		t.Fatal("removed before the word")
	}
	a.say(session.Update{Proceed: true})
	if got := a.result(); len(got.Steps) != 1 || got.Steps[0].State != session.StateRemoved {
		t.Errorf("result: %+v", got)
	}
}

// What a pod needs may become known while the user still reads the plan.
func TestServeHearsOfNewNeeds(t *testing.T) {
	fake := loaded()
	a := ask(t, engine.Verify(fake), removeWeb(t, freshNeeds(), true))
	a.until(func(m session.Message) bool { return m.Plan != nil })
	needs := freshNeeds(plan.Need{Ref: ref(t, web), By: "shop/web-1"})
	a.say(session.Update{Needs: &needs})
	a.say(session.Update{Proceed: true})
	got := a.result()
	if len(got.Steps) != 1 || got.Steps[0].State != session.StateKept || got.Steps[0].Reason != string(plan.ReasonNeeded) {
		t.Errorf("result: %+v", got)
	}
}

func TestServeDoesNotActOnStaleNeeds(t *testing.T) {
	fake := loaded()
	stale := plan.Needs{Known: true, AsOf: time.Now().Add(-2 * plan.NeedsMaxAge)}
	got := ask(t, engine.Verify(fake), removeWeb(t, stale, false)).result()
	if len(got.Steps) != 1 || got.Steps[0].Reason != string(plan.ReasonStaleNeeds) || fake.Calls(enginetest.OpRemove) != 0 {
		t.Errorf("result: %+v", got)
	}
}

// The clock of whoever asks may be wrong; what counts is how old the needs were when they were sent.
func TestServeKnowsOfAnotherClock(t *testing.T) {
	for name, tt := range map[string]struct {
		clock time.Duration // of the asker, against this machine's
		age   time.Duration // of the needs, when they were sent
		want  session.State
	}{
		"behind, fresh": {-time.Hour, 0, session.StateRemoved},
		"ahead, fresh":  {time.Hour, 0, session.StateRemoved},
		"behind, stale": {-time.Hour, 2 * plan.NeedsMaxAge, session.StateKept},
		"ahead, stale":  {time.Hour, 2 * plan.NeedsMaxAge, session.StateKept},
	} {
		t.Run(name, func(t *testing.T) {
			sent := time.Now().Add(tt.clock)
			req := removeWeb(t, plan.Needs{Known: true, AsOf: sent.Add(-tt.age)}, false)
			req.Sent = sent
			if got := ask(t, engine.Verify(loaded()), req).result(); len(got.Steps) != 1 || got.Steps[0].State != tt.want {
				t.Errorf("result: %+v, want %s", got, tt.want)
			}
		})
	}
}

// On a large cluster, what has not changed is told by its time alone.
func TestServeHearsThatNeedsAreStillSo(t *testing.T) {
	old := time.Now().Add(-2 * plan.NeedsMaxAge)
	req := removeWeb(t, plan.Needs{Known: true, AsOf: old}, true)
	a := ask(t, engine.Verify(loaded()), req)
	a.until(func(m session.Message) bool { return m.Plan != nil })
	a.say(session.Update{AsOf: time.Now(), Proceed: true})
	if got := a.result(); len(got.Steps) != 1 || got.Steps[0].State != session.StateRemoved {
		t.Errorf("result: %+v", got)
	}
}

// A line that was held up on its way does not make old needs new.
func TestServeIsNotFooledByALateLine(t *testing.T) {
	fake := loaded()
	req := removeWeb(t, freshNeeds(), true)
	req.Sent = time.Now()
	a := ask(t, engine.Verify(fake), req)
	a.until(func(m session.Message) bool { return m.Plan != nil })
	late := time.Now().Add(-2 * plan.NeedsMaxAge)
	a.say(session.Update{Needs: &plan.Needs{Known: true, AsOf: late}, Sent: late, Proceed: true})
	if got := a.result(); len(got.Steps) != 1 || got.Steps[0].Reason != string(plan.ReasonStaleNeeds) {
		t.Errorf("result: %+v", got)
	}
}

func TestServeRefusesARemovalWithoutNeeds(t *testing.T) {
	fake := loaded()
	if got := ask(t, engine.Verify(fake), removeWeb(t, plan.Needs{}, false)).result(); !strings.Contains(got.Error, "pods") {
		t.Errorf("result: %+v", got)
	}
	if fake.Calls(enginetest.OpRemove) != 0 {
		t.Error("removed")
	}
}

func TestServeRemovesNothingForNobody(t *testing.T) {
	fake := loaded()
	a := ask(t, engine.Verify(fake), removeWeb(t, freshNeeds(), true))
	a.until(func(m session.Message) bool { return m.Plan != nil })
	_ = a.in.Close()
	if got := a.result(); got.Error != ErrAskerGone.Error() {
		t.Errorf("result: %+v", got)
	}
	if fake.Calls(enginetest.OpRemove) != 0 {
		t.Error("removed for nobody")
	}
}

func TestServeEndsAPullWhenTheAskerIsGone(t *testing.T) {
	registry := enginetest.NewRegistry()
	registry.Push(ref(t, web), content("web"))
	registry.Stall("ghcr.io/acme/web", true)
	fake := enginetest.NewContainerd(registry)
	a := ask(t, engine.Verify(fake), session.Request{Verb: session.VerbPull, Pull: &session.PullRequest{Images: []oci.Ref{ref(t, web)}}})
	a.until(func(m session.Message) bool { return m.Progress != nil })
	_ = a.in.Close()
	if got := a.result(); got.Error != ErrAskerGone.Error() {
		t.Errorf("result: %+v", got)
	}
}

func TestServeDryRunRemovesNothing(t *testing.T) {
	fake := loaded()
	req := removeWeb(t, freshNeeds(), false)
	req.DryRun = true
	a := ask(t, engine.Verify(fake), req)
	if m := a.until(func(m session.Message) bool { return m.Plan != nil }); len(m.Plan.Remove) != 1 {
		t.Errorf("plan: %+v", m.Plan)
	}
	if got := a.result(); got.Error != "" || fake.Calls(enginetest.OpRemove) != 0 {
		t.Errorf("result: %+v", got)
	}
}

func TestServeSaysWhyItCannot(t *testing.T) {
	failed := engine.Becausef(engine.RuntimeUnavailable, "no runtime answers")
	var out strings.Builder
	in := strings.NewReader(`{"verb":"look"}` + "\n")
	err := Serve(t.Context(), in, &out, func(context.Context, string) (engine.Interface, error) { return nil, failed })
	if err != nil {
		t.Fatal(err)
	}
	var m session.Message
	if err := json.Unmarshal([]byte(out.String()), &m); err != nil {
		t.Fatal(err)
	}
	if m.Result == nil || m.Result.Error != failed.Error() || m.Result.Reason != engine.RuntimeUnavailable {
		t.Errorf("answer: %s", out.String())
	}
}

func TestServeRefusesNonsense(t *testing.T) {
	for name, line := range map[string]string{
		"no JSON":              "list",
		"a malformed target":   `{"verb":"remove","remove":{"targets":["$(reboot)"]},"needs":{"known":true}}`,
		"a malformed image":    `{"verb":"pull","pull":{"images":["a;b"]}}`,
		"an unknown filter":    `{"verb":"prune","prune":{"filter":["x=y"]},"needs":{"known":true}}`,
		"a bound from later":   `{"verb":"prune","prune":{"onlyOnSundays":true},"needs":{"known":true}}`,
		"an option from later": `{"verb":"look","gently":true}`,
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			err := Serve(t.Context(), strings.NewReader(line), &out, func(context.Context, string) (engine.Interface, error) {
				t.Error("a runtime was opened")
				return loaded(), nil
			})
			var m session.Message
			if err != nil || json.Unmarshal([]byte(out.String()), &m) != nil || m.Result == nil || !strings.Contains(m.Result.Error, "same version") {
				t.Errorf("the answer is %q, the error %v", out.String(), err)
			}
		})
	}
	if err := Serve(t.Context(), strings.NewReader(""), io.Discard, nil); !errors.Is(err, io.EOF) {
		t.Errorf("nothing was asked, and the error is %v", err)
	}
}
