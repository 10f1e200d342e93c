// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/action"
	"orlop.dev/orlop/internal/jobrun"
	"orlop.dev/orlop/internal/operator"
	"orlop.dev/orlop/internal/table"
	"orlop.dev/orlop/internal/term"
)

type jobRunOptions struct {
	*app
	namespaced
	output  output
	retry   bool
	yes     bool
	dryRun  bool
	wait    bool
	timeout time.Duration
}

func (a *app) jobRunCommand() *cobra.Command {
	o := &jobRunOptions{app: a}
	cmd := &cobra.Command{
		Use: "run NAME", Short: "Run a NodeJob again: as a new one, or its failed nodes",
		Long: `Run a NodeJob again, as a new one with the same spec, and follow it to its end. If it removes images, its plan is shown first, and you are asked;
without a terminal, --yes is needed.

--retry creates no new NodeJob: the nodes of this one that failed, or were ended, try again. Nodes that are done stay done.

Ctrl-C leaves it running; if it is a new one, a second Ctrl-C within 2 s cancels it.`,
		Example: a.examples(`
			{} job run clean -n ops
			{} job run clean --dry-run
			{} job run upgrade --retry
			{} job run clean --yes --wait=false`),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := o.named(jobKind, args)
			if err != nil {
				return usageError{err, a.program + " job run --help"}
			}
			return o.run(cmd.Context(), name)
		},
	}
	cmd.ValidArgsFunction = a.completeKinds(&o.namespaced, map[string]kind{"": jobKind})
	flags := cmd.Flags()
	o.add(flags)
	o.output.add(flags)
	o.output.addSizes(flags)
	flags.BoolVar(&o.retry, "retry", false, "no new NodeJob: the failed nodes of this one try again")
	o.addFollowing(flags)
	return cmd
}

// named takes the name of what is to be run, and looks whether the flags go together.
func (o *jobRunOptions) named(kind kind, args []string) (string, error) {
	switch err := o.output.check(); {
	case err != nil:
		return "", err
	case len(args) == 0:
		return "", errors.New("name the " + kind.title)
	case o.retry && o.dryRun:
		return "", errors.New("--retry goes on with the NodeJob as it is: leave --dry-run out")
	case o.timeout <= 0:
		return "", fmt.Errorf("--timeout is a time span such as 30m, not %s", o.timeout)
	}
	return kind.name(args, true)
}

// found is the object that is to be run, and the installed Orlop to run it.
func found[T any](ctx context.Context, o *jobRunOptions, kind kind, name string, get func(*operator.Client, context.Context, string, string) (T, error)) (T, *operator.Client, error) {
	var none T
	namespace, err := o.of(o.app)
	if err != nil {
		return none, nil, err
	}
	op, err := o.mustBeInstalled(ctx)
	if err != nil {
		return none, nil, err
	}
	object, err := get(op, ctx, namespace, name)
	if err != nil {
		return none, nil, o.unknown(ctx, op, kind, namespace, name, err)
	}
	return object, op, nil
}

func (o *jobRunOptions) run(ctx context.Context, name string) error {
	job, op, err := found(ctx, o, jobKind, name, (*operator.Client).Job)
	if err != nil {
		return err
	}
	if o.retry {
		return o.again(ctx, op, job)
	}
	spec := *job.Spec.DeepCopy()
	spec.Suspend = false
	wanted := jobrun.New(job.Namespace, strings.ToLower(action.Of(&spec)), spec)
	wanted.Name = jobrun.Again(job)
	wanted.Annotations = map[string]string{}
	return o.make(ctx, op, wanted)
}

