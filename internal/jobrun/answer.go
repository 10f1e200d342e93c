// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package jobrun

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/action"
	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/fleet"
	"orlop.dev/orlop/internal/operator"
	"orlop.dev/orlop/internal/plan"
	"orlop.dev/orlop/internal/session"
)

func pullPolicy(p session.PullPolicy) corev1.PullPolicy { return corev1.PullPolicy(p) }

func (r *run) seeJob(job *v1alpha1.NodeJob) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if job.UID == r.made.UID && job.Generation >= r.made.Generation {
		r.made = job
	}
	r.move()
}

// seeStore takes a node's answer, if it is one to what is asked now.
func (r *run) seeStore(store *v1alpha1.ImageStore) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v := r.visits[store.Name]
	if v == nil || v.over {
		return
	}
	answer := store.Answer(string(r.made.UID))
	if answer == nil || answer.DryRun != r.dry {
		return
	}
	r.hear(v, store, answer)
	r.move()
}

// hear passes on what is new in an answer. The lock is held.
func (r *run) hear(v *visit, store *v1alpha1.ImageStore, answer *v1alpha1.StoreJobStatus) {
	if !v.running && answer.State != v1alpha1.JobWaiting {
		name, version, _ := strings.Cut(cmp.Or(store.Status.Runtime, store.Spec.Runtime), "://")
		v.running, v.out.Started = true, &engine.Description{Name: name, Version: version}
		r.tell(v, session.Message{Started: v.out.Started})
	}
	if p := answer.Progress; p != nil && *p != v.at && !answer.State.Final() {
		v.at = *p
		r.tell(v, session.Message{Progress: progressOf(*p)})
	}
	if !r.dry {
		for _, step := range action.Steps(answer.Images) {
			r.step(v, step)
		}
	}
	if answer.State.Final() {
		r.settle(v, answer)
	}
}

func (r *run) tell(v *visit, m session.Message) {
	if r.job.Heard != nil {
		r.job.Heard(v.out.Node, m)
	}
}

func (r *run) step(v *visit, step session.Step) {
	if key := step.Asked + "\x00" + step.ID; !v.told[key] {
		v.told[key] = true
		v.out.Steps = append(v.out.Steps, step)
		r.tell(v, session.Message{Step: &step})
	}
}

// progressOf is how far a node is, in its own words. Which part of a pull it is at it does not tell.
func progressOf(p v1alpha1.JobProgress) *session.Progress {
	phase := engine.PhaseDownloading
	if p.TotalBytes > 0 && p.DoneBytes >= p.TotalBytes {
		phase = engine.PhaseUnpacking
	}
	return &session.Progress{Phase: phase, Done: p.DoneBytes, Total: p.TotalBytes, Images: int(p.Images), Finished: int(p.FinishedImages)}
}

// settle takes a node's last word in this phase. The lock is held.
func (r *run) settle(v *visit, answer *v1alpha1.StoreJobStatus) {
	r.fullness(v.out, answer)
	failed := answer.State == v1alpha1.JobFailed && answer.Failed == 0
	cancelled := answer.State == v1alpha1.JobCancelled
	v.over = !cancelled || r.ended() != nil // Why it was ended the job tells, perhaps a moment later.
	if r.dry && !failed && !cancelled {
		p := action.PlanOf(answer)
		v.out.Plan = &p
		r.tell(v, session.Message{Plan: &p})
		if r.job.Confirm != nil {
			return
		}
	}
	if !r.dry {
		v.out.Result = resultOf(answer)
		if v.out.Plan == nil {
			v.out.Plan = planOfDone(answer)
		}
	}
	switch {
	case !v.over:
		return
	case failed:
		v.out.State, v.out.Trouble = fleet.StateFailed, &fleet.Trouble{Reason: cmp.Or(answer.Reason, string(answer.State)), Message: cmp.Or(answer.Message, "the node gave no reason")}
	case cancelled:
		r.ending(v, r.ended())
	default:
		v.out.State = fleet.StateDone
	}
	r.tellEnd(v.out)
}

// resultOf is what a node did.
func resultOf(answer *v1alpha1.StoreJobStatus) *session.Result {
	result := &session.Result{Steps: action.Steps(answer.Images), FreedBytes: answer.FreedBytes}
	if answer.StartTime != nil && answer.CompletionTime != nil {
		pulled := slices.IndexFunc(result.Steps, func(s session.Step) bool { return s.State == session.StatePulled })
		if pulled >= 0 && len(result.Steps) == 1 { // What the node took it took for this one.
			result.Steps[pulled].TookSeconds = answer.CompletionTime.Sub(answer.StartTime.Time).Seconds()
		}
	}
	return result
}

// planOfDone is what a node must have planned, of which no plan was shown.
func planOfDone(answer *v1alpha1.StoreJobStatus) *plan.Plan {
	if answer.Pulled+answer.Present > 0 {
		return nil
	}
	p := action.PlanOf(answer)
	return &p
}

