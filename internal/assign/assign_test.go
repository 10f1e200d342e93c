// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package assign

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"orlop.dev/orlop/api/v1alpha1"
)

func entry(uid string, run int32) v1alpha1.StoreJob {
	return v1alpha1.StoreJob{Job: "default/" + uid, UID: uid, Run: run}
}

func uids(entries []v1alpha1.StoreJob) []string {
	var all []string
	for _, e := range entries {
		all = append(all, e.UID)
	}
	return all
}

func everything(string, string) bool { return true }

func TestNodesHearOnlyOfWhatConcernsThem(t *testing.T) {
	var woken []string
	l := New(func(nodes ...string) { woken = append(woken, nodes...) })
	steps := []struct {
		do   func()
		want []string
	}{
		{func() { l.Set("a", "1", map[string]v1alpha1.StoreJob{"n1": entry("a", 0), "n2": entry("a", 0)}) }, []string{"n1", "n2"}},
		{func() { l.Set("a", "1", map[string]v1alpha1.StoreJob{"n1": entry("a", 0), "n2": entry("a", 0)}) }, nil},
		{func() { l.Set("a", "1", map[string]v1alpha1.StoreJob{"n1": entry("a", 0), "n2": entry("a", 1)}) }, []string{"n2"}},
		{func() { l.Set("a", "1", map[string]v1alpha1.StoreJob{"n1": entry("a", 0)}) }, []string{"n2"}},
		{func() { l.Forget("a") }, []string{"n1"}},
		{func() { l.Forget("a") }, nil},
	}
	for i, step := range steps {
		woken = nil
		step.do()
		if !slices.Equal(woken, step.want) {
			t.Errorf("step %d woke %v, want %v", i, woken, step.want)
		}
	}
}

func TestWhatStandsStaysUntilItsJobWasSpokenOf(t *testing.T) {
	l := New(func(...string) {})
	standing := []v1alpha1.StoreJob{entry("old", 3), entry("gone", 0)}
	there := func(_, uid string) bool { return uid != "gone" }
	if got := uids(l.On("n1", standing, there)); !cmp.Equal(got, []string{"old"}) {
		t.Errorf("before anybody spoke: %v, want the one whose job is there", got)
	}
	l.Set("new", "2026-11-20T12:00:00Z", map[string]v1alpha1.StoreJob{"n1": entry("new", 0)})
	if got := uids(l.On("n1", standing, there)); !cmp.Equal(got, []string{"old", "new"}) {
		t.Errorf("with a new job: %v, want the older one first", got)
	}
	l.Set("old", "2026-11-20T11:00:00Z", map[string]v1alpha1.StoreJob{})
	if got := uids(l.On("n1", standing, there)); !cmp.Equal(got, []string{"new"}) {
		t.Errorf("once the old job asks nothing of the node: %v, want only the new", got)
	}
	if got := l.On("n1", nil, func(string, string) bool { return false }); len(got) != 0 {
		t.Errorf("of jobs that are gone: %v, want nothing", uids(got))
	}
}

func TestWhatWasAskedOfANodeIsNotAskedOfTheNext(t *testing.T) {
	var woken []string
	l := New(func(nodes ...string) { woken = append(woken, nodes...) })
	set := func() {
		l.Set("a", "1", map[string]v1alpha1.StoreJob{"n1": entry("a", 0), "n2": entry("a", 0)})
	}
	set()
	l.Leave("n1")
	if got := uids(l.On("n1", nil, everything)); len(got) != 0 {
		t.Errorf("the next n1 is asked %v before its job has seen it", got)
	}
	if got := uids(l.On("n1", []v1alpha1.StoreJob{entry("a", 0)}, everything)); len(got) != 0 {
		t.Errorf("what stands for the next n1 stays: %v", got)
	}
	if got := uids(l.On("n2", nil, everything)); !cmp.Equal(got, []string{"a"}) {
		t.Errorf("n2 is asked %v", got)
	}
	woken = nil
	set()
	if !slices.Equal(woken, []string{"n1"}) {
		t.Errorf("when the job asks it of the next n1, it wakes %v", woken)
	}
	if got := uids(l.On("n1", nil, everything)); !cmp.Equal(got, []string{"a"}) {
		t.Errorf("then n1 is asked %v", got)
	}
}

func TestOldestJobsComeFirst(t *testing.T) {
	l := New(func(...string) {})
	for _, job := range []struct{ uid, created string }{{"b", "2026-11-20T12:00:00Z"}, {"c", "2026-11-20T11:00:00Z"}, {"a", "2026-11-20T12:00:00Z"}} {
		l.Set(job.uid, job.created, map[string]v1alpha1.StoreJob{"n1": entry(job.uid, 0)})
	}
	if got := uids(l.On("n1", nil, everything)); !cmp.Equal(got, []string{"c", "a", "b"}) {
		t.Errorf("the order is %v, want c, a, b", got)
	}
}