// make makes a NodeJob, and follows it: what removes images only after a yes to its plan.
func (o *jobRunOptions) make(ctx context.Context, op *operator.Client, wanted *v1alpha1.NodeJob) error {
	removes := wanted.Spec.Remove != nil || wanted.Spec.Prune != nil
	if o.dryRun && wanted.Spec.Template != nil {
		return advised{errors.New("a NodeJob with a template has no dry run: nobody can tell what its pod would do"), o.without("--dry-run")}
	}
	ask := removes && !o.yes && !o.dryRun && !wanted.Spec.DryRun
	if ask && !term.IsTerminal(o.In) {
		return advised{errNoYes, o.with("--yes")}
	}
	wanted.Spec.DryRun = wanted.Spec.DryRun || o.dryRun || ask
	if who := op.WhoAmI(ctx); who != "" {
		wanted.Annotations[v1alpha1.AnnotationRequestedBy] = who
	}
	made, err := jobrun.Create(ctx, op, wanted)
	if err != nil {
		return err
	}
	fmt.Fprintf(o.Err, "► nodejob.orlop.dev/%s created in namespace %s\n", made.Name, made.Namespace)
	if ask {
		if made, err = o.askFirst(ctx, op, made); err != nil {
			return err
		}
	}
	if !o.wait {
		return o.left(&o.output, leftError{made})
	}
	return o.follow(ctx, op, made, true, nil)
}

// askFirst shows the plan, and has it carried out after a yes; else the job is deleted.
func (o *jobRunOptions) askFirst(ctx context.Context, op *operator.Client, made *v1alpha1.NodeJob) (*v1alpha1.NodeJob, error) {
	discard := func() { _ = op.DeleteJob(context.WithoutCancel(ctx), made.Namespace, made.Name) } // It has done nothing, and says so.
	planned, err := o.until(ctx, op, made, nil)
	if err != nil {
		discard()
		return nil, err
	}
	view, err := lookAtJob(ctx, op, planned)
	if err != nil {
		discard()
		return nil, err
	}
	if err := view.table(&o.output).Write(o.Err, table.Options{Fit: term.Width(o.Err, 0)}); err != nil {
		discard()
		return nil, err
	}
	images, nodes := 0, 0
	for _, row := range view.rows {
		if row.Answer != nil && row.Answer.Removed > 0 {
			images, nodes = images+int(row.Answer.Removed), nodes+1
		}
	}
	if images == 0 {
		discard()
		fmt.Fprintln(o.Err, "Nothing to remove.")
		return nil, exitError{term.ExitOK}
	}
	question := fmt.Sprintf("Remove %s on %s and free about %s?", count(images, "image"), count(nodes, "node"), planned.Status.Freed)
	if err := o.Confirm(question, term.CommandLine(o.words...)); err != nil {
		discard()
		return nil, err
	}
	return op.PatchJob(ctx, made.Namespace, made.Name, map[string]any{"spec": map[string]any{"dryRun": false}})
}

// again has the failed nodes of a job try once more.
func (o *jobRunOptions) again(ctx context.Context, op *operator.Client, job *v1alpha1.NodeJob) error {
	if job.Status.Failed == 0 && job.Status.Phase != v1alpha1.ConditionFailed && job.Status.Phase != "Paused" {
		fmt.Fprintf(o.Err, "NodeJob %s/%s has no node that failed: there is nothing to try again.\n", job.Namespace, job.Name)
		return nil
	}
	value := stamp()
	job, err := op.AnnotateJob(ctx, job.Namespace, job.Name, v1alpha1.AnnotationRetry, value)
	if err != nil {
		return err
	}
	fmt.Fprintf(o.Err, "► nodejob.orlop.dev/%s: the failed nodes try again\n", job.Name)
	if !o.wait {
		fmt.Fprintf(o.Err, "See: %s\n", o.see(job))
		return nil
	}
	return o.follow(ctx, op, job, false, func(j *v1alpha1.NodeJob) bool { return j.Status.Retry == value })
}