// close gives every node its end that has none yet.
func (r *run) close(ctx context.Context) {
	r.readLast(ctx)
	r.enrich(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	end := r.ended()
	for i := range r.outcomes {
		v := r.visits[r.outcomes[i].Node.Name]
		if v.over {
			continue
		}
		v.over = true
		switch {
		case v.out.Node.Trouble != nil:
			v.out.State, v.out.Trouble = fleet.StateSkipped, v.out.Node.Trouble
		case r.listed(v):
		case errors.Is(r.broken, operator.ErrDeleted):
			v.out.State, v.out.Trouble = fleet.StateFailed, &fleet.Trouble{Reason: v1alpha1.ReasonCancelled, Message: "the NodeJob was deleted by someone else"}
		default:
			r.ending(v, end)
		}
		r.tellEnd(v.out)
	}
}

// readLast looks once more at the stores of nodes that have not answered when the job has ended: the job's last word may be here
// before theirs.
func (r *run) readLast(ctx context.Context) {
	r.mu.Lock()
	var open []string
	if r.ended() != nil {
		for _, o := range r.outcomes {
			if v := r.visits[o.Node.Name]; !v.over && v.out.Node.Trouble == nil {
				open = append(open, o.Node.Name)
			}
		}
	}
	r.mu.Unlock()
	if len(open) == 0 {
		return
	}
	stores, err := r.cfg.Client.Stores(ctx, open)
	if err != nil {
		return // They are told as not heard of.
	}
	for _, store := range stores {
		r.seeStore(store)
	}
}

// listed is a node's end as the job's status has it. The lock is held.
func (r *run) listed(v *visit) bool {
	is := func(f v1alpha1.NodeJobFailure) bool { return f.Node == v.out.Node.Name }
	if i := slices.IndexFunc(r.made.Status.SkippedNodes, is); i >= 0 {
		f := r.made.Status.SkippedNodes[i]
		v.out.State, v.out.Trouble = fleet.StateSkipped, &fleet.Trouble{Reason: f.Reason, Message: f.Message}
		if f.Reason == v1alpha1.ReasonAgentNotReady {
			v.out.Trouble.Advice = "ask it by a short-lived pod, with --ephemeral"
		}
		return true
	}
	if i := slices.IndexFunc(r.made.Status.Failures, is); i >= 0 {
		f := r.made.Status.Failures[i]
		v.out.State, v.out.Trouble = fleet.StateFailed, &fleet.Trouble{Reason: f.Reason, Message: f.Message}
		return true
	}
	return false
}

// ending is the end of a node that has not done what was asked, by that of the job. The lock is held.
func (r *run) ending(v *visit, end *ending) {
	switch {
	case end != nil && end.reason == v1alpha1.ReasonDeadlineExceeded:
		v.out.State, v.out.Trouble = fleet.StateTimedOut, r.late()
	case end != nil && end.kind != v1alpha1.ConditionComplete:
		v.out.State, v.out.Trouble = fleet.StateFailed, &fleet.Trouble{Reason: end.reason, Message: cmp.Or(end.message, "the NodeJob ended before its turn")}
	case end != nil && r.made.Status.OmittedSkipped > 0:
		v.out.State, v.out.Trouble = fleet.StateSkipped, &fleet.Trouble{Reason: v1alpha1.ReasonAgentNotReady, Message: "it is away; the NodeJob names only the first that are"}
	case end != nil:
		v.out.State, v.out.Trouble = fleet.StateSkipped, &fleet.Trouble{Reason: v1alpha1.ReasonNotChosen, Message: "the NodeJob ended without it"}
	case r.dry:
		v.out.State, v.out.Trouble = fleet.StateSkipped, &fleet.Trouble{Reason: fleet.ReasonLate, Message: fmt.Sprintf("it had made no plan, and was left out %s after the others", lateAfter)}
	default:
		v.out.State, v.out.Trouble = fleet.StateFailed, &fleet.Trouble{Reason: v1alpha1.ReasonCancelled, Message: "it was ended"}
	}
}

func (r *run) late() *fleet.Trouble {
	return &fleet.Trouble{Reason: fleet.ReasonTimeout, Message: fmt.Sprintf("not done within %s", r.timeout()), Advice: "allow more with --timeout"}
}

// timedOut and interrupted end every node that has not answered.
func (r *run) timedOut() { r.stop(fleet.StateTimedOut, r.late()) }

func (r *run) interrupted() {
	if !r.dry { // It goes on, and no node is interrupted by that.
		return
	}
	r.stop(fleet.StateInterrupted, &fleet.Trouble{Reason: fleet.ReasonInterrupted, Message: "interrupted"})
}

func (r *run) stop(state fleet.State, trouble *fleet.Trouble) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.outcomes {
		if v := r.visits[r.outcomes[i].Node.Name]; !v.over && v.out.Node.Trouble == nil {
			v.over, v.out.State, v.out.Trouble = true, state, trouble
			r.tellEnd(v.out)
		}
	}
}
