// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package nodecronjob

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"orlop.dev/orlop/api/v1alpha1"
)

func TestNoTemplates(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		b.create(func(s *v1alpha1.NodeCronJobSpec) {
			s.JobTemplate.Spec = v1alpha1.NodeJobSpec{Template: &corev1.PodTemplateSpec{}}
		})
		b.run(11 * time.Minute)
		b.expectMade("00:10")
		b.c.cfg.NoTemplates = true
		b.run(time.Minute)
		b.expect("00:10 - Ready=False/Invalid Stalled=True/Invalid")
		if !strings.Contains(b.message(), "nodeJobs.template") {
			t.Error(b.message())
		}
	})
}

// A schedule that is going makes nothing more, and what is there no longer is not measured.
func TestGoing(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		b.create(nil)
		b.run(11 * time.Minute)
		b.end(b.slot("00:10"), v1alpha1.ConditionComplete, 1)
		b.run(time.Second)
		if diff := cmp.Diff(map[string]string{"run": "00:10", "success": "00:11"}, measured(t)); diff != "" {
			t.Error(diff)
		}
		b.behind = b.cron()
		b.behind.DeletionTimestamp = new(metav1.Now())
		time.Sleep(time.Hour)
		if n := b.run(time.Second); n != 0 {
			t.Errorf("%d writes", n)
		}
		b.expectMade("00:10")
		b.behind = nil
		if err := b.api.Delete(t.Context(), b.cron()); err != nil {
			t.Fatal(err)
		}
		b.run(time.Second)
		if got := measured(t); len(got)+len(b.c.wrote) != 0 {
			t.Errorf("%v are measured, and %v remembered", got, b.c.wrote)
		}
	})
}

// measured are the times in our metrics, by what they are of.
func measured(t *testing.T) map[string]string {
	t.Helper()
	families, err := metrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	times := map[string]string{}
	for _, family := range families {
		what, ours := strings.CutPrefix(family.GetName(), "orlop_cronjob_last_")
		for _, m := range family.GetMetric() {
			if ours {
				times[strings.TrimSuffix(what, "_timestamp_seconds")] = time.Unix(int64(m.GetGauge().GetValue()), 0).UTC().Format("15:04")
			}
		}
	}
	return times
}

// One made anew under the name of another has nothing to do with what that did.
func TestMadeAnew(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		b.create(nil)
		b.run(15 * time.Minute)
		if err := b.api.Delete(t.Context(), b.cron()); err != nil {
			t.Fatal(err)
		}
		b.create(nil)
		b.run(time.Second)
		b.expect("- 00:20 Ready=True/Scheduled")
		if s := b.cron().Status; s.ActiveCount != 0 {
			t.Errorf("%+v", s)
		}
		b.run(10 * time.Minute)
		b.expectMade("00:10", "00:20")
	})
}

// A NodeJob under way says much that a schedule has no use for.
func TestWhatOfAChildMatters(t *testing.T) {
	with := func(kind string) v1alpha1.NodeJobStatus {
		return v1alpha1.NodeJobStatus{Conditions: []metav1.Condition{{Type: kind, Status: metav1.ConditionTrue}}}
	}
	done, bad := with(v1alpha1.ConditionComplete), with(v1alpha1.ConditionFailed)
	freed, less := done, v1alpha1.NodeJobStatus{Succeeded: 1, FreedBytes: new(int64(1))}
	freed.FreedBytes = new(int64(1))
	for label, c := range map[string]struct {
		old, now v1alpha1.NodeJobStatus
		want     bool
	}{
		"progress":          {v1alpha1.NodeJobStatus{}, less, false},
		"its end":           {v1alpha1.NodeJobStatus{}, done, true},
		"nothing":           {done, done, false},
		"what it had freed": {done, freed, true},
		"a late failure":    {done, bad, true},
		"a retry":           {bad, v1alpha1.NodeJobStatus{}, true},
	} {
		if got := childChanged(event.UpdateEvent{ObjectOld: &v1alpha1.NodeJob{Status: c.old}, ObjectNew: &v1alpha1.NodeJob{Status: c.now}}); got != c.want {
			t.Errorf("%s: %v", label, got)
		}
	}
	going := &v1alpha1.NodeJob{ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: new(metav1.Now())}}
	if !childChanged(event.UpdateEvent{ObjectOld: &v1alpha1.NodeJob{}, ObjectNew: going}) {
		t.Error("its going does not matter")
	}
}

func TestManyAtOnce(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		b.create(func(s *v1alpha1.NodeCronJobSpec) { s.Schedule = "* * * * *" })
		b.run(70 * time.Minute)
		if s := b.cron().Status; s.ActiveCount != 70 || len(s.Active) != maxActive || s.Active[0].Name != b.slot("00:01") {
			t.Errorf("%d, %d, %+v", s.ActiveCount, len(s.Active), s.Active[0])
		}
	})
}
