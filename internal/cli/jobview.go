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
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/jobrun"
	"orlop.dev/orlop/internal/operator"
	"orlop.dev/orlop/internal/table"
	"orlop.dev/orlop/internal/tell"
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
		i := slices.IndexFunc(store.Spec.Jobs, func(e v1alpha1.StoreJob) bool { return e.UID == string(job.UID) })
		answer := jobrun.AnswerIn(store, string(job.UID))
		if i < 0 && answer == nil {
			continue
		}
		var entry v1alpha1.StoreJob
		if i >= 0 {
			entry = store.Spec.Jobs[i]
		}
		if row, ok := answerOf(node, entry, answer); ok && (row.State != "waiting" || rows[node].State == "") { // Why one that is asked does not answer stands in the job.
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
func answerOf(node string, entry v1alpha1.StoreJob, answer *v1alpha1.StoreJobStatus) (row nodeAnswer, ok bool) {
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
	for _, part := range []struct {
		n    int32
		word string
	}{{st.Active, "at work"}, {st.Failed, "failed"}, {st.Skipped, "skipped"}, {st.Desired - st.Active - st.Succeeded - st.Failed - st.Skipped, "waiting for their turn"}} {
		if part.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", part.n, part.word))
		}
	}
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

func (v *jobView) table(o *output) *table.Table {
	switch {
	case v.job.Spec.Template != nil:
		return v.podTable()
	case v.job.Spec.Pull != nil:
		return v.pullTable(o)
	}
	return v.removalTable(o)
}

func (v *jobView) pullTable(o *output) *table.Table {
	t := &table.Table{Columns: []table.Column{{Name: "NODE"}, {Name: "STATE"}, {Name: "PULLED", Right: true}, {Name: "PRESENT", Right: true}, {Name: "FAILED", Right: true},
		{Name: "SIZE", Right: true}, {Name: "TOOK", Right: true}, {Name: "MESSAGE"}}}
	for _, row := range v.rows {
		a := row.Answer
		if a == nil {
			t.Add(row.Node, row.State, "", "", "", "", "", row.why())
			continue
		}
		size := o.size(a.Bytes)
		if p := a.Progress; p != nil && !jobrun.Final(a.State) {
			size = table.Size(p.DoneBytes) + " of " + table.Size(p.TotalBytes)
		}
		t.Add(row.Node, row.State, fmt.Sprint(a.Pulled), fmt.Sprint(a.Present), fmt.Sprint(a.Failed), size, took(a.StartTime, a.CompletionTime), row.why())
	}
	return t
}

func (v *jobView) removalTable(o *output) *table.Table {
	gone, freed := "REMOVED", "FREED"
	if v.job.Spec.DryRun {
		gone, freed = "TO REMOVE", "FREES"
	}
	t := &table.Table{Columns: []table.Column{{Name: "NODE"}, {Name: "STATE"}, {Name: gone, Right: true}, {Name: freed, Right: true}, {Name: "KEPT", Right: true},
		{Name: "FAILED", Right: true}, {Name: "DISK"}, {Name: "TOOK", Right: true}, {Name: "MESSAGE"}}}
	for _, row := range v.rows {
		a := row.Answer
		if a == nil {
			t.Add(row.Node, row.State, "", "", "", "", "", "", row.why())
			continue
		}
		bytes := o.size0(a.Bytes)
		if !a.DryRun {
			bytes = "?"
			if a.FreedBytes != nil {
				bytes = o.size0(*a.FreedBytes)
			}
		}
		t.Add(row.Node, row.State, fmt.Sprint(a.Removed), bytes, fmt.Sprint(a.Kept), fmt.Sprint(a.Failed), fullness(a), took(a.StartTime, a.CompletionTime), row.why())
	}
	return t
}

// fullness is how full the disk was before and after, in hundredths of a percent.
func fullness(a *v1alpha1.StoreJobStatus) string {
	switch {
	case a.DiskBefore == 0:
		return ""
	case a.DiskAfter == 0:
		return fmt.Sprintf("%.0f %%", float64(a.DiskBefore)/100)
	}
	return fmt.Sprintf("%.0f %% → %.0f %%", float64(a.DiskBefore)/100, float64(a.DiskAfter)/100)
}

func (v *jobView) podTable() *table.Table {
	t := &table.Table{Columns: []table.Column{{Name: "NODE"}, {Name: "STATE"}, {Name: "EXIT", Right: true}, {Name: "RESTARTS", Right: true}, {Name: "TOOK", Right: true}, {Name: "POD", Wide: true}, {Name: "MESSAGE"}}}
	for _, row := range v.rows {
		exit, restarts, lasted := "", "", ""
		if o := row.Outcome; o != nil {
			restarts, lasted = fmt.Sprint(o.Restarts), took(o.StartTime, o.CompletionTime)
			if o.ExitCode != nil {
				exit = fmt.Sprint(*o.ExitCode)
			}
		}
		t.Add(row.Node, row.State, exit, restarts, lasted, row.Pod, row.why())
	}
	return t
}

// maxWhy is how much of a message a line of a table takes; -o json has all of it.
const maxWhy = 120

func (n nodeAnswer) why() string {
	text := strings.Join(strings.Fields(n.Message), " ")
	if n.Reason != "" && !strings.HasPrefix(text, n.Reason) {
		text = strings.TrimSuffix(n.Reason+": "+text, ": ")
	}
	if runes := []rune(text); len(runes) > maxWhy {
		text = string(runes[:maxWhy-1]) + "…"
	}
	return text
}

func took(from, to *metav1.Time) string {
	if from == nil || to == nil {
		return ""
	}
	return tell.Took(to.Sub(from.Time).Round(time.Second))
}

// detailed has a line for each image on each node.
func (v *jobView) detailed(o *output) *table.Table {
	t := &table.Table{Columns: []table.Column{{Name: "NODE"}, {Name: "IMAGE"}, {Name: "STATE"}, {Name: "SIZE", Right: true}, {Name: "ID", Wide: true}, {Name: "MESSAGE"}}}
	for _, row := range v.rows {
		if row.Answer == nil || len(row.Answer.Images) == 0 {
			t.Add(row.Node, "", row.State, "", "", row.why())
			continue
		}
		for _, image := range row.Answer.Images {
			t.Add(row.Node, strings.Join(append([]string{image.Image}, others(image)...), ", "), decided(image.State, row.Answer.DryRun), o.size(image.Bytes),
				o.id(cmp.Or(image.ID, image.Digest)), nodeAnswer{Reason: reasonInTable(image), Message: image.Message}.why())
		}
	}
	return t
}

// reasonInTable leaves a reason out that only says that the image was not asked for, or that its message says already.
func reasonInTable(image v1alpha1.JobImage) string {
	if image.State == v1alpha1.JobImageFailed || image.Message == "" {
		return image.Reason
	}
	return ""
}

func others(image v1alpha1.JobImage) (names []string) {
	for _, name := range image.Names {
		if name != image.Image {
			names = append(names, name)
		}
	}
	return names
}

// decided is what became of an image; of a plan, what would.
func decided(state v1alpha1.JobImageState, dryRun bool) string {
	if dryRun {
		switch state {
		case v1alpha1.JobImageRemoved:
			return "to remove"
		case v1alpha1.JobImagePulled:
			return "to pull"
		case v1alpha1.JobImageKept:
			return "to keep"
		default: // The others are no decisions.
		}
	}
	return strings.ToLower(string(state))
}
