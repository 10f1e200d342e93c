// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package nodecronjob

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orlop.dev/orlop/api/v1alpha1"
)

func onBench(t *testing.T, test func(t *testing.T, b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, newBench(t)) })
}

func TestTheLifeOfASchedule(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		b.create(nil)
		if n := b.run(9 * time.Minute); n != 1 {
			t.Errorf("beginning took %d writes", n)
		}
		b.expect("- 00:10 Ready=True/Scheduled")
		b.expectMade()
		if n := b.run(5 * time.Minute); n != 1 {
			t.Errorf("a run took %d writes", n)
		}
		b.expect("00:10 00:20 Ready=True/Scheduled")
		b.expectMade("00:10")
		if got := b.heard(); got != "JobCreated" {
			t.Errorf("events: %s", got)
		}
		job, cron := b.job(b.slot("00:10")), b.cron()
		if diff := cmp.Diff(map[string]string{"team": "a", v1alpha1.LabelNodeCronJob: "tidy"}, job.Labels); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(map[string]string{"why": "disk", v1alpha1.AnnotationScheduledAt: "2000-01-01T00:10:00Z"}, job.Annotations); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(cron.Spec.JobTemplate.Spec, job.Spec); diff != "" {
			t.Error(diff)
		}
		if owner := metav1.GetControllerOf(job); owner == nil || owner.UID != cron.UID || owner.Kind != "NodeCronJob" || owner.BlockOwnerDeletion != nil {
			t.Errorf("owner %+v", owner)
		}
		if s := cron.Status; s.Action != "Prune" || s.ActiveCount != 1 || s.Active[0] != (v1alpha1.ActiveJob{Name: job.Name, UID: string(job.UID)}) {
			t.Errorf("%+v", s)
		}
		b.end(job.Name, v1alpha1.ConditionComplete, 68_600_000)
		if n := b.run(time.Minute); n != 1 {
			t.Errorf("an end took %d writes", n)
		}
		if s := b.cron().Status; s.ActiveCount != 0 || s.Active != nil || s.LastFreed != "68.6MB" || *s.LastFreedBytes != 68_600_000 || s.LastSuccessfulTime == nil || s.LastFailedTime != nil {
			t.Errorf("%+v", s)
		}
		b.restart()
		if n := b.run(4 * time.Minute); n != 0 || b.heard() != "" {
			t.Errorf("a restart took %d writes", n)
		}
		b.run(time.Hour)
		b.expectMade("00:20", "00:30", "00:40", "00:50", "01:00", "01:10")
	})
}

// A process that ends between making the NodeJob and writing it down makes neither two nor none.
func TestKilledInBetween(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		b.create(func(s *v1alpha1.NodeCronJobSpec) { s.ConcurrencyPolicy = v1alpha1.ConcurrencyReplace })
		b.run(9 * time.Minute)
		time.Sleep(time.Minute)
		b.refuseStatus = errors.New("killed")
		if _, err := b.once(); err == nil {
			t.Error("the status was written")
		}
		b.expectMade("00:10")
		b.restart()
		b.refuseStatus = nil
		b.run(time.Second)
		b.expectMade()
		b.expectJobs("00:10")
		b.expect("00:10 00:20 Ready=True/Scheduled")
		if s := b.cron().Status; s.ActiveCount != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// The NodeJob is there, and the informer does not know of it yet.
func TestMadeByAnother(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		b.create(nil)
		b.run(9 * time.Minute)
		time.Sleep(time.Minute)
		taken := apierrors.NewAlreadyExists(v1alpha1.GroupVersion.WithResource("nodejobs").GroupResource(), b.slot("00:10"))
		b.refuseCreate = taken
		if _, err := b.once(); err == nil || !strings.Contains(err.Error(), "yet to be seen") {
			t.Errorf("what is not seen cannot be judged: %v", err)
		}
		b.expect("- 00:10 Ready=True/Scheduled")

		b.refuseCreate = nil
		stranger := &v1alpha1.NodeJob{ObjectMeta: metav1.ObjectMeta{Namespace: tidy.Namespace, Name: b.slot("00:10")}}
		if err := b.api.Create(t.Context(), stranger); err != nil {
			t.Fatal(err)
		}
		b.run(time.Second)
		b.expect("00:10 00:20 Ready=False/JobRefused Stalled=True/JobRefused")
		if !strings.Contains(b.message(), "already exists") {
			t.Error(b.message())
		}
		b.run(10 * time.Minute)
		b.expect("00:20 00:30 Ready=True/Scheduled")
	})
}

// The NodeJob is gone again before the status could be written: its slot was acted upon all the same.
func TestGoneBeforeItWasWrittenDown(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		b.create(nil)
		b.run(9 * time.Minute)
		time.Sleep(time.Minute)
		b.refuseStatus = errors.New("no answer")
		if _, err := b.once(); err == nil {
			t.Error("the status was written")
		}
		b.remove(b.slot("00:10"))
		b.refuseStatus = nil
		b.run(time.Second)
		b.expectMade("00:10")
		b.expectJobs()
		b.expect("00:10 00:20 Ready=True/Scheduled")
	})
}

// An informer that is behind makes nothing run twice, nor anything be written twice.
func TestTheInformerIsBehind(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		b.create(nil)
		b.run(9 * time.Minute)
		old := b.cron()
		b.run(2 * time.Minute)
		b.expectMade("00:10")
		b.behind = old
		if n := b.run(time.Minute); n != 0 {
			t.Errorf("%d writes", n)
		}
		b.remove(b.slot("00:10"))
		b.run(time.Minute)
		b.expectMade()
		b.behind.ResourceVersion += "1" // Edited since, and still without our status.
		b.run(time.Minute)
		b.expectMade()
		b.behind = nil
		b.expect("00:10 00:20 Ready=True/Scheduled")
	})
}

