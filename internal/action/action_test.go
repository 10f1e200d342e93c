// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package action

import (
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

var now = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

func TestWhatIsAskedSurvivesTheWayThroughAJob(t *testing.T) {
	asked := &v1alpha1.PruneAction{
		Match: []string{"docker.io/minchou/*"}, Keep: []string{"ghcr.io/acme/web:stable"}, Filter: []string{"size>=1GB", "in-use!=true"},
		UnusedFor: "168h0m0s", PulledBefore: "2026-10-21T12:00:00Z", KeepLatest: 3, WhenDiskAbove: 80, UntilDiskBelow: 60, MaxRemovals: 9, Force: true,
	}
	req, err := PruneRequest(asked, now)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(asked, FromPrune(req)); diff != "" {
		t.Errorf("a prune came back another (-asked +back):\n%s", diff)
	}
	remove := &v1alpha1.RemoveAction{Images: []string{"nginx:1.29", "docker.io/minchou/*", "sha256:0123456789ab"}, Force: true}
	removal, err := RemoveRequest(remove)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(remove, FromRemove(removal)); diff != "" {
		t.Errorf("a removal came back another (-asked +back):\n%s", diff)
	}
}

func TestSpansCountFromNow(t *testing.T) {
	req, err := PruneRequest(&v1alpha1.PruneAction{PulledBefore: "30d", UnusedFor: "7d"}, now)
	if err != nil {
		t.Fatal(err)
	}
	if want := now.Add(-30 * 24 * time.Hour); !req.PulledBefore.Equal(want) || req.UnusedFor != 7*24*time.Hour {
		t.Errorf("pulledBefore is %v and unusedFor %v, want %v and a week", req.PulledBefore, req.UnusedFor, want)
	}
}

func TestABareNameInAPruneIsTheWholeRepository(t *testing.T) {
	req, err := PruneRequest(&v1alpha1.PruneAction{Match: []string{"ghcr.io/acme/web"}}, now)
	if err != nil {
		t.Fatal(err)
	}
	tag, err := oci.Parse("ghcr.io/acme/web:2026.10.9")
	if err != nil {
		t.Fatal(err)
	}
	if !plan.Means(req.Match[0], engine.Image{ID: "sha256:aa", Tags: []oci.Ref{tag}}) {
		t.Error("match: ghcr.io/acme/web does not mean ghcr.io/acme/web:2026.10.9")
	}
}

func TestNonsenseIsNamed(t *testing.T) {
	for name, c := range map[string]struct {
		spec v1alpha1.NodeJobSpec
		says string
	}{
		"a digest cut short":    {v1alpha1.NodeJobSpec{Remove: &v1alpha1.RemoveAction{Images: []string{"nginx@sha256:abc"}}}, "nginx@sha256:abc"},
		"an unknown filter key": {v1alpha1.NodeJobSpec{Prune: &v1alpha1.PruneAction{Filter: []string{"sise>1GB"}}}, `"sise"`},
		"any registry":          {v1alpha1.NodeJobSpec{Prune: &v1alpha1.PruneAction{Match: []string{"*/nginx"}}}, "*/nginx"},
		"a span beyond bounds":  {v1alpha1.NodeJobSpec{Prune: &v1alpha1.PruneAction{UnusedFor: "99999999999999h"}}, "99999999999999h"},
		"a broken pull":         {v1alpha1.NodeJobSpec{Pull: &v1alpha1.PullAction{Images: []string{"nginx", "UPPER/case"}}}, "UPPER/case"},
		"levels the wrong way":  {v1alpha1.NodeJobSpec{Prune: &v1alpha1.PruneAction{WhenDiskAbove: 50, UntilDiskBelow: 60}}, "60"},
		"nothing":               {v1alpha1.NodeJobSpec{}, "none of pull, remove, prune and template"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := Check(&c.spec, now); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("Check says %v, and should name %s", err, c.says)
			}
		})
	}
}

func TestAPlanIsReadBackAsPeopleSeeIt(t *testing.T) {
	tag := func(text string) oci.Ref {
		ref, err := oci.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return ref
	}
	made := plan.Plan{
		Absent: []string{"docker.io/library/gone:1"},
		Remove: []plan.Removal{
			{Image: engine.Image{ID: "sha256:01", Tags: []oci.Ref{tag("a:1"), tag("a:2")}}, FreesBytes: 10},
			{Image: engine.Image{ID: "sha256:02", Tags: []oci.Ref{tag("b:1"), tag("b:2")}}, Tags: []oci.Ref{tag("b:1")}},
			{Image: engine.Image{ID: "sha256:03"}, FreesBytes: 5},
		},
		Keep:       []plan.Kept{{Image: engine.Image{ID: "sha256:04", Tags: []oci.Ref{tag("c:1")}}, Reason: plan.ReasonInUse, Message: "in use by shop/web"}},
		FreesBytes: 15,
	}
	back := PlanOf(&v1alpha1.StoreJobStatus{Images: Planned(made), Bytes: made.FreesBytes})
	if back.FreesBytes != 15 || len(back.Remove) != len(made.Remove) || !cmp.Equal(back.Absent, made.Absent) {
		t.Fatalf("the plan came back as %+v", back)
	}
	for i := range made.Remove {
		if was, is := made.Remove[i], back.Remove[i]; !cmp.Equal(was.Names(), is.Names()) || was.Image.ID != is.Image.ID || len(was.Tags) != len(is.Tags) || was.FreesBytes != is.FreesBytes {
			t.Errorf("removal %d came back as %v of %s, was %v", i, is.Names(), is.Image.ID, was.Names())
		}
	}
	if k := back.Keep[0]; k.Reason != plan.ReasonInUse || k.Message != "in use by shop/web" || plan.Title(k.Image) != "docker.io/library/c:1" {
		t.Errorf("what is kept came back as %+v", k)
	}
}

func TestEveryImageOfAPlanHasItsDecision(t *testing.T) {
	planned := plan.Plan{Keep: []plan.Kept{
		{Image: engine.Image{ID: "sha256:01"}, Reason: plan.ReasonNotSelected, Message: "matches none of the given patterns"},
		{Image: engine.Image{ID: "sha256:02"}, Reason: plan.ReasonInUse, Message: "in use by a/b"},
	}}
	steps := []session.Step{
		{Asked: "sha256:02", ID: "sha256:02", State: session.StateKept, Reason: string(plan.ReasonInUse)},
		{Asked: "x:1", ID: "sha256:03", State: session.StateRemoved, Bytes: 7, Names: []string{"x:1"}},
	}
	states := map[string]v1alpha1.JobImageState{}
	for _, image := range Done(planned, steps) {
		if _, twice := states[image.ID]; twice {
			t.Errorf("%s is told of twice", image.ID)
		}
		states[image.ID] = image.State
	}
	want := map[string]v1alpha1.JobImageState{"sha256:01": v1alpha1.JobImageKept, "sha256:02": v1alpha1.JobImageKept, "sha256:03": v1alpha1.JobImageRemoved}
	if diff := cmp.Diff(want, states); diff != "" {
		t.Errorf("the decisions (-want +got):\n%s", diff)
	}
}

func TestMessagesAreCutToWhatTheSchemaTakes(t *testing.T) {
	image := Step(&session.Step{Message: strings.Repeat("ü", 400)})
	if len(image.Message) > maxMessage || !strings.HasSuffix(image.Message, "…") || strings.ContainsRune(image.Message, '\uFFFD') {
		t.Errorf("a long message became %q, of %d bytes", image.Message, len(image.Message))
	}
}
