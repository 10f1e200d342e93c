// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/operator"
)

// jobView is a NodeJob with what every node answered.
type jobView struct {
	job  *v1alpha1.NodeJob
	rows []nodeAnswer
}

// nodeAnswer is one node's part in a NodeJob.
type nodeAnswer struct {
	Node    string `json:"node"`
	State   string `json:"state"`
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
	Pod     string `json:"pod,omitempty"`
	// Answer is of jobs that agents carry out, Outcome of pods.
	Answer  *v1alpha1.StoreJobStatus `json:"answer,omitempty"`
	Outcome *v1alpha1.PodOutcome     `json:"outcome,omitempty"`
}

// fewNodes is up to how many named nodes are asked for one by one.
const fewNodes = 10

// lookAtJob gathers what every node answered.
func lookAtJob(ctx context.Context, op *operator.Client, job *v1alpha1.NodeJob) (*jobView, error) {
	var names []string // All of them: which nodes were chosen stands there.
	if n := len(job.Spec.NodeNames); n > 0 && n <= fewNodes {
		names = job.Spec.NodeNames
	}
	stores, err := op.Stores(ctx, names)
	if err != nil {
		return nil, err
	}
	pods := map[string]*corev1.Pod{}
	if job.Spec.Template != nil {
		found, err := podsOf(ctx, op, job)
		if err != nil {
			return nil, err
		}
		for i := range found {
			pods[nodeOf(&found[i])] = &found[i]
		}
	}
	return newJobView(job, stores, pods), nil
}

// podsOf are the pods of a job that are there.
func podsOf(ctx context.Context, op *operator.Client, job *v1alpha1.NodeJob) ([]corev1.Pod, error) {
	list, err := op.Core().CoreV1().Pods(job.Namespace).List(ctx, metav1.ListOptions{LabelSelector: v1alpha1.LabelNodeJobUID + "=" + string(job.UID)})
	if err != nil {
		return nil, fmt.Errorf("listing the pods of NodeJob %s/%s: %w", job.Namespace, job.Name, err)
	}
	return list.Items, nil
}

// nodeOf is the node that a pod is for, bound to it or not.
func nodeOf(pod *corev1.Pod) string {
	return cmp.Or(pod.Annotations[v1alpha1.AnnotationNode], pod.Spec.NodeName)
}

func newJobView(job *v1alpha1.NodeJob, stores map[string]*v1alpha1.ImageStore, pods map[string]*corev1.Pod) *jobView {
	rows := map[string]nodeAnswer{}
	for _, f := range job.Status.SkippedNodes {
		rows[f.Node] = nodeAnswer{Node: f.Node, State: "skipped", Reason: f.Reason, Message: f.Message}
	}
	for _, f := range job.Status.Failures {
		rows[f.Node] = nodeAnswer{Node: f.Node, State: "failed", Reason: f.Reason, Message: f.Message}
	}
	for node, pod := range pods {
		rows[node] = nodeAnswer{Node: node, State: strings.ToLower(string(pod.Status.Phase)), Pod: pod.Name, Message: waitingFor(pod)}
	}
	for node, store := range stores {
		entry, answer := store.Job(string(job.UID)), store.Answer(string(job.UID))
		if entry == nil && answer == nil {
			continue
		}
		if row, ok := answerOf(node, cmp.Or(entry, &v1alpha1.StoreJob{}), answer); ok && (row.State != "waiting" || rows[node].State == "") { // Why one that is asked does not answer stands in the job.
			row.Pod = cmp.Or(row.Pod, rows[node].Pod)
			rows[node] = row
		}
	}
	v := &jobView{job: job}
	for _, node := range slices.Sorted(maps.Keys(rows)) {
		v.rows = append(v.rows, rows[node])
	}
	return v
}

// answerOf is what a node says to its entry; not ok: nothing yet that counts, as far as pods do it.
func answerOf(node string, entry *v1alpha1.StoreJob, answer *v1alpha1.StoreJobStatus) (row nodeAnswer, ok bool) {
	row = nodeAnswer{Node: node, State: "waiting"}
	switch {
	case entry.Outcome != nil:
		row.State, row.Reason, row.Message, row.Pod, row.Outcome = inWords(entry.Outcome.State, false), entry.Outcome.Reason, entry.Outcome.Message, entry.Outcome.Pod, entry.Outcome
	case answer == nil:
		return row, entry.Pull != nil || entry.Remove != nil || entry.Prune != nil
	case answer.Run < entry.Run || entry.UID != "" && answer.DryRun != entry.DryRun: // To an ask before.
	default:
		row.State, row.Reason, row.Message, row.Answer = inWords(answer.State, answer.DryRun), answer.Reason, answer.Message, answer
		if row.Message == "" {
			row.Reason, row.Message = firstFailure(answer)
		}
	}
	return row, true
}

