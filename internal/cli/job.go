// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/action"
	"orlop.dev/orlop/internal/operator"
	"orlop.dev/orlop/internal/table"
)

func (a *app) jobCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "job", GroupID: groupDeclare, Short: "Look at NodeJobs, run one again, or read the logs of its pods",
		Long: `Look at NodeJobs, run one again, or read the logs of its pods. A NodeJob does one thing on every chosen node, once: it pulls,
removes or prunes images, or runs a pod. pull, rm and prune make them where Orlop is installed; kubectl get, apply, wait and delete
work on them as well.`,
		Example: a.examples(`
			{} job list
			{} job list rm-x7k2p --details
			{} job run clean -n ops
			{} job run clean --retry
			{} job logs upgrade --follow`),
		Args: a.unknownCommand, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.jobListCommand(), a.jobRunCommand(), a.jobLogsCommand())
	for _, sub := range cmd.Commands() {
		a.completeFlags(sub)
	}
	return cmd
}

type jobListOptions struct {
	*app
	namespaced
	output  output
	all     bool
	details bool
}

func (a *app) jobListCommand() *cobra.Command {
	o := &jobListOptions{app: a}
	cmd := &cobra.Command{
		Use: "list [NAME]", Aliases: []string{"ls"}, Short: "List NodeJobs, or what every node answered to one",
		Long: `List NodeJobs; or, with a name, what every node answered to that one, in one table. --details has every image on every node, with
what became of it and why.`,
		Example: a.examples(`
			{} job list
			{} job list --all-namespaces -o wide
			{} job list rm-x7k2p -n shop --details
			{} job list rm-x7k2p -o json | jq '.items[].answer.freedBytes'`),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := "", o.output.check()
			if err == nil && len(args) > 0 {
				name, err = jobKind.name(args, true)
			}
			if err == nil && o.details && name == "" {
				err = fmt.Errorf("--details is for one NodeJob: name it")
			}
			if err != nil {
				return usageError{err, a.program + " job list --help"}
			}
			return o.run(cmd.Context(), name)
		},
	}
	cmd.ValidArgsFunction = a.completeKinds(&o.namespaced, map[string]kind{"": jobKind})
	flags := cmd.Flags()
	o.add(flags)
	o.output.add(flags)
	o.output.addSizes(flags)
	o.output.addIDs(flags)
	flags.BoolVarP(&o.all, "all-namespaces", "A", false, "the NodeJobs of every namespace")
	flags.BoolVar(&o.details, "details", false, "show every image on every node, with what became of it and why")
	return cmd
}

func (o *jobListOptions) run(ctx context.Context, name string) error {
	namespace, err := o.of(o.app)
	if err != nil {
		return err
	}
	op, err := o.mustBeInstalled(ctx)
	if err != nil {
		return err
	}
	if name == "" {
		return o.list(ctx, op, namespace)
	}
	job, err := op.Job(ctx, namespace, name)
	if err != nil {
		return o.unknown(ctx, op, jobKind, namespace, name, err)
	}
	view, err := lookAtJob(ctx, op, job)
	if err != nil {
		return err
	}
	return view.print(o.app, &o.output, o.details)
}

func (o *jobListOptions) list(ctx context.Context, op *operator.Client, namespace string) error {
	if o.all {
		namespace = ""
	}
	jobs, err := op.Jobs(ctx, namespace, "")
	if err != nil {
		return err
	}
	newestLast(jobs)
	t := &table.Table{Columns: []table.Column{{Name: "NAME"}, {Name: "ACTION"}, {Name: "DONE", Right: true}, {Name: "FAILED", Right: true}, {Name: "SKIPPED", Right: true},
		{Name: "FREED", Right: true}, {Name: "STATUS"}, {Name: "AGE"}, {Name: "BY", Wide: true}, {Name: "MESSAGE", Wide: true}}}
	if o.all {
		t.Columns = append([]table.Column{{Name: "NAMESPACE"}}, t.Columns...)
	}
	ans := answer{kind: "NodeJobList", table: t}
	now := time.Now()
	for i := range jobs {
		job := &jobs[i]
		job.ManagedFields = nil
		job.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(jobKind.title))
		row := []string{job.Name, doing(job), job.Status.Summary, fmt.Sprint(job.Status.Failed), fmt.Sprint(job.Status.Skipped), job.Status.Freed, phaseOf(job),
			table.Age(job.CreationTimestamp.Time, now), askedBy(job), job.Status.Message}
		if o.all {
			row = append([]string{job.Namespace}, row...)
		}
		t.Add(row...)
		ans.names = append(ans.names, "nodejob.orlop.dev/"+job.Name)
	}
	ans.items = jobs
	if err := o.print(&o.output, ans); err != nil {
		return err
	}
	if len(jobs) == 0 && !o.output.structured() {
		where := "in namespace " + namespace
		if o.all {
			where = "in the cluster"
		}
		fmt.Fprintf(o.Err, "There is no NodeJob %s.\n", where)
	}
	return nil
}

// doing is what a job does, in a word; that it only plans is part of it.
func doing(job *v1alpha1.NodeJob) string {
	word := action.Of(&job.Spec)
	if job.Spec.DryRun {
		word += " (dry run)"
	}
	return word
}

// phaseOf is how far a job is, in a word.
func phaseOf(job *v1alpha1.NodeJob) string {
	if job.Status.Phase == "" {
		return "Waiting"
	}
	return job.Status.Phase
}

// askedBy is who asked: a person, as far as is known, or a schedule.
func askedBy(job *v1alpha1.NodeJob) string {
	who := job.Annotations[v1alpha1.AnnotationRequestedBy]
	cron := job.Labels[v1alpha1.LabelNodeCronJob]
	switch {
	case cron != "" && job.Annotations[v1alpha1.AnnotationManual] == "":
		return "schedule " + cron
	case cron != "" && who != "":
		return who + ", from " + cron
	case cron != "":
		return "by hand, from " + cron
	}
	return who
}
