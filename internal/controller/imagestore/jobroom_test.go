// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagestore

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orlop.dev/orlop/api/v1alpha1"
)

// crowd is what jobs ask of a store. What was added last is new to it, until tell is called.
type crowd struct {
	t *testing.T
	assigned
}

func newCrowd(t *testing.T) *crowd {
	return &crowd{t, assigned{store: &v1alpha1.ImageStore{}, of: map[string]*v1alpha1.NodeJob{}}}
}

func (c *crowd) add(name string, change func(*v1alpha1.NodeJob, *v1alpha1.StoreJob)) {
	j := jobOf(name, removes("one"))
	j.CreationTimestamp = metav1.Unix(int64(len(c.of)), 0)
	e := entryOf(j)
	change(j, &e)
	c.of[e.UID] = j
	c.entries = append(c.entries, e)
}

// tell fits what is asked into the room, and writes it to the store.
func (c *crowd) tell(room int) {
	c.t.Helper()
	c.left = 0
	c.fit(room, time.Now())
	if len(c.entries) > maxJobs {
		c.t.Fatalf("%d entries: the API server would refuse the store", len(c.entries))
	}
	c.store.Spec.Jobs = slices.Clone(c.entries)
}

func (c *crowd) has(name string) bool { return c.store.Job("uid-"+name) != nil }

func outcome(kind, reason string) func(*v1alpha1.NodeJob, *v1alpha1.StoreJob) {
	return func(j *v1alpha1.NodeJob, e *v1alpha1.StoreJob) {
		if kind != "" {
			j.Status.Conditions = []metav1.Condition{{Type: kind, Status: metav1.ConditionTrue, Reason: reason}}
		}
		now := metav1.Now()
		e.Remove, e.Outcome = nil, &v1alpha1.PodOutcome{
			State: v1alpha1.JobFailed, Reason: "PodFailed", Message: strings.Repeat("x", 500), Pod: "pod-of-" + j.Name, StartTime: &now, CompletionTime: &now,
		}
	}
}

func asks(images ...string) func(*v1alpha1.NodeJob, *v1alpha1.StoreJob) {
	return func(_ *v1alpha1.NodeJob, e *v1alpha1.StoreJob) { e.Remove = &v1alpha1.RemoveAction{Images: images} }
}

// TestOutcomesWithoutEnd: jobs that failed, and that nobody deletes, do not make the store one that cannot be written.
func TestOutcomesWithoutEnd(t *testing.T) {
	c := newCrowd(t)
	shared := &v1alpha1.PodOutcome{}
	for i := range maxJobs + 20 {
		c.add(fmt.Sprintf("j%04d", i), outcome(v1alpha1.ConditionFailed, v1alpha1.ReasonNodesFailed))
		if i == 0 {
			shared = c.entries[0].Outcome
		}
		left := c.left
		c.tell(maxJobBytes)
		if i < 400 && left+c.left > 0 {
			t.Fatalf("the outcome of job %d finds no room", i)
		}
	}
	text, err := json.Marshal(c.store.Spec.Jobs)
	if err != nil {
		t.Fatal(err)
	}
	if len(text) > mostOutcomeBytes || c.weight() > mostOutcomeBytes || len(text) > c.weight() {
		t.Errorf("%d entries take %d bytes by our count, %d as JSON", len(c.entries), c.weight(), len(text))
	}
	if c.left == 0 || !c.has("j0000") {
		t.Errorf("%d wait; the first is there: %t", c.left, c.has("j0000"))
	}
	if len(shared.Message) != 500 {
		t.Error("what the ledger holds was changed")
	}
}

// TestAnOutcomeNeedsNoTurn: a pod is not held since another job waits for an agent that is away.
func TestAnOutcomeNeedsNoTurn(t *testing.T) {
	c := newCrowd(t)
	c.add("waits", asks(strings.Repeat("x", 4000)))
	c.tell(4000)
	c.add("more", asks("y"))
	c.add("ended", outcome("", ""))
	c.tell(4000)
	if !c.has("waits") || c.has("more") || !c.has("ended") || c.left != 1 {
		t.Errorf("%d are left of %+v", c.left, c.store.Spec.Jobs)
	}
}

// TestBoundsOfOneAlone: a job that is larger than the room is told when nothing else is under way, but not beyond what the store can hold.
func TestBoundsOfOneAlone(t *testing.T) {
	for name, c := range map[string]struct {
		before, bytes int
		want          bool
	}{
		"there is room":         {10, 100, true},
		"larger than the room":  {10, maxJobBytes + 1000, true},
		"larger than the store": {10, mostAskBytes + 1000, false},
		"one too many":          {maxJobs, 100, false},
	} {
		t.Run(name, func(t *testing.T) {
			all := newCrowd(t)
			for i := range c.before {
				all.add(fmt.Sprintf("j%04d", i), func(_ *v1alpha1.NodeJob, e *v1alpha1.StoreJob) {
					e.Remove, e.Outcome = nil, &v1alpha1.PodOutcome{State: v1alpha1.JobFailed}
				})
			}
			all.store.Spec.Jobs = slices.Clone(all.entries)
			all.add("alone", asks(strings.Repeat("x", c.bytes)))
			all.tell(maxJobBytes)
			if all.has("alone") != c.want || all.left > 0 == c.want || len(all.entries) < c.before {
				t.Errorf("told: %t, left: %d, %d entries", all.has("alone"), all.left, len(all.entries))
			}
		})
	}
}

