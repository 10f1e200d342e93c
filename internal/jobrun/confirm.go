// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package jobrun

import (
	"context"
	"fmt"
	"slices"

	"orlop.dev/orlop/internal/fleet"
	"orlop.dev/orlop/internal/plan"
	"orlop.dev/orlop/internal/session"
)

// confirm asks about the plans, of those that have shown one.
func (r *run) confirm(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, confirmTimeout)
	defer cancel()
	return r.job.Confirm(ctx, slices.Clone(r.outcomes))
}

// goes reports whether the plans remove anything.
func (r *run) goes() bool {
	return slices.ContainsFunc(r.outcomes, func(o fleet.Outcome) bool { return o.Plan != nil && len(o.Plan.Remove) > 0 })
}

// proceed has the plans carried out: those that were shown, and on no other node.
func (r *run) proceed(ctx context.Context) error {
	spec := map[string]any{"dryRun": false}
	var planned []string
	for _, o := range r.outcomes {
		if o.Plan != nil {
			planned = append(planned, o.Node.Name)
		}
	}
	if len(planned) < len(r.outcomes) || int(r.made.Status.Desired) > len(planned) {
		spec["nodeNames"] = planned
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
	defer cancel()
	made, err := r.cfg.Client.PatchJob(ctx, r.namespace, r.name, map[string]any{"spec": spec})
	if err != nil {
		return fmt.Errorf("having the plan carried out: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.made = made
	return nil
}

// decline ends the nodes whose plans are not carried out.
func (r *run) decline(interrupted bool) {
	for i := range r.outcomes {
		o := &r.outcomes[i]
		switch {
		case o.Trouble != nil:
		case interrupted:
			o.State, o.Trouble = fleet.StateInterrupted, &fleet.Trouble{Reason: fleet.ReasonInterrupted, Message: "interrupted"}
		case o.Plan != nil && len(o.Plan.Remove) == 0:
			o.State, o.Result = fleet.StateDone, keptBy(o.Plan)
		default:
			o.State = fleet.StateDeclined
		}
		r.tellEnd(o)
	}
}

// settleEmpty ends nodes that had nothing to do.
func (r *run) settleEmpty() {
	for i := range r.outcomes {
		if o := &r.outcomes[i]; o.Plan != nil {
			o.State, o.Result = fleet.StateDone, keptBy(o.Plan)
			r.tellEnd(o)
		}
	}
}

// keptBy is the answer of a node that removes nothing: what its plan keeps.
func keptBy(p *plan.Plan) *session.Result {
	result := &session.Result{}
	for _, k := range p.Keep {
		if k.Reason != plan.ReasonNotSelected {
			result.Steps = append(result.Steps, session.Step{Asked: plan.Title(k.Image), State: session.StateKept, ID: k.Image.ID, Reason: string(k.Reason), Message: k.Message})
		}
	}
	return result
}
