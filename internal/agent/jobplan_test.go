// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/plan"
	"orlop.dev/orlop/internal/session"
)

func TestShare(t *testing.T) {
	for name, c := range map[string]struct {
		free, forJobs int
		parties       []party
		want          []int
	}{
		"caches alone":               {3, 3, []party{{most: 5}}, []int{3}},
		"one job alone":              {3, 3, []party{{}, {most: 5}}, []int{0, 3}},
		"each its part":              {3, 3, []party{{most: 5}, {most: 5}, {most: 5}}, []int{1, 1, 1}},
		"who has fewest comes first": {1, 1, []party{{most: 5, under: 2}, {most: 5, under: 1}}, []int{0, 1}},
		"who waits longest":          {1, 1, []party{{most: 5, served: 7}, {most: 5, served: 3}, {most: 5, served: 5}}, []int{0, 1, 0}},
		"what nobody else wants":     {3, 3, []party{{most: 1}, {most: 1}}, []int{1, 1}},
		"as many as jobs may":        {3, 1, []party{{most: 1}, {most: 5}, {most: 5}}, []int{1, 1, 0}},
		"nothing is free":            {0, 0, []party{{most: 1}, {most: 5}}, []int{0, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, share(c.free, c.forJobs, c.parties)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func refs(t *testing.T, names ...string) []oci.Ref {
	t.Helper()
	var all []oci.Ref
	for _, name := range names {
		ref, err := oci.Parse(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, ref)
	}
	return all
}

// What was to go, and stays since nobody could tell in time what pods need, is no success.
func TestARemovalDoesNotBeginAnewForEver(t *testing.T) {
	stale := session.Step{ID: "1", State: session.StateKept, Reason: string(plan.ReasonStaleNeeds)}
	broken := session.Step{ID: "2", State: session.StateFailed, Reason: string(engine.Unknown), Message: "disk error"}
	p := plan.Plan{Remove: []plan.Removal{{Image: engine.Image{ID: "1", Tags: refs(t, "a:1")}}}}
	for name, c := range map[string]struct {
		rounds int
		steps  []session.Step
		over   bool
		reason string
	}{
		"there are rounds left": {maxRounds - 1, []session.Step{stale}, false, ""},
		"there are none":        {maxRounds, []session.Step{stale}, true, string(plan.ReasonStaleNeeds)},
		"one failed beside it":  {maxRounds, []session.Step{stale, broken}, true, string(engine.Unknown)},
		"nothing is stale":      {maxRounds, []session.Step{{ID: "1", State: session.StateRemoved}}, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := &task{entry: v1alpha1.StoreJob{UID: "j1", Remove: &v1alpha1.RemoveAction{Images: []string{"a:1"}}}}
			w.rounds = c.rounds
			result, now := session.Result{Steps: c.steps}, time.Now()
			w.take(p, result, nil)
			w.again(p, result, nil, now)
			st, done := w.concludeRemoval(now)
			if done != c.over || st.Reason != c.reason || done && (st.State == v1alpha1.JobFailed) != (c.reason != "") {
				t.Errorf("it has ended: %t; %+v", done, st)
			}
		})
	}
}

func TestWhatWasNotShownStays(t *testing.T) {
	var many []string
	for i := range 32 {
		many = append(many, fmt.Sprintf("docker.io/library/a:%d", i))
	}
	for name, c := range map[string]struct {
		before  v1alpha1.StoreJobStatus
		removal plan.Removal
		keeps   string // a part of why
	}{
		"as shown": {
			v1alpha1.StoreJobStatus{DryRun: true, Images: []v1alpha1.JobImage{{ID: "1", Image: "docker.io/library/a:1", State: v1alpha1.JobImageRemoved}}},
			plan.Removal{Image: engine.Image{ID: "1", Tags: refs(t, "a:1")}}, "",
		},
		"fewer names than shown": {
			v1alpha1.StoreJobStatus{DryRun: true, Images: []v1alpha1.JobImage{{ID: "1", Image: "docker.io/library/a:1", Names: many[1:3], State: v1alpha1.JobImageRemoved}}},
			plan.Removal{Image: engine.Image{ID: "1", Tags: refs(t, "a:1", "b:1")}, Tags: refs(t, "a:1")}, "",
		},
		"another image": {
			v1alpha1.StoreJobStatus{DryRun: true, Images: []v1alpha1.JobImage{{ID: "2", Image: "docker.io/library/a:1", State: v1alpha1.JobImageRemoved}}},
			plan.Removal{Image: engine.Image{ID: "1", Tags: refs(t, "a:1")}}, "not in the plan",
		},
		"kept by the plan": {
			v1alpha1.StoreJobStatus{DryRun: true, Images: []v1alpha1.JobImage{{ID: "1", Image: "docker.io/library/a:1", State: v1alpha1.JobImageKept, Reason: "InUse"}}},
			plan.Removal{Image: engine.Image{ID: "1", Tags: refs(t, "a:1")}}, "not in the plan",
		},
		"another name": {
			v1alpha1.StoreJobStatus{DryRun: true, Images: []v1alpha1.JobImage{{ID: "1", Image: "docker.io/library/a:1", State: v1alpha1.JobImageRemoved}}},
			plan.Removal{Image: engine.Image{ID: "1", Tags: refs(t, "a:1", "b:1")}}, "has got the name docker.io/library/b:1",
		},
		"more names than are told": {
			v1alpha1.StoreJobStatus{DryRun: true, Images: []v1alpha1.JobImage{{ID: "1", Image: "docker.io/library/a:1", Names: many, State: v1alpha1.JobImageRemoved}}},
			plan.Removal{Image: engine.Image{ID: "1", Tags: refs(t, "a:1", "b:1")}}, "more names than",
		},
		"a tag, and now all": {
			v1alpha1.StoreJobStatus{DryRun: true, Images: []v1alpha1.JobImage{{ID: "1", Image: "docker.io/library/a:1", Names: many[1:2], Partly: true, State: v1alpha1.JobImageRemoved}}},
			plan.Removal{Image: engine.Image{ID: "1", Tags: refs(t, "a:1")}}, "lost its other names",
		},
		"failed in a run before": {
			v1alpha1.StoreJobStatus{Planned: true, Images: []v1alpha1.JobImage{{ID: "1", Image: "docker.io/library/a:1", State: v1alpha1.JobImageFailed}}},
			plan.Removal{Image: engine.Image{ID: "1", Tags: refs(t, "a:1")}}, "",
		},
		"in use in a run before": {
			v1alpha1.StoreJobStatus{Planned: true, Images: []v1alpha1.JobImage{{ID: "1", Image: "docker.io/library/a:1", Names: many[1:2], State: v1alpha1.JobImageKept, Reason: "InUse"}}},
			plan.Removal{Image: engine.Image{ID: "1", Tags: refs(t, "a:1")}}, "",
		},
		"not to go in a run before": {
			v1alpha1.StoreJobStatus{Planned: true, Images: []v1alpha1.JobImage{{ID: "1", Image: "docker.io/library/a:1", State: v1alpha1.JobImageKept, Reason: "NotSelected"}}},
			plan.Removal{Image: engine.Image{ID: "1", Tags: refs(t, "a:1")}}, "not in the plan",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := shownBy(c.before).limit(plan.Plan{Remove: []plan.Removal{c.removal}})
			switch {
			case c.keeps == "" && len(got.Remove) != 1:
				t.Errorf("it stays: %+v", got.Keep)
			case c.keeps != "" && (len(got.Keep) != 1 || got.Keep[0].Reason != plan.ReasonNotSelected || !strings.Contains(got.Keep[0].Message, c.keeps)):
				t.Errorf("%+v", got)
			}
		})
	}
}

// Of the oldest answers the decisions go first, of those the ones that tell least; counts stay.
func TestJobsAreBounded(t *testing.T) {
	var jobs []v1alpha1.StoreJobStatus
	for i := range 3 {
		st := v1alpha1.StoreJobStatus{UID: fmt.Sprint("uid-", i), State: v1alpha1.JobSucceeded, Removed: 600, Kept: 600}
		for k := range 1200 {
			image := v1alpha1.JobImage{Image: fmt.Sprintf("docker.io/library/a%04d:1", k), ID: strings.Repeat("a", 71), State: v1alpha1.JobImageRemoved}
			if k%2 == 0 {
				image.State, image.Reason = v1alpha1.JobImageKept, string(plan.ReasonNotSelected)
			}
			st.Images = append(st.Images, image)
		}
		jobs = append(jobs, st)
	}
	jobs[0].State = v1alpha1.JobRunning // It is oldest, and not done.
	whole := slices.Clone(jobs)
	const room = 400 << 10
	boundJobs(jobs, room)
	if text, err := json.Marshal(jobs); err != nil || len(text) > room || len(text) < room/2 {
		t.Errorf("it takes %d bytes, %v", len(text), err)
	}
	for i, most := range []int{1000, 700, 1000} {
		st := &jobs[i]
		if len(st.Images) > most || i != 1 && len(st.Images) < 900 || len(st.Images)+int(st.OmittedImages) != 1200 || st.Removed != 600 || st.Kept != 600 {
			t.Errorf("of answer %d there are %d decisions, %d are left out", i, len(st.Images), st.OmittedImages)
		}
		if len(whole[i].Images) != 1200 || whole[i].OmittedImages != 0 {
			t.Errorf("what was remembered of answer %d has changed", i)
		}
	}
	if slices.ContainsFunc(jobs[1].Images, func(image v1alpha1.JobImage) bool { return image.Reason != "" }) {
		t.Error("what tells least is still there")
	}
}