func firstFailure(answer *v1alpha1.StoreJobStatus) (reason, message string) {
	for _, image := range answer.Images {
		if image.State == v1alpha1.JobImageFailed {
			message := image.Image + ": " + image.Message
			if answer.Failed > 1 {
				message += fmt.Sprintf(" (and %s more)", count(int(answer.Failed)-1, "image"))
			}
			return image.Reason, message
		}
	}
	return "", ""
}

// inWords is how far a node is, in a word.
func inWords(state v1alpha1.JobState, dryRun bool) string {
	switch {
	case state == v1alpha1.JobSucceeded && dryRun:
		return "planned"
	case state == v1alpha1.JobSucceeded:
		return "done"
	}
	return strings.ToLower(string(state))
}

// waitingFor is why a pod does not run, if it says.
func waitingFor(pod *corev1.Pod) string {
	for i := range pod.Status.ContainerStatuses {
		if w := pod.Status.ContainerStatuses[i].State.Waiting; w != nil && w.Reason != "" && w.Reason != "ContainerCreating" {
			return strings.TrimSuffix(w.Reason+": "+w.Message, ": ")
		}
	}
	return ""
}

// print shows the answers: a line for each node, or for each image on each node.
func (v *jobView) print(a *app, o *output, details bool) error {
	ans := answer{kind: "NodeJobAnswerList", items: v.rows, table: v.table(o), extra: map[string]any{"job": v.job.Namespace + "/" + v.job.Name, "status": v.job.Status}}
	if details {
		ans.table = v.detailed(o)
	}
	for _, row := range v.rows {
		ans.names = append(ans.names, "node/"+row.Node)
	}
	if err := a.print(o, ans); err != nil {
		return err
	}
	if o.structured() || o.format == "name" || o.format == "csv" {
		return nil
	}
	fmt.Fprintln(a.Err, v.summary(a))
	if omitted := v.omitted(); details && omitted > 0 {
		fmt.Fprintf(a.Err, "%s %s left out, because the nodes' answers have no room for more; the counts are complete\n", a.paint.warn(), were(int(omitted), "image"))
	}
	if n := v.job.Status.OmittedSkipped; n > 0 {
		fmt.Fprintf(a.Err, "- and %s more that are away\n", count(int(n), "node"))
	}
	return nil
}

func (v *jobView) omitted() (n int32) {
	for _, row := range v.rows {
		if row.Answer != nil {
			n += row.Answer.OmittedImages
		}
	}
	return n
}

// summary is how the whole job stands, in a line.
func (v *jobView) summary(a *app) string {
	st := v.job.Status
	sign := "-"
	switch {
	case st.Phase == v1alpha1.ConditionFailed || st.Failed > 0:
		sign = a.paint.bad("✗")
	case st.Phase == v1alpha1.ConditionComplete:
		sign = a.paint.good()
	}
	parts := []string{fmt.Sprintf("%s %s/%s: %s %s, %d of %s done", sign, v.job.Namespace, v.job.Name, doing(v.job), strings.ToLower(phaseOf(v.job)), st.Succeeded, count(int(st.Desired), "node"))}
	waiting := st.Desired - st.Active - st.Succeeded - st.Failed - st.Skipped
	parts = append(parts, counted(tallied{int(st.Active), "at work"}, tallied{int(st.Failed), "failed"}, tallied{int(st.Skipped), "skipped"},
		tallied{int(waiting), "waiting for their turn"})...)
	if st.Freed != "" {
		word := "freed"
		if v.job.Spec.DryRun {
			word = "would be freed"
		}
		parts = append(parts, st.Freed+" "+word)
	}
	line := strings.Join(parts, ", ")
	if plain := st.Phase == v1alpha1.ConditionComplete && st.Desired > 0 && st.Skipped == 0; st.Message != "" && !plain {
		line += ". " + strings.TrimSuffix(st.Message, ".")
	}
	return line + "."
}
