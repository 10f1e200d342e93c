// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"orlop.dev/orlop/api/v1alpha1"
)

// convertCleaner makes NodeJobs, or NodeCronJobs, of what removes images through a runtime's socket.
func convertCleaner(doc *Document, opts Options, report *Report, row *Row) {
	w := readWork(doc, row)
	if w == nil {
		return
	}
	var deeds []deed
	var every time.Duration
	plain := true
	for _, c := range slices.Concat(w.template.Spec.InitContainers, w.template.Spec.Containers) {
		s := scriptOf(c)
		plain = plain && s.plain
		deeds = append(deeds, s.deeds...)
		every = max(every, s.every)
	}
	if !plain {
		w.keepScript(opts, report, row)
		return
	}
	specs, said := actions(deeds, row)
	if asksDocker(w.template.Spec) {
		row.Note("images go from the runtime that the kubelet uses: where that is not Docker, what a Docker beside it has is left alone")
	}
	if !w.everywhere {
		w.held = "the " + doc.Kind() + " ran on a node of the scheduler's choice, this does it on every node that is chosen: choose them, then turn suspend off"
		row.Note("the %s was not for every node: suspended until that is looked at", doc.Kind())
	}
	for i, spec := range specs {
		w.write(opts, report, row, making{spec: spec, said: said[i], every: every, number: i})
	}
	leftOver(row, *w.template)
}

// asksDocker reports whether a pod speaks to Docker, which need not be what the kubelet uses.
func asksDocker(pod corev1.PodSpec) bool {
	return slices.ContainsFunc(slices.Concat(pod.InitContainers, pod.Containers), func(c corev1.Container) bool {
		text := commandOf(c)
		return strings.Contains(text, "docker ") || strings.Contains(text, "--unix-socket")
	})
}

// actions gathers deeds: all removals in one, and one prune, the widest. Their remarks are below the NodeJob's spec.
func actions(deeds []deed, row *Row) (specs []v1alpha1.NodeJobSpec, said []remarks) {
	var remove v1alpha1.RemoveAction
	var prunes []deed
	whole := false
	for _, d := range deeds {
		if len(d.remove) == 0 {
			prunes = append(prunes, d)
			continue
		}
		for _, name := range d.remove {
			if !slices.Contains(remove.Images, name) {
				remove.Images = append(remove.Images, name)
			}
		}
		remove.Force = remove.Force || d.force
		whole = whole || d.whole
	}
	if len(remove.Images) > 0 {
		specs = append(specs, v1alpha1.NodeJobSpec{Remove: &remove})
		said = append(said, aboutRemoval(remove, whole, row))
	}
	if len(prunes) > 0 {
		prune, about := widest(prunes)
		specs = append(specs, v1alpha1.NodeJobSpec{Prune: prune})
		said = append(said, about)
		row.Note("prune spares what containers in any state use, what pods name, what is pinned or cached, the sandbox image, and what arrived in the last 10 minutes")
	}
	return specs, said
}

// widest is the prune that takes all that any of these takes.
func widest(prunes []deed) (*v1alpha1.PruneAction, remarks) {
	prune := &v1alpha1.PruneAction{DanglingOnly: true}
	var said remarks
	for _, d := range prunes {
		prune.DanglingOnly = prune.DanglingOnly && d.dangling
		if d.said != "" {
			said.add("prune", "%s", d.said)
		}
	}
	return prune, said
}

func aboutRemoval(remove v1alpha1.RemoveAction, whole bool, row *Row) (said remarks) {
	if remove.Force {
		said.add("remove.force", "it forced the runtime. Here force passes over ImageCaches and over containers that have exited, as Docker's does; "+
			"an image that a running container uses, that a pod of the node names or that is pinned stays all the same, and each node says so")
		row.Note("forced: an image in use, named by a pod or pinned stays here all the same, with the reason in each node's answer")
	} else {
		row.Note("an image in use, named by a pod, pinned or cached stays, with the reason in each node's answer")
	}
	if whole {
		row.Note("crictl rmi takes an image with all its names, Orlop only the names given")
	}
	return said
}

