// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"strings"
	"testing"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/fleet"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/plan"
	"orlop.dev/orlop/internal/session"
)

// What failed by itself before the end of the whole is told; what failed by that end is the node's.
func TestReportOfAPullThatWasBrokenOff(t *testing.T) {
	for name, state := range map[string]fleet.State{"in time": fleet.StateTimedOut, "by whoever asked": fleet.StateInterrupted} {
		t.Run(name, func(t *testing.T) {
			a, out, errs := testApp("pull")
			o := &pullOptions{app: a, hand: &podHands{}, output: output{format: "table"}, refs: []oci.Ref{ref(t, "none:1"), ref(t, "slow:1"), ref(t, "good:1")}}
			heard := outcome("a", state, string(state), "x")
			heard.Steps = []session.Step{
				{Asked: "docker.io/library/good:1", State: session.StatePulled},
				{Asked: "docker.io/library/none:1", State: session.StateFailed, Reason: "NotFound", Message: "no such manifest"},
				{Asked: "docker.io/library/slow:1", State: session.StateFailed, Message: "pulling slow:1: context canceled"},
			}
			if err := o.report([]fleet.Outcome{heard}); err != nil {
				t.Fatal(err)
			}
			_ = o.conclude([]fleet.Outcome{heard}, 0) // Its exit code is that of troubles, which has a test.
			said := strings.Join(strings.Fields(out.String()+errs.String()), " ")
			for _, words := range []string{"none:1 failed", "NotFound", "a docker.io/library/slow:1 " + nodeWord(heard), "1 failed"} {
				if !strings.Contains(said, words) {
					t.Errorf("%q does not say %q", said, words)
				}
			}
		})
	}
}

// TestReportOfWhatIsNotKnown: a node that was told to remove, and was not heard to the end, is never said to have
// removed nothing.
func TestReportOfWhatIsNotKnown(t *testing.T) {
	told := func(name string, state fleet.State, steps ...session.Step) fleet.Outcome {
		o := outcome(name, state, string(state), "x")
		o.Plan = &plan.Plan{Remove: []plan.Removal{{Image: engine.Image{ID: "sha256:1"}}}}
		o.Proceeded, o.Steps = true, steps
		return o
	}
	answered := told("a", fleet.StateInterrupted)
	answered.Result = &session.Result{Error: "gone"}
	planned := told("a", fleet.StateInterrupted)
	planned.Proceeded = false
	removed := session.Step{Asked: "x", State: session.StateRemoved}
	cases := map[string]struct {
		outcomes []fleet.Outcome
		says     []string
		not      string
	}{
		"not told to go on":        {[]fleet.Outcome{planned}, []string{"Interrupted: nothing was removed."}, "not known"},
		"told, and answered":       {[]fleet.Outcome{answered}, []string{"Interrupted: nothing was removed."}, "not known"},
		"told, and not answered":   {[]fleet.Outcome{told("a", fleet.StateInterrupted)}, []string{"at least 0 images removed, ? freed", "not everything that was removed on a is known", "list --node a"}, "nothing was removed"},
		"one of them is lost":      {[]fleet.Outcome{answered, told("b", fleet.StateLost)}, []string{"not everything that was removed on b is known"}, "nothing was removed"},
		"some of it was heard":     {[]fleet.Outcome{told("a", fleet.StateLost, removed)}, []string{"at least 1 image removed", "≥ 1"}, ""},
		"nothing was heard in all": {[]fleet.Outcome{told("a", fleet.StateTimedOut)}, []string{"timed out         ?       ?"}, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			a, out, errs := testApp("prune")
			_ = (&removal{app: a, output: output{format: "table"}}).report(c.outcomes) // Its exit code is that of troubles, which has a test.
			said := out.String() + errs.String()
			for _, words := range c.says {
				if !strings.Contains(said, words) {
					t.Errorf("%q does not say %q", said, words)
				}
			}
			if c.not != "" && strings.Contains(said, c.not) {
				t.Errorf("%q says %q", said, c.not)
			}
		})
	}
}

// What others removed between the plan and its turn is told, and is no space that this command freed.
func TestReportOfWhatSomebodyElseRemoved(t *testing.T) {
	a, out, errs := testApp("prune")
	o := outcome("a", fleet.StateDone, "", "")
	o.Plan, o.Proceeded = &plan.Plan{Remove: []plan.Removal{{Image: engine.Image{ID: "sha256:1"}}}}, true
	o.Result = &session.Result{FreedBytes: new(int64(5e6)), Steps: []session.Step{{Asked: "x:1", ID: "sha256:1", State: session.StateAbsent, Message: "somebody else removed it"}}}
	if err := (&removal{app: a, output: output{format: "table"}}).report([]fleet.Outcome{o}); err != nil {
		t.Fatal(err)
	}
	said := out.String() + errs.String()
	for _, words := range []string{"x:1 was removed by somebody else meanwhile on a\n", "0 images removed, 0B freed"} {
		if !strings.Contains(said, words) {
			t.Errorf("%q does not say %q", said, words)
		}
	}
}

// Another image is advised only where the one named is nowhere, and was named by a name that may be a slip.
func TestAnotherImageIsAdvisedOnlyForASlip(t *testing.T) {
	digested := "docker.io/library/web@sha256:" + strings.Repeat("a", 64)
	absentOn := func(node, name string, absent bool) fleet.Outcome {
		o := outcome(node, fleet.StateDone, "", "")
		o.Plan = &plan.Plan{Near: map[string][]string{name: {"web:2"}}}
		if absent {
			o.Plan.Absent = []string{name}
		}
		return o
	}
	for name, c := range map[string]struct {
		asked   string
		both    bool
		advised bool
	}{
		"it is nowhere":     {"web:1", true, true},
		"it is on one node": {"web:1", false, false},
		"named by a digest": {digested, true, false},
		"a digest, on one":  {digested, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			a, _, errs := testApp("rm")
			(&removal{app: a}).notes([]fleet.Outcome{absentOn("a", c.asked, true), absentOn("b", c.asked, c.both)})
			if said := errs.String(); !strings.Contains(said, c.asked+" is not on a") || strings.Contains(said, "there is web:2") != c.advised {
				t.Errorf("it says %q", said)
			}
		})
	}
}
