// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package nodejob

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/controller/nodejob/podrun"
)

// member is one node as a job sees it.
type member struct {
	name string
	// node is nil if it is not there: then it is named, or the job has a pod for it.
	node *corev1.Node
	// named: it stands in nodeNames.
	named bool
	// chosen: selector, affinity and names choose it. barred is why it does not count all the same, unless it has begun: a taint.
	chosen bool
	barred string
	// away is why it cannot do anything now. One that has begun is waited for until patience.
	away     word
	patience time.Time
	// stood is the entry in its store, asked what it was asked last: that of the ledger, else stood. Each may be nil.
	stood, asked *v1alpha1.StoreJob
	answer       *v1alpha1.StoreJobStatus
	pod          *podrun.Seen
	// refusal is why the API server did not take the store that says what is asked.
	refusal string
}

// word is a reason and a sentence; without a reason there is nothing to say.
type word struct{ reason, message string }

// stage is how far a node is.
type stage int

const (
	stageWaiting stage = iota // its turn is to come
	stageActive
	stageSucceeded
	stageFailed
	stageEnded     // it was cancelled, and is asked again if the job goes on
	stageUnplanned // plans are carried out, and it had shown none by then
)

// reading is what the objects say of a node's work.
type reading struct {
	stage stage
	// run and dryRun are those of what is under way, else of what is to be asked.
	run    int32
	dryRun bool
	// carries: it has made its plan, and is to carry it out.
	carries bool
	why     word
}

// begun reports whether the node was ever asked for anything.
func (m *member) begun() bool { return m.asked != nil || m.pod != nil }

// read tells how far the node is. Nothing of it is remembered: see ADR 8.
func (m *member) read(spec *v1alpha1.NodeJobSpec, run int32) reading {
	if spec.Template != nil {
		return m.readPod(run)
	}
	e, a := m.asked, m.answer
	if e == nil {
		return reading{run: run, dryRun: spec.DryRun}
	}
	if e.DryRun && !spec.DryRun && !m.showed() {
		return reading{stage: stageUnplanned, run: e.Run, dryRun: true}
	}
	if !m.answers() {
		return reading{stage: stageActive, run: e.Run, dryRun: e.DryRun, why: m.refused()}
	}
	why := word{a.Reason, a.Message}
	switch a.State {
	case v1alpha1.JobSucceeded:
		if e.DryRun && !spec.DryRun { // It has shown its plan.
			return reading{stage: stageWaiting, run: max(e.Run, run), carries: true}
		}
		return reading{stage: stageSucceeded, run: e.Run}
	case v1alpha1.JobFailed, v1alpha1.JobCancelled:
		return again(a.State, e.Run, run, e.DryRun, why)
	default:
		return reading{stage: stageActive, run: e.Run, dryRun: e.DryRun, why: why}
	}
}

// answers reports whether the answer is to what was asked.
func (m *member) answers() bool {
	return m.asked != nil && m.answer != nil && m.answer.Run == m.asked.Run && m.answer.DryRun == m.asked.DryRun
}

// showed reports whether the node made a plan while plans were asked for. One that comes after its entry was cancelled was seen by nobody
// when it was decided to carry them out.
func (m *member) showed() bool {
	return m.answers() && m.answer.State == v1alpha1.JobSucceeded && !m.asked.Cancel
}

// final reports whether the node has spoken its last word on what was asked.
func (m *member) final() bool {
	return m.answers() && m.answer.State.Final()
}

// again is a node that did not do it: whether it has failed for good, and in which run it is asked next.
func again(state v1alpha1.JobState, was, run int32, dryRun bool, why word) reading {
	switch {
	case state == v1alpha1.JobCancelled:
		return reading{stage: stageEnded, run: max(was+1, run), dryRun: dryRun, why: why}
	case was < run:
		return reading{stage: stageWaiting, run: run, dryRun: dryRun}
	}
	return reading{stage: stageFailed, run: was, why: why}
}

// readPod is read for a template. An outcome counts once it stands in the store.
func (m *member) readPod(run int32) reading {
	written := m.written()
	switch {
	case m.pod != nil && (written == nil || m.pod.Run > written.Run):
		return reading{stage: stageActive, run: m.pod.Run, why: word{m.pod.Reason, m.pod.Message}}
	case m.asked == nil || m.asked.Outcome == nil:
		return reading{run: run}
	case written == nil || written.Run != m.asked.Run:
		return reading{stage: stageActive, run: m.asked.Run, why: m.refused()}
	case written.Outcome.State == v1alpha1.JobSucceeded:
		return reading{stage: stageSucceeded, run: written.Run}
	}
	return again(written.Outcome.State, written.Run, run, false, word{written.Outcome.Reason, written.Outcome.Message})
}

// refused is why the store does not say what is asked.
func (m *member) refused() word {
	if m.refusal == "" {
		return word{}
	}
	return word{v1alpha1.ReasonRefused, m.refusal}
}

// unheard: what was asked does not stand in the store yet.
func (m *member) unheard() bool {
	return m.asked != nil && (m.stood == nil || m.stood.Run != m.asked.Run || m.stood.DryRun != m.asked.DryRun)
}

// written is the entry with an outcome that stands in the store.
func (m *member) written() *v1alpha1.StoreJob {
	if m.stood == nil || m.stood.Outcome == nil {
		return nil
	}
	return m.stood
}

// busy: a pod of the job has yet to leave the node, so that no other may come.
func (m *member) busy() bool {
	return m.pod != nil && m.pod.Pod.Status.Phase != corev1.PodSucceeded && m.pod.Pod.Status.Phase != corev1.PodFailed
}