// making is one of the objects that a workload becomes.
type making struct {
	spec v1alpha1.NodeJobSpec
	said remarks
	// every is the pause of an endless loop; zero where there is none.
	every time.Duration
	// number counts the objects of one workload, from 0.
	number int
}

// write writes a NodeJob, or a NodeCronJob where there is a schedule or a loop.
func (w *work) write(opts Options, report *Report, row *Row, m making) {
	w.placed.onto(&m.spec)
	m.spec.ActiveDeadlineSeconds, m.spec.TTLSecondsAfterFinished = w.deadline, w.ttl
	if w.doc.Kind() == "CronJob" || m.every > 0 {
		w.writeCron(opts, report, row, m)
		return
	}
	meta := w.meta(opts, row, maxJobName, m.number)
	m.spec.Suspend = w.suspended || w.held != ""
	if w.held != "" {
		m.said.add("suspend", "%s", w.held)
	}
	if w.held == "" {
		holdEnded(w.doc, row, &m.spec, &m.said)
	}
	if w.doc.Kind() == "DaemonSet" {
		m.spec.CompletionPolicy.Type = v1alpha1.CompleteNever
		m.said.add("completionPolicy", "the DaemonSet did it on new nodes too, and again whenever one of its pods started anew; this does it once on each node, "+
			"and on those that come later. For again and again, write a NodeCronJob")
	}
	draft := report.Add(&v1alpha1.NodeJob{TypeMeta: typeOf("NodeJob"), ObjectMeta: meta.object, Spec: m.spec}, row)
	meta.review(draft)
	m.said.onto(draft, "spec")
}

func (w *work) writeCron(opts Options, report *Report, row *Row, m making) {
	meta := w.meta(opts, row, maxCronName, m.number)
	cron := &v1alpha1.NodeCronJob{TypeMeta: typeOf("NodeCronJob"), ObjectMeta: meta.object}
	var said remarks
	if w.doc.Kind() == "CronJob" {
		at := w.doc.root.Object("spec")
		p := plan{paused: at.Bool("suspend")}
		p.read(at)
		p.onto(&cron.Spec)
		said = p.remarks
	} else {
		cron.Spec.Schedule = everyText(m.every, &said)
		row.Note("the endless loop becomes a schedule: %s", cron.Spec.Schedule)
	}
	if w.held != "" {
		cron.Spec.Suspend = new(true)
		said.add("suspend", "%s", w.held)
	}
	cron.Spec.JobTemplate.Spec = m.spec
	draft := report.Add(cron, row)
	meta.review(draft)
	said.onto(draft, "spec")
	m.said.onto(draft, "spec.jobTemplate.spec")
}

// jobLabels are those that a live Job has given to its pods.
var jobLabels = []string{"batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name", "controller-uid", "job-name"}

// keepScript leaves a script that is not plain in its pod, held until a person has looked.
func (w *work) keepScript(opts Options, report *Report, row *Row) {
	var said remarks
	if w.template.Spec.RestartPolicy != corev1.RestartPolicyOnFailure {
		w.template.Spec.RestartPolicy = corev1.RestartPolicyNever
	}
	for _, label := range jobLabels {
		delete(w.template.Labels, label)
	}
	hint := pruneInstead(w.template.Spec)
	said.add("template", "its script cleans images, and is more than plain commands, so that it is left as it is. Orlop does that without a script, spares what is "+
		"needed, and says for each node what went: %s", hint)
	row.Note("its script is more than plain commands: the pod is kept, and suspended. Consider %s", hint)
	w.held = "look at the script, then turn suspend off"
	w.write(opts, report, row, making{spec: v1alpha1.NodeJobSpec{Template: w.template}, said: said})
}