// follow shows how far a job is until it has ended, and then what every node answered. ours: a second Ctrl-C deletes it.
func (o *jobRunOptions) follow(ctx context.Context, op *operator.Client, job *v1alpha1.NodeJob, ours bool, current func(*v1alpha1.NodeJob) bool) error {
	again, release := o.second()
	defer release()
	last, err := o.until(ctx, op, job, current)
	switch {
	case ctx.Err() != nil && ours && again(job):
		if err := op.DeleteJob(context.WithoutCancel(ctx), job.Namespace, job.Name); err != nil {
			return err
		}
		fmt.Fprintf(o.Err, "Cancelled: NodeJob %s/%s is deleted. The nodes finish what they are doing; what is done stays done.\n", job.Namespace, job.Name)
		return exitError{term.ExitInterrupted}
	case ctx.Err() != nil:
		fmt.Fprintf(o.Err, "NodeJob %s/%s goes on.\n  see:    %s\n  cancel: %s\n", job.Namespace, job.Name, o.see(job), o.cancel(job))
		return exitError{term.ExitInterrupted}
	case errors.Is(err, context.DeadlineExceeded):
		fmt.Fprintf(o.Err, "%s not done after %s. NodeJob %s/%s goes on.\n  see:    %s\n  cancel: %s\n", o.paint.bad("✗"), o.timeout, job.Namespace, job.Name, o.see(job), o.cancel(job))
		return exitError{term.ExitTimeout}
	case err != nil:
		return fmt.Errorf("following NodeJob %s/%s: %w", job.Namespace, job.Name, err)
	}
	view, err := lookAtJob(ctx, op, last)
	if err != nil {
		return err
	}
	if err := view.print(o.app, &o.output, false); err != nil {
		return err
	}
	if last.Spec.DryRun && o.dryRun {
		fmt.Fprintf(o.Err, "Nothing was done (dry run).\nDo it: %s\n",
			o.here("kubectl", "patch", "nodejob", last.Name, "-n", last.Namespace, "--type", "merge", "-p", `{"spec":{"dryRun":false}}`))
	}
	return exitWith(verdictOn(last))
}

// until follows a job to its end, and shows how far it is meanwhile. current tells whether what the status says is about what was asked.
func (o *jobRunOptions) until(ctx context.Context, op *operator.Client, job *v1alpha1.NodeJob, current func(*v1alpha1.NodeJob) bool) (*v1alpha1.NodeJob, error) {
	waiting, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	l := &liveLine{to: o.Err, begun: time.Now()}
	var watching sync.WaitGroup
	if term.IsTerminal(o.Err) {
		l.width = term.Width(o.Err, 80)
		l.start()
		if job.Spec.Pull != nil {
			watching.Go(func() { op.KeepWatchingJob(waiting, job.Namespace, job.Name) })
		}
	}
	last := job
	err := op.FollowJob(waiting, job.Namespace, job.Name, func(now *v1alpha1.NodeJob) bool {
		last = now
		l.show(jobProgress(now))
		return (current == nil || current(now)) && now.Status.ObservedGeneration >= job.Generation && jobOver(now)
	})
	cancel()
	watching.Wait()
	l.close()
	return last, err
}

// jobOver reports whether a job does nothing more until somebody acts.
func jobOver(job *v1alpha1.NodeJob) bool {
	for _, kind := range []string{v1alpha1.ConditionComplete, v1alpha1.ConditionFailed, v1alpha1.ConditionStalled} {
		if meta.IsStatusConditionTrue(job.Status.Conditions, kind) {
			return true
		}
	}
	return job.Status.Phase == "Paused" && job.Status.Active == 0
}

// verdictOn is the exit code that a job's end means.
func verdictOn(job *v1alpha1.NodeJob) int {
	if meta.IsStatusConditionTrue(job.Status.Conditions, v1alpha1.ConditionComplete) && job.Status.Failed == 0 && job.Status.Skipped == 0 {
		return term.ExitOK
	}
	return term.ExitPartial
}

// jobProgress is how far a job is, in a line.
func jobProgress(job *v1alpha1.NodeJob) string {
	st := job.Status
	line := fmt.Sprintf("%s/%s: ", job.Namespace, job.Name)
	if st.ObservedGeneration < job.Generation {
		return line + "not looked at yet"
	}
	parts := []string{fmt.Sprintf("%d of %s done", st.Succeeded, count(int(st.Desired), "node"))}
	parts = append(parts, counted(tallied{int(st.Active), "at work"}, tallied{int(st.Failed), "failed"}, tallied{int(st.Skipped), "skipped"})...)
	if p := st.Progress; p != nil && p.TotalBytes > 0 {
		parts = append(parts, table.Size(p.DoneBytes)+" of "+table.Size(p.TotalBytes))
	}
	return line + strings.Join(parts, ", ")
}