// TestNoMoreIsDroppedThanMust: by count, of the oldest jobs, and again the same when the ledger says them again.
func TestNoMoreIsDroppedThanMust(t *testing.T) {
	c := newCrowd(t)
	for i := range maxJobs {
		c.add(fmt.Sprintf("j%04d", i), outcome(v1alpha1.ConditionComplete, v1alpha1.ReasonNodesDone))
	}
	c.store.Spec.Jobs = slices.Clone(c.entries)
	for range 10 {
		c.add(fmt.Sprintf("new%d", len(c.of)), asks("one"))
	}
	said := slices.Clone(c.entries)
	c.tell(10 << 20)
	if len(c.entries) != maxJobs-forOutcomes || c.has("j0109") || !c.has("j0110") || !c.has("new1009") {
		t.Fatalf("%d entries are left", len(c.entries))
	}
	before := c.store.Spec.Jobs
	c.entries = slices.Clone(before)
	for _, e := range said {
		if c.store.Job(e.UID) == nil {
			c.entries = append(c.entries, e)
		}
	}
	c.tell(10 << 20)
	if diff := gocmp.Diff(before, c.store.Spec.Jobs); diff != "" {
		t.Errorf("the second time others go: %s", diff)
	}
}

// TestNoMoreIsLeftThanMust: of what is new the newest waits.
func TestNoMoreIsLeftThanMust(t *testing.T) {
	c := newCrowd(t)
	for i := range maxJobs + 100 {
		c.add(fmt.Sprintf("j%04d", i), asks("one"))
	}
	c.tell(10 << 20)
	if len(c.entries) != maxJobs-forOutcomes || c.left != 100+forOutcomes || !c.has("j0899") {
		t.Errorf("%d entries, %d left", len(c.entries), c.left)
	}
}

func TestWhatIsSettledForGood(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*v1alpha1.NodeJob)
		want   bool
	}{
		"complete":                {func(*v1alpha1.NodeJob) {}, true},
		"failed":                  {func(j *v1alpha1.NodeJob) { j.Status.Conditions[0].Type = v1alpha1.ConditionFailed }, false},
		"not any more":            {func(j *v1alpha1.NodeJob) { j.Status.Conditions[0].Status = metav1.ConditionFalse }, false},
		"planned":                 {func(j *v1alpha1.NodeJob) { j.Status.Conditions[0].Reason = v1alpha1.ReasonPlanned }, false},
		"some are still at it":    {func(j *v1alpha1.NodeJob) { j.Status.Active = 1 }, false},
		"the deadline is to come": {func(j *v1alpha1.NodeJob) { j.Spec.ActiveDeadlineSeconds = new(int64(3600)) }, false},
		"the deadline is over":    {func(j *v1alpha1.NodeJob) { j.Spec.ActiveDeadlineSeconds = new(int64(60)) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			now := time.Now()
			j := jobOf("j", removes("one"))
			j.Status.StartTime = &metav1.Time{Time: now.Add(-10 * time.Minute)}
			j.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionComplete, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonNodesDone}}
			c.change(j)
			if got := settledForGood(j, now); got != c.want {
				t.Errorf("got %t", got)
			}
		})
	}
}

// TestARetryWaitsForRoom: what was asked again is told when there is room, and until then the store says what it said.
func TestARetryWaitsForRoom(t *testing.T) {
	c := newCrowd(t)
	c.add("again", func(_ *v1alpha1.NodeJob, e *v1alpha1.StoreJob) { e.Remove = nil })
	c.add("other", asks(strings.Repeat("x", 2000)))
	c.store.Spec.Jobs = slices.Clone(c.entries)
	c.entries[0].Run, c.entries[0].Remove = 1, &v1alpha1.RemoveAction{Images: []string{strings.Repeat("y", 2000)}}
	wanted := c.entries[0]
	c.tell(2500)
	if had := c.store.Job("uid-again"); had == nil || had.Run != 0 || c.left != 1 {
		t.Errorf("%d left, the store says %+v", c.left, had)
	}
	c.entries[0] = wanted
	c.tell(5000)
	if had := c.store.Job("uid-again"); had.Run != 1 || c.left != 0 {
		t.Errorf("%d left, the store says %+v", c.left, had)
	}
}
