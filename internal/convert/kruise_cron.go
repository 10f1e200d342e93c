// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orlop.dev/orlop/api/v1alpha1"
)

// cronTemplates are what an AdvancedCronJob may make; it has exactly one.
var cronTemplates = []string{"jobTemplate", "broadcastJobTemplate", "imageListPullJobTemplate"}

func convertAdvancedCronJob(doc *Document, opts Options, report *Report) {
	row := report.Row(doc)
	meta := metaOf(doc, opts, row, maxCronName)
	spec := doc.root.Object("spec")
	template := spec.Object("template")
	var has []string
	for _, key := range cronTemplates {
		if template.Has(key) {
			has = append(has, key)
		}
	}
	if len(has) != 1 {
		spec.Fail("template", "exactly one of jobTemplate, broadcastJobTemplate and imageListPullJobTemplate is expected")
		return
	}
	plan := readPlan(spec, row)
	if has[0] == "jobTemplate" {
		plan.kubernetes(template, meta, row, report)
		return
	}
	if plan.timeZone == nil {
		row.Note("no timeZone: Kruise takes that of its manager, Orlop takes UTC")
	}
	of := template.Object(has[0])
	cron := &v1alpha1.NodeCronJob{TypeMeta: typeOf("NodeCronJob"), ObjectMeta: meta.object}
	cron.Spec.JobTemplate.ObjectMeta = templateMeta(of)
	if has[0] == "broadcastJobTemplate" {
		cron.Spec.JobTemplate.Spec, plan.ofJob = readBroadcast(of.Object("spec"), row)
	} else {
		cron.Spec.JobTemplate.Spec, plan.ofJob = scheduledPull(of.Object("spec"), row)
		if plan.concurrency == "" {
			plan.concurrency = v1alpha1.ConcurrencyReplace
			row.Note("concurrencyPolicy Replace is Kruise's default for image lists, and is written: Orlop's is Allow")
		}
	}
	if job := &cron.Spec.JobTemplate.Spec; job.CompletionPolicy.Type == v1alpha1.CompleteNever {
		job.CompletionPolicy.Type = ""
		plan.ofJob.add("completionPolicy", "completionPolicy was Never, so that no run ever ended: Orlop refuses that in a schedule, and each run ends when all nodes have answered")
	}
	plan.onto(&cron.Spec)
	draft := report.Add(cron, row)
	meta.review(draft)
	plan.remarks.onto(draft, "spec")
	plan.ofJob.onto(draft, "spec.jobTemplate.spec")
}

func scheduledPull(f *Fields, row *Row) (v1alpha1.NodeJobSpec, remarks) {
	order := readPull(f, row)
	order.images = imagesIn(f, "images", row)
	noteEach(row, order)
	if order.goesOn {
		f.Fail("completionPolicy", "Never is refused by Kruise in a schedule")
	}
	return order.job(), order.remarks
}

// templateMeta are the labels and annotations of what a schedule makes.
func templateMeta(f *Fields) metav1.ObjectMeta {
	meta := f.Object("metadata")
	meta.Done("creationTimestamp")
	return metav1.ObjectMeta{Labels: meta.TextMap("labels"), Annotations: meta.TextMap("annotations")}
}

// plan is when something is done: what AdvancedCronJob and CronJob have in common.
type plan struct {
	schedule    string
	timeZone    *string
	deadline    *int64
	concurrency v1alpha1.ConcurrencyPolicy
	paused      bool
	successful  *int32
	failed      *int32
	// remarks are about the schedule, ofJob about what is made.
	remarks, ofJob remarks
}

// readPlan reads an AdvancedCronJob's.
func readPlan(f *Fields, row *Row) plan {
	p := plan{paused: f.Bool("paused")}
	p.read(f)
	if p.paused {
		row.Note("paused → suspend")
	}
	return p
}

// read reads what CronJob has too.
func (p *plan) read(f *Fields) {
	p.schedule, p.timeZone = scheduleIn(f, &p.remarks)
	p.deadline = seconds(f, "startingDeadlineSeconds", 0)
	p.successful, p.failed = count(f, "successfulJobsHistoryLimit"), count(f, "failedJobsHistoryLimit")
	switch policy := v1alpha1.ConcurrencyPolicy(f.Text("concurrencyPolicy")); policy {
	case "", v1alpha1.ConcurrencyAllow, v1alpha1.ConcurrencyForbid, v1alpha1.ConcurrencyReplace:
		p.concurrency = policy
	default:
		f.Fail("concurrencyPolicy", "%q is none of Allow, Forbid and Replace", policy)
	}
}

func (p plan) onto(spec *v1alpha1.NodeCronJobSpec) {
	spec.Schedule, spec.TimeZone, spec.StartingDeadlineSeconds, spec.ConcurrencyPolicy = p.schedule, p.timeZone, p.deadline, p.concurrency
	spec.SuccessfulJobsHistoryLimit, spec.FailedJobsHistoryLimit = p.successful, p.failed
	if p.paused {
		spec.Suspend = new(true)
	}
}

// kubernetes writes a CronJob: a Job runs somewhere, once, and not on every node, and Kubernetes has that itself.
func (p plan) kubernetes(template *Fields, meta named, row *Row, report *Report) {
	var job batchv1.JobTemplateSpec
	if !template.Into("jobTemplate", &job) {
		return
	}
	cron := &batchv1.CronJob{
		TypeMeta: metav1.TypeMeta{APIVersion: batchv1.SchemeGroupVersion.String(), Kind: "CronJob"}, ObjectMeta: meta.object,
		Spec: batchv1.CronJobSpec{
			Schedule: p.schedule, TimeZone: p.timeZone, StartingDeadlineSeconds: p.deadline, ConcurrencyPolicy: batchv1.ConcurrencyPolicy(p.concurrency),
			SuccessfulJobsHistoryLimit: p.successful, FailedJobsHistoryLimit: p.failed, JobTemplate: job,
		},
	}
	if p.paused {
		cron.Spec.Suspend = new(true)
	}
	draft := report.Add(cron, row)
	meta.review(draft)
	p.remarks.onto(draft, "spec")
	draft.Review("spec.jobTemplate", "a jobTemplate runs somewhere, once at each time, and not on every node: that is Kubernetes' own CronJob, and needs nothing of Orlop")
	if hint := pruneInstead(job.Spec.Template.Spec); hint != "" {
		draft.Review("spec.jobTemplate.spec.template", "its script seems to clean images, on one node only. On every node, a NodeCronJob does it: %s", hint)
	}
	if p.timeZone == nil {
		row.Note("no timeZone: Kruise takes that of its manager, Kubernetes that of its controller manager")
	}
	row.Note("a jobTemplate is no work on every node: it becomes Kubernetes' own CronJob")
}