// seriesOf is how many there are.
func seriesOf(t *testing.T, c prometheus.Collector) int {
	t.Helper()
	series := make(chan prometheus.Metric, 10)
	c.Collect(series)
	return len(series)
}

func TestSuspended(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		nextRun.Reset() // Other tests leave schedules behind.
		b.create(nil)
		b.run(11 * time.Minute)
		b.expectMade("00:10")
		if n := seriesOf(t, nextRun); n != 1 {
			t.Errorf("%d schedules have a next run, want 1", n)
		}
		b.edit(func(s *v1alpha1.NodeCronJobSpec) { s.Suspend = new(true) })
		b.run(30 * time.Minute)
		if n := seriesOf(t, nextRun); n != 0 {
			t.Errorf("%d schedules have a next run while it is suspended", n)
		}
		b.expectMade()
		b.expect("00:10 - Ready=True/Suspended")
		b.end(b.slot("00:10"), v1alpha1.ConditionFailed, 7)
		b.run(time.Second)
		if s := b.cron().Status; s.LastFailedTime == nil || s.LastSuccessfulTime != nil || s.ActiveCount != 0 {
			t.Errorf("%+v", s)
		}
		b.edit(func(s *v1alpha1.NodeCronJobSpec) { s.Suspend = new(false) })
		b.run(time.Minute)
		b.expectMade("00:40")
		b.expect("00:40 00:50 Ready=True/Scheduled")
	})
}

func TestStalled(t *testing.T) {
	for label, c := range map[string]struct {
		change          func(*v1alpha1.NodeCronJobSpec)
		reason, message string
	}{
		"a schedule": {func(s *v1alpha1.NodeCronJobSpec) { s.Schedule = "61 * * * *" }, v1alpha1.ReasonInvalidSchedule, `schedule "61 * * * *"`},
		"a zone":     {func(s *v1alpha1.NodeCronJobSpec) { s.TimeZone = new("Europe/Atlantis") }, v1alpha1.ReasonUnknownTimeZone, `timeZone "Europe/Atlantis" is not known`},
		"a zone, suspended": {func(s *v1alpha1.NodeCronJobSpec) { s.TimeZone, s.Suspend = new("Europe/Atlantis"), new(true) }, v1alpha1.ReasonUnknownTimeZone,
			`timeZone "Europe/Atlantis" is not known`},
		"what it does": {func(s *v1alpha1.NodeCronJobSpec) { s.JobTemplate.Spec.Prune.Filter = []string{"colour=red"} }, v1alpha1.ReasonInvalid, "jobTemplate: "},
	} {
		t.Run(label, func(t *testing.T) {
			onBench(t, func(t *testing.T, b *bench) {
				b.create(c.change)
				if n := b.run(time.Hour); n != 1 {
					t.Errorf("%d writes", n)
				}
				b.expectMade()
				b.expect("- - Ready=False/" + c.reason + " Stalled=True/" + c.reason)
				if got := b.message(); !strings.Contains(got, c.message) {
					t.Error(got)
				}
				if got := b.heard(); got != c.reason {
					t.Errorf("events: %s", got)
				}
				b.edit(func(s *v1alpha1.NodeCronJobSpec) {
					s.Schedule, s.TimeZone, s.Suspend, s.JobTemplate.Spec.Prune.Filter = "30 * * * *", nil, nil, nil
				})
				b.run(time.Minute)
				b.expect("00:30 01:30 Ready=True/Scheduled")
			})
		})
	}
}

func TestRefusedJobs(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		b.create(nil)
		b.refuseCreate = forbidden("exceeded quota: nodejobs=5")
		if n := b.run(11 * time.Minute); n != 2 {
			t.Errorf("%d writes", n)
		}
		b.expect("00:10 00:20 Ready=False/JobRefused Stalled=True/JobRefused")
		if !strings.Contains(b.message(), "exceeded quota: nodejobs=5") {
			t.Error(b.message())
		}
		b.restart()
		if n := b.run(8 * time.Minute); n != 0 || b.heard() != "" {
			t.Errorf("waiting took %d writes", n)
		}
		b.refuseCreate = nil
		b.run(2 * time.Minute)
		b.expectMade("00:20")
		b.expect("00:20 00:30 Ready=True/Scheduled")

		b.refuseCreate = forbidden("again")
		b.run(10 * time.Minute)
		b.expect("00:30 00:40 Ready=False/JobRefused Stalled=True/JobRefused")
		b.edit(func(s *v1alpha1.NodeCronJobSpec) { s.Schedule = "*/20 * * * *" })
		b.run(time.Minute)
		b.expect("00:30 00:40 Ready=True/Scheduled")
	})
}

// What passes is tried again at once, and the slot is not lost.
func TestTheAPIServerIsAway(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		b.create(nil)
		b.run(9 * time.Minute)
		time.Sleep(time.Minute)
		for _, err := range []error{errors.New("connection refused"), apierrors.NewInternalError(errors.New("etcd")), apierrors.NewTooManyRequests("later", 1), apierrors.NewTimeoutError("slow", 1)} {
			b.refuseCreate = err
			if _, got := b.once(); !errors.Is(got, err) {
				t.Errorf("%v", got)
			}
		}
		b.refuseCreate = nil
		b.run(time.Second)
		b.expectMade("00:10")

		going := apierrors.NewForbidden(v1alpha1.GroupVersion.WithResource("nodejobs").GroupResource(), "x", errors.New("the namespace is going"))
		going.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}
		b.refuseCreate = going
		b.run(10 * time.Minute)
		b.expect("00:10 00:30 Ready=True/Scheduled")
	})
}
