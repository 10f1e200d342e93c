// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"math"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"orlop.dev/orlop/api/v1alpha1"
)

// kruisePodLabels are those that Kruise gives to the pods, and refuses in a template.
var kruisePodLabels = []string{"broadcastjob-name", "broadcastjob-controller-uid"}

func convertBroadcastJob(doc *Document, opts Options, report *Report) {
	row := report.Row(doc)
	meta := metaOf(doc, opts, row, maxJobName)
	spec, said := readBroadcast(doc.root.Object("spec"), row)
	holdEnded(doc, row, &spec, &said)
	draft := report.Add(&v1alpha1.NodeJob{TypeMeta: typeOf("NodeJob"), ObjectMeta: meta.object, Spec: spec}, row)
	meta.review(draft)
	said.onto(draft, "spec")
}

// readBroadcast reads the spec of a BroadcastJob, also that of a template of them.
func readBroadcast(f *Fields, row *Row) (spec v1alpha1.NodeJobSpec, said remarks) {
	spec.Template = broadcastTemplate(f, row, &said)
	spec.Parallelism = broadcastParallelism(f, row)
	if spec.Template != nil {
		lift(&spec.Template.Spec).onto(&spec)
		row.Note("its pods run as a DaemonSet's do, on cordoned nodes and under pressure too, which Kruise passes over")
	}
	if f.Bool("paused") {
		spec.Suspend = true
		row.Note("paused → suspend")
	}
	broadcastFailure(f.Object("failurePolicy"), row, &spec)
	broadcastEnd(f.Object("completionPolicy"), row, &spec)
	return spec, said
}

func broadcastTemplate(f *Fields, row *Row, said *remarks) *corev1.PodTemplateSpec {
	template := &corev1.PodTemplateSpec{}
	if !f.Into("template", template) {
		if !f.Has("template") {
			f.Fail("template", "there is no pod in it")
		}
		return nil
	}
	for _, label := range kruisePodLabels {
		if _, ok := template.Labels[label]; ok {
			delete(template.Labels, label)
			row.Note("the pods' label %s is left out: it is Kruise's", label)
		}
	}
	switch template.Spec.RestartPolicy {
	case corev1.RestartPolicyNever, corev1.RestartPolicyOnFailure:
	default:
		template.Spec.RestartPolicy = corev1.RestartPolicyNever
		said.add("template.spec.restartPolicy", "Kruise refuses a pod whose restartPolicy is neither Never nor OnFailure: Never is written")
	}
	if hint := pruneInstead(template.Spec); hint != "" {
		said.add("template", "its script seems to clean images. Orlop does that without a script, spares what is needed, and says for each node what went: %s", hint)
		row.Note("its script seems to clean images: consider prune")
	}
	return template
}

// broadcastParallelism: Kruise's own default is the greatest number, which its webhook writes into the object.
func broadcastParallelism(f *Fields, row *Row) *intstr.IntOrString {
	text := f.Text("parallelism")
	if text == "" {
		return nil
	}
	if percent, ok := strings.CutSuffix(text, "%"); ok {
		n, err := strconv.ParseUint(percent, 10, 31)
		if err != nil {
			f.Fail("parallelism", "a percentage is expected, not %q", text)
		}
		if n > 100 {
			row.Note("parallelism %s means all nodes: 100%%", text)
		}
		return new(intstr.FromString(strconv.FormatUint(min(n, 100), 10) + "%"))
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		f.Fail("parallelism", "a number from 0 or a percentage is expected, not %q", text)
	}
	if n >= math.MaxInt32 {
		return nil
	}
	return new(intstr.FromInt32(int32(n)))
}

func broadcastFailure(f *Fields, row *Row, spec *v1alpha1.NodeJobSpec) {
	spec.FailurePolicy.Type = v1alpha1.FailFast
	switch policy := f.Text("type"); policy {
	case "":
		row.Note("failurePolicy FailFast is Kruise's default, and is written: Orlop's is Continue")
	case "FailFast", "Pause":
		spec.FailurePolicy.Type = v1alpha1.FailurePolicyType(policy)
	case "Continue":
		spec.FailurePolicy.Type = v1alpha1.FailContinue
		row.Note("with Continue, Kruise calls a job completed even where nodes failed, Orlop calls it Failed")
	default:
		f.Fail("type", "%q is none of Continue, FailFast and Pause", policy)
	}
	limit, ok := f.Int("restartLimit")
	switch {
	case !ok || limit == 0:
	case limit < 0 || limit > maxRestartLimit:
		f.Fail("restartLimit", "%d is no number from 0 to %d", limit, maxRestartLimit)
	case spec.Template != nil && spec.Template.Spec.RestartPolicy != corev1.RestartPolicyOnFailure:
		row.Note("failurePolicy.restartLimit is left out: with restartPolicy Never nothing starts again, there as here")
	default:
		spec.FailurePolicy.RestartLimit = new(int32(limit))
	}
}

func broadcastEnd(f *Fields, row *Row, spec *v1alpha1.NodeJobSpec) {
	deadline, ttl := seconds(f, "activeDeadlineSeconds", 1), ttlOf(f)
	switch policy := f.Text("type"); policy {
	case "", "Always":
		spec.ActiveDeadlineSeconds, spec.TTLSecondsAfterFinished = deadline, ttl
	case "Never":
		spec.CompletionPolicy.Type = v1alpha1.CompleteNever
		if deadline != nil || ttl != nil {
			row.Note("activeDeadlineSeconds and ttlSecondsAfterFinished are left out: Kruise refuses them with completionPolicy Never")
		}
	default:
		f.Fail("type", "%q is neither Always nor Never", policy)
	}
}
