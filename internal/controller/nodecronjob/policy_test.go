// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package nodecronjob

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orlop.dev/orlop/api/v1alpha1"
)

func TestConcurrency(t *testing.T) {
	for policy, c := range map[v1alpha1.ConcurrencyPolicy]struct {
		made, left []string
		active     int32
		says       string
		heard      string
	}{
		v1alpha1.ConcurrencyAllow:   {[]string{"00:10", "00:20", "00:30"}, []string{"00:10", "00:20", "00:30"}, 3, "00:30 00:40 Ready=True/Scheduled", "JobCreated JobCreated JobCreated"},
		v1alpha1.ConcurrencyForbid:  {[]string{"00:10"}, []string{"00:10"}, 1, "00:10 00:40 Ready=True/StillRunning", "JobCreated StillRunning StillRunning"},
		v1alpha1.ConcurrencyReplace: {[]string{"00:10", "00:20", "00:30"}, []string{"00:30"}, 1, "00:30 00:40 Ready=True/Scheduled", "JobCreated JobReplaced JobCreated JobReplaced JobCreated"},
	} {
		t.Run(string(policy), func(t *testing.T) {
			onBench(t, func(t *testing.T, b *bench) {
				b.create(func(s *v1alpha1.NodeCronJobSpec) { s.ConcurrencyPolicy = policy })
				b.run(35 * time.Minute)
				b.expectMade(c.made...)
				b.expectJobs(c.left...)
				b.expect(c.says)
				if got := b.heard(); got != c.heard {
					t.Errorf("events: %s", got)
				}
				if s := b.cron().Status; s.ActiveCount != c.active || len(s.Active) != int(c.active) {
					t.Errorf("%+v", s)
				}
				b.restart()
				if n := b.run(time.Minute); n != 0 || b.heard() != "" {
					t.Errorf("a restart took %d writes", n)
				}
			})
		})
	}
}

// As in a CronJob: of the runs that were left out the last one starts when it can, if it is not too late for it.
func TestForbidden(t *testing.T) {
	for label, c := range map[string]struct {
		deadline *int64
		made     []string
		meant    string
	}{
		"any time":    {nil, []string{"00:30"}, "00:30 00:40 Ready=True/Scheduled"},
		"soon enough": {new(int64(301)), []string{"00:30"}, "00:30 00:40 Ready=True/Scheduled"},
		"not in time": {new(int64(200)), nil, "00:10 00:40 Ready=True/MissedDeadline"},
	} {
		t.Run(label, func(t *testing.T) {
			onBench(t, func(_ *testing.T, b *bench) {
				b.create(func(s *v1alpha1.NodeCronJobSpec) {
					s.ConcurrencyPolicy, s.StartingDeadlineSeconds = v1alpha1.ConcurrencyForbid, c.deadline
				})
				b.run(35 * time.Minute)
				b.expectMade("00:10")
				b.end(b.slot("00:10"), v1alpha1.ConditionComplete, 0)
				b.run(time.Second)
				b.expectMade(c.made...)
				b.expect(c.meant)
				b.run(5 * time.Minute)
				if len(c.made) > 0 {
					b.end(b.slot("00:30"), v1alpha1.ConditionComplete, 0)
				}
				b.run(time.Second)
				b.expectMade("00:40")
				b.expect("00:40 00:50 Ready=True/Scheduled")
			})
		})
	}
}

