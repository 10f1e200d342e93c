// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/action"
	"orlop.dev/orlop/internal/table"
)

// newestLast orders jobs as they were made: the newest is read first at a prompt.
func newestLast(jobs []v1alpha1.NodeJob) {
	slices.SortStableFunc(jobs, func(a, b v1alpha1.NodeJob) int { return a.CreationTimestamp.Compare(b.CreationTimestamp.Time) })
}

type historyOptions struct {
	*app
	namespaced
	output output
	since  time.Duration
}

func (a *app) historyCommand() *cobra.Command {
	o := &historyOptions{app: a}
	cmd := &cobra.Command{
		Use: "history", GroupID: groupDeclare, Short: "Show what was pulled and removed, by whom, and how much it freed",
		Long: `Show what was pulled and removed, by whom or by which schedule, on how many nodes, and how many bytes that was. It is read from the
NodeJobs that exist: they stay for their ttlSecondsAfterFinished, which --ttl of pull, rm and prune sets, and those of a schedule as
long as its history limits say. What short-lived pods did is not included. Who asked is what the command line wrote down, not proof.`,
		Example: a.examples(`
			{} history
			{} history --since 24h -o wide
			{} history -n ops -o json | jq '.items[] | [.time, .requestedBy, .freedBytes]'`),
		Args: a.noArgs(""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := o.output.check()
			if err == nil && o.since < 0 {
				err = fmt.Errorf("--since is a time span such as 24h, not %s", o.since)
			}
			if err != nil {
				return usageError{err, a.program + " history --help"}
			}
			return o.run(cmd.Context())
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&o.namespace, "namespace", "n", "", "only this `namespace`; unset: all of them")
	o.output.add(flags)
	o.output.addSizes(flags)
	flags.DurationVar(&o.since, "since", 0, "only what is not older than this `span`; 0s: everything")
	return cmd
}

// historyItem is one NodeJob as history, for programs.
type historyItem struct {
	Time        time.Time `json:"time"`
	Job         string    `json:"job"`
	Action      string    `json:"action"`
	DryRun      bool      `json:"dryRun,omitempty"`
	What        []string  `json:"what"`
	RequestedBy string    `json:"requestedBy,omitempty"`
	Schedule    string    `json:"schedule,omitempty"`
	Phase       string    `json:"phase"`
	Nodes       int32     `json:"nodes"`
	Desired     int32     `json:"desiredNodes"`
	FailedNodes int32     `json:"failedNodes"`
	// Copies are images, counted on each node, that came or went; Bytes are theirs, by the plan's count.
	Copies     int64  `json:"copies"`
	Bytes      int64  `json:"bytes"`
	FreedBytes *int64 `json:"freedBytes,omitempty"`
}

func (o *historyOptions) run(ctx context.Context) error {
	op, err := o.mustBeInstalled(ctx)
	if err != nil {
		return err
	}
	jobs, err := op.Jobs(ctx, o.namespace, "")
	if apierrors.IsForbidden(err) && o.namespace == "" {
		here, ofErr := o.of(o.app)
		if ofErr != nil {
			return ofErr
		}
		fmt.Fprintf(o.Err, "- you may not list the NodeJobs of every namespace: these are from %s\n", here)
		jobs, err = op.Jobs(ctx, here, "")
	}
	if err != nil {
		return err
	}
	newestLast(jobs)
	now := time.Now()
	t := &table.Table{Columns: []table.Column{{Name: "AGE"}, {Name: "ACTION"}, {Name: "NODES", Right: true}, {Name: "IMAGES", Right: true}, {Name: "BYTES", Right: true},
		{Name: "STATUS"}, {Name: "BY"}, {Name: "JOB", Wide: true}, {Name: "WHAT"}}}
	ans := answer{kind: "HistoryList", table: t}
	var items []historyItem
	for i := range jobs {
		if o.since > 0 && now.Sub(jobs[i].CreationTimestamp.Time) > o.since {
			continue
		}
		item := historyOf(&jobs[i])
		items = append(items, item)
		bytes := item.Bytes
		if item.FreedBytes != nil {
			bytes = *item.FreedBytes
		}
		t.Add(table.Age(item.Time, now), doing(&jobs[i]), fmt.Sprintf("%d/%d", item.Nodes, item.Desired), fmt.Sprint(item.Copies), o.output.size(bytes), item.Phase,
			askedBy(&jobs[i]), item.Job, o.what(item.What))
		ans.names = append(ans.names, "nodejob.orlop.dev/"+jobs[i].Name)
	}
	ans.items = items
	if err := o.print(&o.output, ans); err != nil {
		return err
	}
	if len(items) == 0 && !o.output.structured() {
		fmt.Fprintln(o.Err, "There is no NodeJob to show: they are deleted some time after their end (--ttl).")
	}
	return nil
}

// what names the first of several; wide, all.
func (o *historyOptions) what(things []string) string {
	if o.output.format != "table" || len(things) < 2 {
		return strings.Join(things, " ")
	}
	return fmt.Sprintf("%s and %d more", things[0], len(things)-1)
}

func historyOf(job *v1alpha1.NodeJob) historyItem {
	st := job.Status
	item := historyItem{
		Time: job.CreationTimestamp.Time, Job: job.Namespace + "/" + job.Name, Action: action.Of(&job.Spec), DryRun: job.Spec.DryRun, What: whatOf(&job.Spec),
		RequestedBy: job.Annotations[v1alpha1.AnnotationRequestedBy], Phase: phaseOf(job), Nodes: st.Succeeded, Desired: st.Desired, FailedNodes: st.Failed,
	}
	if cron := job.Labels[v1alpha1.LabelNodeCronJob]; cron != "" {
		item.Schedule = job.Namespace + "/" + cron
	}
	for _, image := range st.Images {
		item.Copies += int64(image.Nodes)
		item.Bytes += image.Bytes
	}
	if !job.Spec.DryRun {
		item.FreedBytes = st.FreedBytes
	}
	return item
}

// whatOf is what a job is about: images, or what chooses them.
func whatOf(spec *v1alpha1.NodeJobSpec) []string {
	switch {
	case spec.Pull != nil:
		return spec.Pull.Images
	case spec.Remove != nil:
		return spec.Remove.Images
	case spec.Prune != nil:
		return []string{pruneWords(spec.Prune)}
	case spec.Template != nil:
		var images []string
		for i := range spec.Template.Spec.Containers {
			images = append(images, spec.Template.Spec.Containers[i].Image)
		}
		return images
	}
	return nil
}

// pruneWords are what a prune takes, as its flags.
func pruneWords(p *v1alpha1.PruneAction) string {
	var words []string
	add := func(yes bool, format string, args ...any) {
		if yes {
			words = append(words, fmt.Sprintf(format, args...))
		}
	}
	for _, list := range []struct {
		flag   string
		values []string
	}{{"match", p.Match}, {"keep", p.Keep}, {"filter", p.Filter}} {
		for _, value := range list.values {
			add(true, "--%s %s", list.flag, value)
		}
	}
	add(p.UnusedFor != "", "--unused-for %s", p.UnusedFor)
	add(p.PulledBefore != "", "--pulled-before %s", p.PulledBefore)
	add(p.KeepLatest > 0, "--keep-latest %d", p.KeepLatest)
	add(p.DanglingOnly, "--dangling")
	add(p.WhenDiskAbove > 0, "--when-disk-above %d", p.WhenDiskAbove)
	add(p.UntilDiskBelow > 0, "--until-disk-below %d", p.UntilDiskBelow)
	add(p.MaxRemovals > 0, "--max-removals %d", p.MaxRemovals)
	add(p.Force, "--force")
	return cmp.Or(strings.Join(words, " "), "--all")
}
