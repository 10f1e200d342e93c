// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package nodejob

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/condition"
	"orlop.dev/orlop/internal/table"
)

// The phases, for people.
const (
	phaseWaiting   = "Waiting"
	phaseRunning   = "Running"
	phaseSuspended = "Suspended"
	phasePaused    = "Paused"
	phaseComplete  = "Complete"
	phaseFailed    = "Failed"
)

const (
	// maxWords bounds what is repeated of anyone's words, in runes.
	maxWords = 256
	// maxMessage is as the schema has it, in runes.
	maxMessage = 1024
)

// report makes the status. That of a job that has ended stays what it was.
func (d *decision) report() {
	if d.course == stays {
		return
	}
	s := &d.status
	if d.course == fails && !d.serves() {
		d.blameEnded()
	}
	s.Desired, s.Active, s.Succeeded, s.Failed = int32(d.desired), int32(d.active), int32(d.succeeded), int32(d.failed)
	s.Summary = fmt.Sprintf("%d/%d", d.succeeded, d.desired)
	s.Failures, s.OmittedFailures = first(d.failures)
	s.SkippedNodes, s.OmittedSkipped = first(d.skipped)
	s.Images, s.OmittedImages = d.tally.images()
	s.FreedBytes, s.Freed = nil, ""
	if freed, known := d.tally.freed(d.job.Spec.DryRun); known && (d.job.Spec.Remove != nil || d.job.Spec.Prune != nil) {
		s.FreedBytes, s.Freed = &freed, table.Size(freed)
	}
	if d.course == goesOn || d.course == pauses || d.course == suspended {
		s.CompletionTime = nil
	}
	s.Progress = d.bytes()
	s.Phase, s.Message = d.phase()
	s.Message = condition.Cut(s.Message, maxMessage)
	s.Conditions = condition.Keep(d.before.Conditions, d.conditions(), d.now)
	d.status = fit(d.status, d.job)
}

// bytes are how far the pulls are on all nodes, while somebody looks on.
func (d *decision) bytes() *v1alpha1.JobProgress {
	if d.watched.IsZero() || d.job.Spec.Pull == nil || d.course != goesOn && d.course != pauses {
		return nil
	}
	d.at(d.watched)
	sum := &v1alpha1.JobProgress{}
	for i := range d.members {
		m := &d.members[i]
		if !d.counted[i] || m.answer == nil || m.answer.Progress == nil || m.asked == nil || m.answer.Run != m.asked.Run {
			continue
		}
		sum.DoneBytes += m.answer.Progress.DoneBytes
		sum.TotalBytes += m.answer.Progress.TotalBytes
		sum.FinishedImages += m.answer.Progress.FinishedImages
		sum.Images += m.answer.Progress.Images
	}
	return sum
}

// blameEnded counts the nodes that a failed job has ended as failed: they have not done it.
func (d *decision) blameEnded() {
	for _, i := range d.pending {
		if d.readings[i].stage == stageEnded {
			d.fail(d.members[i].name, word{v1alpha1.ReasonCancelled, d.cause()})
		}
	}
	slices.SortStableFunc(d.failures, func(a, b v1alpha1.NodeJobFailure) int { return strings.Compare(a.Node, b.Node) })
}

// first are the first of a list, and how many more there are.
func first(all []v1alpha1.NodeJobFailure) (kept []v1alpha1.NodeJobFailure, omitted int32) {
	for _, f := range all[:min(len(all), maxFailures)] {
		f.Message = condition.Cut(f.Message, maxWords)
		kept = append(kept, f)
	}
	return kept, int32(len(all) - len(kept))
}

// maxFailures is as the schema has it.
const maxFailures = 50

func (d *decision) phase() (phase, message string) {
	switch d.course {
	case suspended:
		return phaseSuspended, "spec.suspend is set: nothing is under way. " + d.progress()
	case pauses:
		return phasePaused, d.paused()
	case completes, fails, late:
		phase, message = phaseComplete, d.ending()
		if d.failing() {
			phase = phaseFailed
		}
		if d.course == late && d.active > 0 {
			message += fmt.Sprintf("; %s at it, as spec.activeDeadlineSeconds is not over", are(d.active))
		}
		return phase, message
	default:
	}
	phase = phaseRunning
	if d.active+d.succeeded+d.failed == 0 {
		phase = phaseWaiting
	}
	return phase, d.running()
}

// failing reports whether a job that has ended has failed.
func (d *decision) failing() bool {
	return d.why.reason != v1alpha1.ReasonNodesDone && d.why.reason != v1alpha1.ReasonPlanned
}

func (d *decision) paused() string {
	return fmt.Sprintf("A node failed, and spec.failurePolicy.type is Pause: %s. Set the annotation %s, or another policy, to go on. %s",
		d.blame(), v1alpha1.AnnotationRetry, d.progress())
}

// running says how far it is, and what keeps it from getting on.
func (d *decision) running() string {
	switch {
	case d.refused != "":
		return "The API server does not take the pods of the template: " + d.refused
	case len(d.problems) > 0:
		return d.problems[0].Message + ". " + d.progress()
	case d.desired == 0:
		return "No node is chosen so far"
	case d.active == 0 && len(d.pending) > 0 && d.limit() == 0:
		return "spec.parallelism is 0: nothing is begun. " + d.progress()
	}
	for i := range d.readings {
		if why := d.readings[i].why; d.counted[i] && d.readings[i].stage == stageActive && why.message != "" {
			return fmt.Sprintf("%s. %s: %s: %s", d.progress(), d.members[i].name, why.reason, condition.Cut(why.message, maxWords))
		}
	}
	return d.progress()
}

