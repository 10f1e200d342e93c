// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/engine/enginetest"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/plan"
	"orlop.dev/orlop/internal/session"
)

const (
	web   = "ghcr.io/acme/web:1"
	other = "ghcr.io/acme/other:1"
	third = "docker.io/minchou/third:1"
)

func content(seed string) enginetest.Content {
	return enginetest.Content{Layers: []enginetest.Blob{{Seed: seed, Size: 1000}}}
}

func ref(t *testing.T, s string) oci.Ref {
	t.Helper()
	r, err := oci.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func targets(t *testing.T, texts ...string) []oci.Target {
	t.Helper()
	var all []oci.Target
	for _, text := range texts {
		target, err := oci.ParseTarget(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, target)
	}
	return all
}

// everything is a prune of all that nothing needs, also where the runtime does not say when it arrived.
var everything = plan.PruneRequest{Options: plan.Options{Force: true}}

// later lets the machine's clock be past the time for which what came is left alone.
func later() time.Time { return time.Now().Add(time.Hour) }

// states gives what became of each image, by its name.
func states(steps []session.Step) map[string]session.State {
	all := map[string]session.State{}
	for _, step := range steps {
		all[step.Asked] = step.State
	}
	return all
}

func names(t *testing.T, rt engine.Interface) []string {
	t.Helper()
	images, err := rt.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, img := range images {
		all = append(all, plan.Title(img))
	}
	slices.Sort(all)
	return all
}

// everyRuntime runs a test on an in-memory runtime of each kind which holds web, other and third.
func everyRuntime(t *testing.T, test func(t *testing.T, rt engine.Interface, fake *enginetest.Runtime)) {
	t.Run("containerd", func(t *testing.T) {
		rt := enginetest.NewContainerd(enginetest.NewRegistry())
		load(rt.Runtime)
		test(t, engine.Verify(rt), rt.Runtime)
	})
	for name, create := range map[string]func(*enginetest.Registry) *enginetest.Runtime{"cri-o": enginetest.NewCRIO, "docker": enginetest.NewDocker} {
		t.Run(name, func(t *testing.T) {
			fake := create(enginetest.NewRegistry())
			load(fake)
			test(t, engine.Verify(fake), fake)
		})
	}
}

func load(fake *enginetest.Runtime) {
	for _, name := range []string{web, other, third} {
		fake.Load(content(name), name)
	}
}

func TestTheActDoesWhatThePlanSays(t *testing.T) {
	everyRuntime(t, func(t *testing.T, rt engine.Interface, fake *enginetest.Runtime) {
		fake.Start(other, enginetest.Container{Name: "app", Pod: "shop/app"})
		n := &Node{Runtime: rt, Now: later}
		planned, err := n.PlanPrune(t.Context(), everything)
		if err != nil {
			t.Fatal(err)
		}
		result, err := n.Act(t.Context(), planned, nil)
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		for _, r := range planned.Remove {
			want = append(want, plan.Title(r.Image))
		}
		var removed []string
		for _, step := range result.Steps {
			if step.State == session.StateRemoved {
				removed = append(removed, step.Asked)
			}
		}
		if diff := cmp.Diff(want, removed); diff != "" || len(removed) != 2 {
			t.Errorf("planned and removed differ: %s", diff)
		}
		if diff := cmp.Diff([]string{other}, names(t, rt)); diff != "" {
			t.Errorf("what stays: %s", diff)
		}
	})
}

func TestWhatIsUsedAfterThePlanStays(t *testing.T) {
	everyRuntime(t, func(t *testing.T, rt engine.Interface, fake *enginetest.Runtime) {
		n := &Node{Runtime: rt, Now: later}
		planned, err := n.PlanPrune(t.Context(), everything)
		if err != nil {
			t.Fatal(err)
		}
		fake.Start(web, enginetest.Container{Name: "late", Pod: "shop/late"})
		result, err := n.Act(t.Context(), planned, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := states(result.Steps)[web]; got != session.StateKept {
			t.Errorf("%s is %s", web, got)
		}
		if diff := cmp.Diff([]string{web}, names(t, rt)); diff != "" {
			t.Errorf("what stays: %s", diff)
		}
	})
}

// The kubelet may start a container between our last look and the removal. containerd has a way back.
func TestWhatIsUsedDuringTheRemovalComesBack(t *testing.T) {
	fake := enginetest.NewContainerd(enginetest.NewRegistry())
	load(fake.Runtime)
	images, err := fake.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	idOf := map[string]string{}
	for _, img := range images {
		idOf[plan.Title(img)] = img.ID
	}
	fake.Before = func(call enginetest.Call) {
		if call.Op == enginetest.OpRemove && call.ImageID == idOf[web] {
			fake.Start(web, enginetest.Container{Name: "racer", Pod: "shop/racer"})
		}
	}
	n := &Node{Runtime: engine.Verify(fake), Now: later}
	planned, err := n.PlanPrune(t.Context(), everything)
	if err != nil {
		t.Fatal(err)
	}
	result, err := n.Act(t.Context(), planned, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]session.State{web: session.StateKept, other: session.StateRemoved, third: session.StateRemoved}
	if diff := cmp.Diff(want, states(result.Steps)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{web}, names(t, fake)); diff != "" {
		t.Errorf("what stays: %s", diff)
	}
	if !fake.HasContent(content(web).Layers[0].ID()) || fake.HasContent(content(other).Layers[0].ID()) {
		t.Error("the content on disk is not that of what stays")
	}
}

func TestAFailedLookRemovesNothing(t *testing.T) {
	failed := errors.New("the runtime is ill")
	for name, sicken := range map[string]func(*enginetest.Runtime){
		"the list":               func(f *enginetest.Runtime) { f.FailNext(enginetest.OpList, failed) },
		"the uses":               func(f *enginetest.Runtime) { f.FailNext(enginetest.OpUses, failed) },
		"the list, after a plan": func(f *enginetest.Runtime) { f.FailNext(enginetest.OpList, nil, failed) },
		"the uses, after a plan": func(f *enginetest.Runtime) { f.FailNext(enginetest.OpUses, nil, failed) },
	} {
		t.Run(name, func(t *testing.T) {
			everyRuntime(t, func(t *testing.T, rt engine.Interface, fake *enginetest.Runtime) {
				sicken(fake)
				n := &Node{Runtime: rt, Now: later}
				planned, err := n.PlanPrune(t.Context(), everything)
				if err == nil {
					_, err = n.Act(t.Context(), planned, nil)
				}
				if !errors.Is(err, failed) {
					t.Errorf("error is %v", err)
				}
				if got := names(t, rt); len(got) != 3 {
					t.Errorf("what stays: %v", got)
				}
			})
		})
	}
}

func TestOneBadImageHoldsUpNoOther(t *testing.T) {
	everyRuntime(t, func(t *testing.T, rt engine.Interface, fake *enginetest.Runtime) {
		fake.FailNext(enginetest.OpRemove, errors.New("this one will not go"))
		n := &Node{Runtime: rt, Now: later}
		planned, err := n.PlanPrune(t.Context(), everything)
		if err != nil {
			t.Fatal(err)
		}
		result, err := n.Act(t.Context(), planned, nil)
		if err != nil {
			t.Fatal(err)
		}
		count := map[session.State]int{}
		for _, step := range result.Steps {
			count[step.State]++
		}
		if diff := cmp.Diff(map[session.State]int{session.StateFailed: 1, session.StateRemoved: 2}, count); diff != "" {
			t.Error(diff)
		}
	})
}

func TestAnOKWithoutEffectIsAFailure(t *testing.T) {
	fake := enginetest.NewCRIO(enginetest.NewRegistry())
	load(fake)
	fake.Traps.RemoveNoEffect = true
	n := &Node{Runtime: engine.Verify(fake), Now: later}
	planned, err := n.PlanRemove(t.Context(), plan.RemoveRequest{Targets: targets(t, web)})
	if err != nil {
		t.Fatal(err)
	}
	result, err := n.Act(t.Context(), planned, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Steps) != 1 || result.Steps[0].State != session.StateFailed || result.Steps[0].Reason != string(engine.NoEffect) {
		t.Errorf("steps: %+v", result.Steps)
	}
}

func TestACancelledActStopsAndStillCollects(t *testing.T) {
	fake := enginetest.NewContainerd(enginetest.NewRegistry())
	load(fake.Runtime)
	ctx, cancel := context.WithCancel(t.Context())
	var removals atomic.Int32
	fake.Before = func(call enginetest.Call) {
		if call.Op == enginetest.OpRemove && removals.Add(1) == 2 {
			cancel()
		}
	}
	n := &Node{Runtime: engine.Verify(fake), Now: later}
	planned, err := n.PlanPrune(ctx, everything)
	if err != nil {
		t.Fatal(err)
	}
	result, err := n.Act(ctx, planned, nil)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
	left := names(t, fake)
	for name, state := range states(result.Steps) {
		if (state == session.StateRemoved) == slices.Contains(left, name) {
			t.Errorf("%s is said to be %s, and these are left: %v", name, state, left)
		}
	}
	for _, name := range []string{web, other, third} {
		if on := fake.HasContent(content(name).Layers[0].ID()); on != slices.Contains(left, name) {
			t.Errorf("content of %s on disk: %v; images left: %v", name, on, left)
		}
	}
	if fake.Calls(enginetest.OpClose) != 1 {
		t.Error("the batch was left open")
	}
}

// many is a node with one image more than fits into so many batches, and the plan to remove all of them.
func many(t *testing.T, batches int) (*enginetest.Containerd, *Node, plan.Plan) {
	t.Helper()
	fake := enginetest.NewContainerd(enginetest.NewRegistry())
	for i := range batches*maxBatch + 1 {
		name := fmt.Sprintf("ghcr.io/acme/many-%d:1", i)
		fake.Load(content(name), name)
	}
	n := &Node{Runtime: engine.Verify(fake), Now: later}
	planned, err := n.PlanPrune(t.Context(), everything)
	if err != nil {
		t.Fatal(err)
	}
	return fake, n, planned
}

// More images than fit into one batch go in several, each of which is closed; while the first is, the second goes.
func TestManyImagesGoInSeveralBatches(t *testing.T) {
	fake, n, planned := many(t, 1)
	var removals atomic.Int32
	second := make(chan struct{})
	fake.Before = func(call enginetest.Call) {
		switch {
		case call.Op == enginetest.OpRemove && removals.Add(1) == maxBatch:
			close(second)
		case call.Op == enginetest.OpClose:
			<-second
		}
	}
	result, err := n.Act(t.Context(), planned, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, state := range states(result.Steps) {
		if state != session.StateRemoved {
			t.Errorf("%s is %s", name, state)
		}
	}
	if left := names(t, fake); len(result.Steps) != maxBatch+1 || len(left) > 0 {
		t.Errorf("%d steps; left: %v", len(result.Steps), left)
	}
	if opened, closed := fake.Calls(enginetest.OpBatch), fake.Calls(enginetest.OpClose); opened != 2 || closed != 2 {
		t.Errorf("%d batches were opened, %d closed", opened, closed)
	}
}

// What nobody can look after is put back, and nothing more begins; a batch that was opened ahead is closed.
func TestNoBatchFollowsOneThatCannotBeLookedAfter(t *testing.T) {
	fake, n, planned := many(t, 1)
	ill := errors.New("the runtime is ill")
	var removals atomic.Int32
	fake.Before = func(call enginetest.Call) {
		if call.Op == enginetest.OpRemove {
			removals.Add(1)
		}
		if call.Op == enginetest.OpUses && removals.Load() > 0 {
			fake.FailNext(enginetest.OpUses, ill)
		}
	}
	result, err := n.Act(t.Context(), planned, nil)
	if !errors.Is(err, ill) {
		t.Errorf("error is %v", err)
	}
	for name, state := range states(result.Steps) {
		if state != session.StateKept {
			t.Errorf("%s is said to be %s", name, state)
		}
	}
	if left := names(t, fake); len(left) != maxBatch+1 {
		t.Errorf("%d of %d images are left", len(left), maxBatch+1)
	}
	if n := removals.Load(); n > maxBatch/2+1 {
		t.Errorf("%d images were removed for a while, which is more than the first batch", n)
	}
	if opened, closed := fake.Calls(enginetest.OpBatch), fake.Calls(enginetest.OpClose); opened != closed {
		t.Errorf("%d batches were opened, %d closed", opened, closed)
	}
}

// Whoever is slow to hear what was done holds up no look after what has gone since.
func TestASlowListenerHoldsUpNoLook(t *testing.T) {
	fake, n, planned := many(t, 1)
	var looks atomic.Int32
	looked := make(chan struct{})
	fake.Before = func(call enginetest.Call) {
		if call.Op == enginetest.OpUses && looks.Add(1) == 4 { // before and after each of two batches
			close(looked)
		}
	}
	told := 0
	_, err := n.Act(t.Context(), planned, func(session.Step) { <-looked; told++ })
	if err != nil || told != maxBatch+1 {
		t.Errorf("%d removals are told, and the error is %v", told, err)
	}
}

// Where a disk has no room to hold another batch, that of the batches before comes back first.
func TestABatchWaitsForRoom(t *testing.T) {
	fake, n, planned := many(t, 1)
	fake.FailNext(enginetest.OpBatch, nil, engine.Unsupported)
	var opened []int // how many were closed when one was opened
	fake.Before = func(call enginetest.Call) {
		if call.Op == enginetest.OpBatch {
			opened = append(opened, fake.Calls(enginetest.OpClose))
		}
	}
	if _, err := n.Act(t.Context(), planned, nil); err != nil {
		t.Fatal(err)
	}
	if len(opened) != 3 || opened[2] != 1 {
		t.Errorf("batches were opened when so many others were closed: %v", opened)
	}
	if closed, left := fake.Calls(enginetest.OpClose), names(t, fake); closed != 2 || len(left) > 0 {
		t.Errorf("%d batches were closed; left: %v", closed, left)
	}
}

// Where the space of what went does not come back, no more goes than is under way.
func TestAFailedCollectionEndsTheWork(t *testing.T) {
	fake, n, planned := many(t, maxUnderWay)
	ill := errors.New("the runtime is ill")
	fake.FailNext(enginetest.OpClose, slices.Repeat([]error{ill}, maxUnderWay+1)...)
	if _, err := n.Act(t.Context(), planned, nil); !errors.Is(err, ill) {
		t.Errorf("error is %v", err)
	}
	if opened, closed := fake.Calls(enginetest.OpBatch), fake.Calls(enginetest.OpClose); opened > maxUnderWay || closed != opened {
		t.Errorf("%d batches were opened, %d closed", opened, closed)
	}
	if left := names(t, fake); len(left) == 0 {
		t.Error("every image has gone")
	}
}

// A removal whose success cannot be seen is put back, whatever began to use the image in the meantime.
func TestWhatFailsHalfWayIsPutBack(t *testing.T) {
	fake := enginetest.NewContainerd(enginetest.NewRegistry())
	load(fake.Runtime)
	fake.Before = func(call enginetest.Call) {
		if call.Op == enginetest.OpRemove {
			fake.Start(web, enginetest.Container{Name: "racer", Pod: "shop/racer"})
			fake.FailNext(enginetest.OpList, errors.New("the runtime is ill"))
		}
	}
	n := &Node{Runtime: engine.Verify(fake), Now: later}
	planned, err := n.PlanRemove(t.Context(), plan.RemoveRequest{Targets: targets(t, web)})
	if err != nil {
		t.Fatal(err)
	}
	result, err := n.Act(t.Context(), planned, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := states(result.Steps)[web]; got == session.StateRemoved {
		t.Errorf("%s is said to be %s", web, got)
	}
	if !slices.Contains(names(t, fake), web) || !fake.HasContent(content(web).Layers[0].ID()) {
		t.Errorf("an image in use is gone: %v", names(t, fake))
	}
}

// Force passes over a cache, and over the pin that the cache set; not over one that the machine's administrator set beside it.
func TestForceSparesWhatOthersPinToo(t *testing.T) {
	fake := enginetest.NewContainerd(enginetest.NewRegistry())
	load(fake.Runtime)
	for _, name := range []string{web, other} {
		if err := fake.Pin(t.Context(), ref(t, name), true); err != nil {
			t.Fatal(err)
		}
	}
	needs := plan.Needs{Known: true, AsOf: later()}
	for _, name := range []string{web, other} {
		needs.Items = append(needs.Items, plan.Need{Ref: ref(t, name), By: "shop/web", Cache: true, Pinned: true})
	}
	n := &Node{Runtime: engine.Verify(fake), Now: later, Needs: func() plan.Needs { return needs }}
	planned, err := n.PlanRemove(t.Context(), plan.RemoveRequest{Targets: targets(t, web, other), Options: plan.Options{Force: true}})
	if err != nil {
		t.Fatal(err)
	}
	fake.Configure(web, false)
	result, err := n.Act(t.Context(), planned, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]session.State{web: session.StateKept, other: session.StateRemoved}
	if diff := cmp.Diff(want, states(result.Steps)); diff != "" {
		t.Error(diff)
	}
}

// A tag alone is looked at afterwards too: the image stays under its other name, and a pod may have come to need this one.
func TestATagThatIsNamedDuringItsRemovalComesBack(t *testing.T) {
	const stable = "ghcr.io/acme/web:stable"
	fake := enginetest.NewContainerd(enginetest.NewRegistry())
	fake.Load(content(web), web, stable)
	needs := plan.Needs{Known: true, AsOf: later()}
	fake.Before = func(call enginetest.Call) {
		if call.Op == enginetest.OpRemove {
			needs.Items = plan.NeedsOf("shop/late", []string{web}, false)
		}
	}
	n := &Node{Runtime: engine.Verify(fake), Now: later, Needs: func() plan.Needs { return needs }}
	planned, err := n.PlanRemove(t.Context(), plan.RemoveRequest{Targets: targets(t, web)})
	if err != nil {
		t.Fatal(err)
	}
	result, err := n.Act(t.Context(), planned, nil)
	if err != nil {
		t.Fatal(err)
	}
	images, err := fake.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Steps) != 1 || result.Steps[0].State != session.StateKept || len(images) != 1 || len(images[0].Tags) != 2 {
		t.Errorf("steps %+v; left %+v", result.Steps, images)
	}
}

// A runtime that restarts just after a removal is back in a moment: the way back is not lost by that.
func TestARestartDoesNotLoseTheWayBack(t *testing.T) {
	for name, away := range map[string][]enginetest.Op{
		"when uses are asked for": {enginetest.OpUses},
		"when it is put back":     {enginetest.OpRestore},
		"both times":              {enginetest.OpUses, enginetest.OpRestore},
	} {
		t.Run(name, func(t *testing.T) {
			fake := enginetest.NewContainerd(enginetest.NewRegistry())
			load(fake.Runtime)
			fake.Before = func(call enginetest.Call) {
				if call.Op != enginetest.OpRemove {
					return
				}
				fake.Start(web, enginetest.Container{Name: "racer", Pod: "shop/racer"})
				for _, op := range away {
					fake.FailNext(op, engine.Becausef(engine.RuntimeUnavailable, "error reading from server: EOF"))
				}
			}
			n := &Node{Runtime: engine.Verify(fake), Now: later}
			planned, err := n.PlanRemove(t.Context(), plan.RemoveRequest{Targets: targets(t, web)})
			if err != nil {
				t.Fatal(err)
			}
			result, err := n.Act(t.Context(), planned, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := states(result.Steps)[web]; got != session.StateKept || !slices.Contains(names(t, fake), web) || !fake.HasContent(content(web).Layers[0].ID()) {
				t.Errorf("an image in use is said to be %s, and these are left: %v", got, names(t, fake))
			}
		})
	}
}

// Where there is no way back, a runtime that is away is not waited for.
func TestWithoutAWayBackNobodyWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := enginetest.NewDocker(enginetest.NewRegistry())
		load(fake)
		n := &Node{Runtime: engine.Verify(fake), Now: later}
		planned, err := n.PlanRemove(t.Context(), plan.RemoveRequest{Targets: targets(t, web)})
		if err != nil {
			t.Fatal(err)
		}
		gone := false
		fake.Before = func(call enginetest.Call) {
			gone = gone || call.Op == enginetest.OpRemove
			if gone && call.Op == enginetest.OpUses {
				fake.FailNext(enginetest.OpUses, engine.Becausef(engine.RuntimeUnavailable, "connection refused"))
			}
		}
		began := time.Now()
		if _, err := n.Act(t.Context(), planned, nil); !errors.Is(err, engine.RuntimeUnavailable) {
			t.Errorf("error %v", err)
		}
		if took := time.Since(began); took > awayPause {
			t.Errorf("it took %s", took)
		}
	})
}

// What pods need may grow old while the work goes on. That must not switch off the look at what is in use.
func TestNeedsThatGrowOldDuringTheWork(t *testing.T) {
	fake := enginetest.NewContainerd(enginetest.NewRegistry())
	load(fake.Runtime)
	now := later()
	asOf := now
	fake.Before = func(call enginetest.Call) {
		if call.Op == enginetest.OpRemove {
			fake.Start(web, enginetest.Container{Name: "racer", Pod: "shop/racer"})
			asOf = now.Add(-2 * plan.NeedsMaxAge)
		}
	}
	n := &Node{Runtime: engine.Verify(fake), Now: func() time.Time { return now }, Needs: func() plan.Needs { return plan.Needs{Known: true, AsOf: asOf} }}
	planned, err := n.PlanRemove(t.Context(), plan.RemoveRequest{Targets: targets(t, web)})
	if err != nil {
		t.Fatal(err)
	}
	result, err := n.Act(t.Context(), planned, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := states(result.Steps)[web]; got != session.StateKept || !slices.Contains(names(t, fake), web) {
		t.Errorf("%s is said to be %s, and these are left: %v", web, got, names(t, fake))
	}
}

func TestPull(t *testing.T) {
	registry := enginetest.NewRegistry()
	digest := registry.Push(ref(t, web), content("web"))
	registry.Push(ref(t, other), content("other"))
	registry.Protect("private.example", engine.Credentials{Username: "u", Password: "p"})
	registry.Push(ref(t, "private.example/a:1"), content("private"))
	fake := enginetest.NewContainerd(registry)
	fake.Load(content("other"), other)
	n := &Node{Runtime: engine.Verify(fake)}
	var last session.Progress
	steps, err := n.Pull(t.Context(), session.PullRequest{
		Images:      []oci.Ref{ref(t, web), ref(t, other), ref(t, "nowhere:1"), ref(t, "private.example/a:1")},
		Credentials: map[string]engine.Credentials{"private.example": {Username: "u", Password: "p"}, "private.example/b": {Username: "wrong"}},
	}, func(m session.Message) {
		if m.Progress != nil {
			last = *m.Progress
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]session.State{web: session.StatePulled, other: session.StatePresent,
		"docker.io/library/nowhere:1": session.StateFailed, "private.example/a:1": session.StatePulled}
	if diff := cmp.Diff(want, states(steps)); diff != "" {
		t.Error(diff)
	}
	if steps[0].Digest != digest.String() {
		t.Errorf("digest is %q, want %q", steps[0].Digest, digest)
	}
	if steps[2].Reason != string(engine.NotFound) || !strings.Contains(steps[2].Message, "not found") {
		t.Errorf("the missing image: %s %q", steps[2].Reason, steps[2].Message)
	}
	if last.Finished != 4 || last.Images != 4 {
		t.Errorf("the last word of progress: %+v", last)
	}
	if got := registry.Requests("ghcr.io/acme/other"); got != 0 {
		t.Errorf("the registry was asked %d times for what is here", got)
	}
}

func TestPullPolicies(t *testing.T) {
	for name, tt := range map[string]struct {
		policy session.PullPolicy
		image  string
		want   session.State
	}{
		"latest is asked for again":    {"", "ghcr.io/acme/web:latest", session.StatePulled},
		"another tag is not":           {"", web, session.StatePresent},
		"unless it is said":            {session.PullAlways, web, session.StatePulled},
		"latest is not, if it is said": {session.PullIfNotPresent, "ghcr.io/acme/web:latest", session.StatePresent},
	} {
		t.Run(name, func(t *testing.T) {
			registry := enginetest.NewRegistry()
			registry.Push(ref(t, tt.image), content("new"))
			fake := enginetest.NewContainerd(registry)
			fake.Load(content("old"), tt.image)
			n := &Node{Runtime: engine.Verify(fake)}
			steps, err := n.Pull(t.Context(), session.PullRequest{Images: []oci.Ref{ref(t, tt.image)}, Policy: tt.policy}, nil)
			if err != nil || len(steps) != 1 || steps[0].State != tt.want {
				t.Errorf("steps %+v, error %v; want %s", steps, err, tt.want)
			}
		})
	}
}