func TestManualRunsHoldUpNothing(t *testing.T) {
	for _, policy := range []v1alpha1.ConcurrencyPolicy{v1alpha1.ConcurrencyForbid, v1alpha1.ConcurrencyReplace} {
		t.Run(string(policy), func(t *testing.T) {
			onBench(t, func(t *testing.T, b *bench) {
				b.create(func(s *v1alpha1.NodeCronJobSpec) { s.ConcurrencyPolicy = policy })
				byHand := child(b.cron(), time.Now())
				byHand.Name = "tidy-by-hand"
				byHand.Annotations = map[string]string{v1alpha1.AnnotationManual: "true"}
				if err := b.api.Create(t.Context(), byHand); err != nil {
					t.Fatal(err)
				}
				b.made = nil
				b.run(11 * time.Minute)
				b.expectMade("00:10")
				if got := b.jobs(); len(got) != 2 || b.cron().Status.ActiveCount != 1 {
					t.Errorf("there are %q, active %+v", got, b.cron().Status.Active)
				}
				b.end("tidy-by-hand", v1alpha1.ConditionComplete, 5000)
				b.run(time.Second)
				if s := b.cron().Status; s.LastFreed != "5kB" || s.LastSuccessfulTime == nil {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}

// A controller that was away, and came back, does what was missed last, once.
func TestAway(t *testing.T) {
	onBench(t, func(_ *testing.T, b *bench) {
		b.create(func(s *v1alpha1.NodeCronJobSpec) { s.Schedule = "* * * * *" })
		b.run(90 * time.Second)
		b.expectMade("00:01")
		b.remove(b.slot("00:01"))
		time.Sleep(20 * time.Hour)
		b.restart()
		b.run(time.Second)
		b.expectMade("20:01")
		b.run(time.Minute)
		b.expectMade("20:02")
	})
}

func TestMissed(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		b.create(func(s *v1alpha1.NodeCronJobSpec) { s.StartingDeadlineSeconds = new(int64(30)) })
		b.run(15 * time.Minute)
		b.expectMade("00:10")
		b.heard()
		time.Sleep(16 * time.Minute)
		b.restart()
		if n := b.run(time.Minute); n != 1 {
			t.Errorf("%d writes", n)
		}
		b.expectMade()
		b.expect("00:10 00:40 Ready=True/MissedDeadline")
		if got := b.heard(); got != "MissedDeadline" || !strings.Contains(b.message(), "2000-01-01T00:30:00Z") {
			t.Errorf("events: %s; %s", got, b.message())
		}
		b.restart()
		if n := b.run(time.Minute); n != 0 || b.heard() != "" {
			t.Errorf("a restart took %d writes", n)
		}
		b.run(10 * time.Minute)
		b.expectMade("00:40")
		b.expect("00:40 00:50 Ready=True/Scheduled")
	})
}

// The clock was wrong when the last run began, or is now.
func TestTheLastRunIsToCome(t *testing.T) {
	for label, c := range map[string]struct {
		ahead      time.Duration
		says, then string
		made       []string
	}{
		"a minute":   {time.Minute, "00:02 00:10 Ready=True/Scheduled", "00:10 00:20 Ready=True/Scheduled", []string{"00:10"}},
		"an hour":    {time.Hour - time.Minute, "01:00 01:10 Ready=True/Scheduled", "01:00 01:10 Ready=True/Scheduled", nil},
		"ten hours":  {10 * time.Hour, "00:01 00:10 Ready=True/ClockChanged", "00:10 00:20 Ready=True/Scheduled", []string{"00:10"}},
		"a lifetime": {80 * 365 * 24 * time.Hour, "00:01 00:10 Ready=True/ClockChanged", "00:10 00:20 Ready=True/Scheduled", []string{"00:10"}},
	} {
		t.Run(label, func(t *testing.T) {
			onBench(t, func(t *testing.T, b *bench) {
				b.create(nil)
				b.run(time.Minute)
				b.setStatus(func(s *status) { s.LastScheduleTime = new(metav1.NewTime(time.Now().Add(c.ahead))) })
				b.run(8 * time.Minute)
				b.expect(c.says)
				b.restart()
				if n := b.run(30 * time.Second); n != 0 {
					t.Errorf("a restart took %d writes", n)
				}
				b.run(2 * time.Minute)
				b.expectMade(c.made...)
				b.expect(c.then)
			})
		})
	}
}

func TestHistory(t *testing.T) {
	for label, c := range map[string]struct {
		good, bad *int32
		left      []string
	}{
		"as usual": {nil, nil, []string{"00:10", "00:30", "00:40", "00:50", "01:00"}},
		"none":     {new(int32(0)), new(int32(0)), []string{"01:00"}},
		"more":     {new(int32(5)), new(int32(5)), []string{"00:10", "00:20", "00:30", "00:40", "00:50", "01:00"}},
		"good":     {new(int32(1)), new(int32(0)), []string{"00:40", "01:00"}},
	} {
		t.Run(label, func(t *testing.T) {
			onBench(t, func(t *testing.T, b *bench) {
				b.create(func(s *v1alpha1.NodeCronJobSpec) {
					s.SuccessfulJobsHistoryLimit, s.FailedJobsHistoryLimit = new(int32(9)), new(int32(9))
				})
				for _, clock := range []string{"00:10", "00:20", "00:30", "00:40", "00:50"} {
					b.run(11*time.Minute - time.Duration(time.Now().Minute()%10)*time.Minute)
					kind := v1alpha1.ConditionComplete
					if clock == "00:20" || clock == "00:50" {
						kind = v1alpha1.ConditionFailed
					}
					b.end(b.slot(clock), kind, int64(time.Now().Minute()))
				}
				b.run(9 * time.Minute)
				b.expectMade("00:10", "00:20", "00:30", "00:40", "00:50", "01:00")
				b.edit(func(s *v1alpha1.NodeCronJobSpec) {
					s.SuccessfulJobsHistoryLimit, s.FailedJobsHistoryLimit = c.good, c.bad
				})
				b.run(time.Second)
				b.expectJobs(c.left...)
				before := b.cron().Status
				if before.LastFreed != "51B" || before.LastSuccessfulTime.UTC().Format("15:04") != "00:41" || before.LastFailedTime.UTC().Format("15:04") != "00:51" {
					t.Errorf("%+v", before)
				}
				b.run(time.Minute)
				if diff := cmp.Diff(before, b.cron().Status); diff != "" {
					t.Errorf("without its history the status is another: %s", diff)
				}
			})
		})
	}
}