func (d *decision) progress() string {
	parts := []string{fmt.Sprintf("%d of %s done", d.succeeded, are(d.desired))}
	for _, part := range []struct {
		n    int
		word string
	}{{d.active, "at it"}, {d.failed, "failed"}, {len(d.skipped), "away"}} {
		if part.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", part.n, part.word))
		}
	}
	return strings.Join(parts, ", ")
}

// ending is what there is to say at the end.
func (d *decision) ending() string {
	switch d.why.reason {
	case v1alpha1.ReasonInvalid:
		return d.why.message
	case v1alpha1.ReasonNodeFailed:
		return fmt.Sprintf("A node failed, and spec.failurePolicy.type is FailFast: %s. %s", d.blame(), d.progress())
	case v1alpha1.ReasonDeadlineExceeded:
		return fmt.Sprintf("It took longer than spec.activeDeadlineSeconds (%d s): %s", *d.job.Spec.ActiveDeadlineSeconds, d.progress())
	case v1alpha1.ReasonNodesFailed:
		return fmt.Sprintf("%d of %s failed: %s", d.failed, count(d.desired), d.blame())
	}
	away := ""
	if n := len(d.skipped); n > 0 {
		away = fmt.Sprintf("; %s away: see status.skippedNodes", are(n))
	}
	switch {
	case d.desired == 0:
		return "No node is chosen: none fits nodeSelector, affinity and nodeNames, or those that do have taints that are not tolerated"
	case len(d.skipped) == d.desired:
		return "Nothing was done" + away
	case d.why.reason == v1alpha1.ReasonPlanned:
		return fmt.Sprintf("This is the plan of %s, and nothing was done: set spec.dryRun to false to carry it out%s", count(d.succeeded), away)
	}
	return fmt.Sprintf("%s done%s", are(d.succeeded), away)
}

// blame names the first failures.
func (d *decision) blame() string {
	const most = 3
	var parts []string
	for i, f := range d.failures {
		if i == most {
			parts = append(parts, fmt.Sprintf("%d more; see status.failures", len(d.failures)-most))
			break
		}
		part := f.Node + ": " + f.Reason
		if f.Message != "" {
			part += ": " + condition.Cut(f.Message, maxWords)
		}
		parts = append(parts, part)
	}
	if len(parts) == 0 {
		return "see the ImageStores of the nodes"
	}
	return strings.Join(parts, "; ")
}

func count(n int) string {
	if n == 1 {
		return "1 node"
	}
	return fmt.Sprintf("%d nodes", n)
}

func are(n int) string {
	if n == 1 {
		return "1 node is"
	}
	return count(n) + " are"
}

// sentence begins with a capital.
func sentence(text string) string {
	if text == "" {
		return text
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

// conditions are those that hold, and those that did before and do no more.
func (d *decision) conditions() (all []metav1.Condition) {
	add := func(kind string, holds bool, why word) {
		before := slices.ContainsFunc(d.before.Conditions, func(c metav1.Condition) bool { return c.Type == kind })
		if holds || before {
			all = append(all, condition.New(kind, holds, d.job.Generation, why.reason, why.message))
		}
	}
	switch d.course {
	case completes, fails, late:
		kind := v1alpha1.ConditionComplete
		if d.failing() {
			kind = v1alpha1.ConditionFailed
		}
		all = append(all, condition.New(kind, true, d.job.Generation, d.why.reason, d.status.Message))
	default:
	}
	switch d.course {
	case suspended:
		add(v1alpha1.ConditionSuspended, true, word{v1alpha1.ReasonSuspended, "spec.suspend is set"})
	case pauses:
		add(v1alpha1.ConditionSuspended, true, word{v1alpha1.ReasonPaused, d.status.Message})
	default:
		add(v1alpha1.ConditionSuspended, false, word{v1alpha1.ReasonAsExpected, ""})
	}
	stalled := d.stalled()
	if stalled.reason == "" {
		add(v1alpha1.ConditionStalled, false, word{v1alpha1.ReasonAsExpected, ""})
	} else {
		add(v1alpha1.ConditionStalled, true, stalled)
	}
	return all
}

// stalled is what it takes a person to cure.
func (d *decision) stalled() word {
	switch {
	case d.invalid != nil:
		return word{v1alpha1.ReasonInvalid, sentence(d.invalid.Error())}
	case d.course != goesOn && d.course != pauses && d.course != suspended:
	case d.refused != "":
		return word{v1alpha1.ReasonPodRefused, d.refused}
	case len(d.problems) > 0:
		return word{v1alpha1.ReasonSecretNotFound, sentence(d.problems[0].Message)}
	}
	for i := range d.readings {
		if r := &d.readings[i]; r.stage == stageActive && r.why.reason == v1alpha1.ReasonRefused {
			return word{r.why.reason, "Node " + d.members[i].name + " cannot be asked: " + r.why.message}
		}
	}
	return word{}
}

// urgent: what people and programs wait for has changed, and is written at once.
func urgent(old, now *v1alpha1.NodeJobStatus) bool {
	if old.ObservedGeneration != now.ObservedGeneration || old.Retry != now.Retry || old.Run != now.Run || old.Phase != now.Phase {
		return true
	}
	if old.Active == 0 && now.Active > 0 || old.Failed == 0 && now.Failed > 0 {
		return true
	}
	return !slices.EqualFunc(old.Conditions, now.Conditions, func(a, b metav1.Condition) bool {
		return a.Type == b.Type && a.Status == b.Status && a.Reason == b.Reason
	})
}

func same(old, now *v1alpha1.NodeJobStatus) bool { return equality.Semantic.DeepEqual(old, now) }
