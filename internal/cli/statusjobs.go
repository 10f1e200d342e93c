// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/action"
	"orlop.dev/orlop/internal/operator"
	"orlop.dev/orlop/internal/table"
	"orlop.dev/orlop/internal/term"
)

// jobCounts are the NodeJobs that are there.
type jobCounts struct {
	Running    int      `json:"running"`
	Complete   int      `json:"complete"`
	Failed     int      `json:"failed"`
	FailedOnes []string `json:"failedJobs,omitempty"`
	// Halted are paused, suspended or stalled: they wait for somebody.
	Halted int `json:"halted"`
}

// cronCounts are the NodeCronJobs that are there.
type cronCounts struct {
	Active    int `json:"active"`
	Suspended int `json:"suspended"`
	Stalled   int `json:"stalled"`
	// NextRun is the first that is due, of NextJob; LastFreed is what the run that ended last freed.
	NextRun   *metav1.Time `json:"nextRun,omitempty"`
	NextJob   string       `json:"nextJob,omitempty"`
	LastFreed string       `json:"lastFreed,omitempty"`
	lastRun   time.Time
}

// countJobs counts NodeJobs and NodeCronJobs. An install before these kinds has none, and who may not see them is told so.
func (s *installStatus) countJobs(ctx context.Context, op *operator.Client) error {
	jobs, err := op.Jobs(ctx, "", "")
	if err == nil {
		s.Jobs = countJobs(jobs)
		var crons []v1alpha1.NodeCronJob
		if crons, err = op.CronJobs(ctx, ""); err == nil {
			s.CronJobs = countCrons(crons)
		}
	}
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case apierrors.IsForbidden(err):
		s.Hidden = append(s.Hidden, cause(err))
		return nil
	}
	return err
}

func countJobs(all []v1alpha1.NodeJob) jobCounts {
	var c jobCounts
	for i := range all {
		switch conditions := all[i].Status.Conditions; {
		case meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionFailed):
			c.Failed++
			c.FailedOnes = append(c.FailedOnes, all[i].Namespace+"/"+all[i].Name)
		case meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionComplete):
			c.Complete++
		case meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionStalled), all[i].Spec.Suspend, all[i].Status.Phase == "Paused":
			c.Halted++
		default:
			c.Running++
		}
	}
	return c
}

func (c jobCounts) String() string {
	return inLine(tallied{c.Running, "under way"}, tallied{c.Complete, "complete"}, tallied{c.Failed, "failed"}, tallied{c.Halted, "halted"})
}

func countCrons(all []v1alpha1.NodeCronJob) cronCounts {
	var c cronCounts
	for i := range all {
		cron := &all[i]
		switch {
		case meta.IsStatusConditionTrue(cron.Status.Conditions, v1alpha1.ConditionStalled):
			c.Stalled++
		case cron.Spec.Suspend != nil && *cron.Spec.Suspend:
			c.Suspended++
		default:
			c.Active++
		}
		if next := cron.Status.NextScheduleTime; next != nil && (c.NextRun == nil || next.Before(c.NextRun)) {
			c.NextRun, c.NextJob = next, cron.Namespace+"/"+cron.Name
		}
		if last := cron.Status.LastSuccessfulTime; last != nil && cron.Status.LastFreed != "" && last.After(c.lastRun) {
			c.lastRun, c.LastFreed = last.Time, cron.Status.LastFreed
		}
	}
	return c
}

func (c cronCounts) String() string {
	return inLine(tallied{c.Active, "active"}, tallied{c.Suspended, "suspended"}, tallied{c.Stalled, "stalled"})
}

// next is when something is due, and what the last run freed.
func (c cronCounts) next(now time.Time) string {
	var told []string
	if c.NextRun != nil {
		told = append(told, "next run "+when(c.NextRun.Time, now)+": "+c.NextJob)
	}
	if c.LastFreed != "" {
		told = append(told, "last freed "+c.LastFreed)
	}
	return strings.Join(told, "; ")
}

