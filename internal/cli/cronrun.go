// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"maps"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/jobrun"
	"orlop.dev/orlop/internal/operator"
)

func (a *app) cronRunCommand() *cobra.Command {
	o := &jobRunOptions{app: a}
	cmd := &cobra.Command{
		Use: "run NAME", Short: "Run a NodeCronJob now",
		Long: `Run a NodeCronJob now: a NodeJob from its template, beside its schedule, which is followed to its end. If it removes images, its plan is
shown first, and you are asked; without a terminal, --yes is needed. The NodeJob belongs to the NodeCronJob, and is deleted with it.`,
		Example: a.examples(`
			{} cron run weekly
			{} cron run weekly --dry-run
			{} cron run weekly -n ops --yes --wait=false`),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := o.named(cronKind, args)
			if err != nil {
				return usageError{err, a.program + " cron run --help"}
			}
			cron, op, err := found(cmd.Context(), o, cronKind, name, (*operator.Client).CronJob)
			if err != nil {
				return err
			}
			return o.make(cmd.Context(), op, manualRun(cron))
		},
	}
	cmd.ValidArgsFunction = a.completeKinds(&o.namespaced, map[string]kind{"": cronKind})
	flags := cmd.Flags()
	o.add(flags)
	o.output.add(flags)
	o.output.addSizes(flags)
	o.addFollowing(flags)
	return cmd
}

// addFollowing declares how a NodeJob that is made is followed.
func (o *jobRunOptions) addFollowing(flags *pflag.FlagSet) {
	flags.BoolVar(&o.dryRun, "dry-run", false, "show the plan, and do nothing")
	flags.BoolVarP(&o.yes, "yes", "y", false, "do not ask")
	flags.BoolVar(&o.wait, "wait", true, "follow it to its end; --wait=false creates it and prints how to follow it")
	flags.DurationVar(&o.timeout, "timeout", pullTimeout, "how long to follow it")
}

// manualRun is the NodeJob that a schedule would make, but for its time.
func manualRun(cron *v1alpha1.NodeCronJob) *v1alpha1.NodeJob {
	job := jobrun.New(cron.Namespace, "run", *cron.Spec.JobTemplate.Spec.DeepCopy())
	job.Name = jobrun.Named(cron.Name)
	labels := maps.Clone(cron.Spec.JobTemplate.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	maps.Copy(labels, job.Labels)
	labels[v1alpha1.LabelNodeCronJob] = cron.Name
	job.Labels = labels
	job.Annotations = maps.Clone(cron.Spec.JobTemplate.Annotations)
	if job.Annotations == nil {
		job.Annotations = map[string]string{}
	}
	job.Annotations[v1alpha1.AnnotationManual] = "true"
	job.OwnerReferences = []metav1.OwnerReference{{APIVersion: v1alpha1.GroupVersion.String(), Kind: cronKind.title, Name: cron.Name, UID: cron.UID, Controller: new(true)}}
	return job
}

// scheduleLine is the command that puts this prune on a schedule: what it chooses, and where.
func (r *removal) scheduleLine(flags *pflag.FlagSet) string {
	words := []string{"cron", "create", "weekly", "--schedule", "0 3 * * 0"}
	if r.job.namespace != "" {
		words = append(words, "-n", r.job.namespace)
	}
	words = append(words, "prune")
	known := r.cronCreateCommand().Flags()
	flags.Visit(func(f *pflag.Flag) {
		switch of := f.Annotations[flagGroup]; {
		case f.Name == "dry-run" || f.Name == "namespace" || known.Lookup(f.Name) == nil || len(of) > 0 && of[0] == flagsOfOutput:
		case f.Value.Type() == "bool" && f.Value.String() == "true":
			words = append(words, "--"+f.Name)
		default:
			for _, value := range valuesOf(f) {
				words = append(words, "--"+f.Name, value)
			}
		}
	})
	return r.commandLine(words...)
}

func valuesOf(f *pflag.Flag) []string {
	if list, ok := f.Value.(pflag.SliceValue); ok {
		return list.GetSlice()
	}
	return []string{f.Value.String()}
}