// when is a time to come, with the day only where it is another one.
func when(at, now time.Time) string {
	at, now = at.Local(), now.Local()
	switch days := at.Sub(now).Hours() / 24; {
	case at.YearDay() == now.YearDay() && at.Year() == now.Year():
		return at.Format("15:04")
	case days < 6:
		return at.Format("Mon 15:04")
	}
	return at.Format("2 Jan 15:04")
}

// job shows a NodeJob, or waits for its end.
func (o *statusOptions) job(ctx context.Context, op *operator.Client, namespace, name string) error {
	job, err := op.Job(ctx, namespace, name)
	if err != nil {
		return o.unknown(ctx, op, jobKind, namespace, name, err)
	}
	code := term.ExitOK
	if o.wait {
		r := &jobRunOptions{app: o.app, timeout: o.timeout}
		job, err = r.until(ctx, op, job, nil)
		switch {
		case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
			fmt.Fprintf(o.Err, "%s not done after %s\n", o.paint.bad("✗"), o.timeout)
			code = term.ExitTimeout
		case err != nil:
			return fmt.Errorf("waiting for NodeJob %s/%s: %w", namespace, name, err)
		default:
			code = verdictOn(job)
		}
	}
	if o.output.structured() {
		job.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(jobKind.title))
		if err := o.printObject(&o.output, job); err != nil {
			return err
		}
		return exitWith(code)
	}
	view, err := lookAtJob(ctx, op, job)
	if err != nil {
		return err
	}
	if err := view.print(o.app, &o.output, false); err != nil {
		return err
	}
	return exitWith(code)
}

// cron shows a NodeCronJob.
func (o *statusOptions) cron(ctx context.Context, op *operator.Client, namespace, name string) error {
	cron, err := op.CronJob(ctx, namespace, name)
	if err != nil {
		return o.unknown(ctx, op, cronKind, namespace, name, err)
	}
	if o.output.structured() {
		return o.printObject(&o.output, cron)
	}
	if o.output.format == "name" {
		_, err := fmt.Fprintln(o.Out, "nodecronjob.orlop.dev/"+name)
		return err
	}
	now := time.Now()
	st := cron.Status
	head := fmt.Sprintf("NodeCronJob %s/%s   %s, %s", namespace, name, cmp.Or(st.Action, action.Of(&cron.Spec.JobTemplate.Spec)), cron.Spec.Schedule)
	if cron.Spec.TimeZone != nil {
		head += " " + *cron.Spec.TimeZone
	}
	if ready := meta.FindStatusCondition(st.Conditions, v1alpha1.ConditionReady); ready != nil {
		head += strings.TrimSuffix("   Ready="+string(ready.Status)+" "+ready.Reason+": "+ready.Message, ": ")
	}
	sentence(o.Out, 2, "%s", head)
	jobs, err := op.Jobs(ctx, namespace, v1alpha1.LabelNodeCronJob+"="+name)
	if err != nil {
		return err
	}
	next := "none is due"
	if st.NextScheduleTime != nil {
		next = when(st.NextScheduleTime.Time, now) + " (in " + table.Age(now, st.NextScheduleTime.Time) + ")"
	}
	fmt.Fprintf(o.Out, "next run   %s\n", next)
	if st.LastScheduleTime != nil {
		fmt.Fprintln(o.Out, strings.TrimSuffix(fmt.Sprintf("last run   %s ago, freed %s", table.Age(st.LastScheduleTime.Time, now), st.LastFreed), ", freed "))
	}
	if len(jobs) == 0 {
		return nil
	}
	newestLast(jobs)
	t := &table.Table{Columns: []table.Column{{Name: "JOB"}, {Name: "DONE", Right: true}, {Name: "FAILED", Right: true}, {Name: "FREED", Right: true}, {Name: "STATUS"}, {Name: "AGE"}, {Name: "MESSAGE"}}}
	for i := range jobs {
		t.Add(jobs[i].Name, jobs[i].Status.Summary, fmt.Sprint(jobs[i].Status.Failed), jobs[i].Status.Freed, phaseOf(&jobs[i]), table.Age(jobs[i].CreationTimestamp.Time, now), jobs[i].Status.Message)
	}
	return o.app.print(&o.output, answer{table: t}) //nolint:forbidigo // A method of ours, and not the builtin.
}
