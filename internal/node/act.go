// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/plan"
	"orlop.dev/orlop/internal/session"
)

// Act carries a plan out. Each image is looked at once more before its removal, by the rules that made the plan, and
// where the runtime has a way back, after it too. on, if set, hears of each image as it is done. The steps come back
// even with an error, which says why the rest was not tried.
func (n *Node) Act(ctx context.Context, p plan.Plan, on func(session.Step)) (session.Result, error) {
	return n.act(ctx, p, errand{disk: n.disk}, on)
}

// errand is how a plan is carried out that nobody looks at in between.
type errand struct {
	// disk is how full it is before anything goes.
	disk func(context.Context) plan.Disk
	// frees is what the removal of the image with an id frees, where the plan does not tell; nil: it does.
	frees func(id string) int64
	// first is a batch that was opened before the plan was made; nil: none was.
	first engine.Batch
	// going, if set, hears that the names of a batch begin to go.
	going func()
}

func (e errand) tellGoing() {
	if e.going != nil {
		e.going()
	}
}

// act is Act as an errand.
func (n *Node) act(ctx context.Context, p plan.Plan, e errand, on func(session.Step)) (session.Result, error) {
	var result session.Result
	report := func(step session.Step) {
		if e.frees != nil && step.State == session.StateRemoved {
			step.Bytes = e.frees(step.ID)
		}
		result.Steps = append(result.Steps, step)
		if on != nil {
			on(step)
		}
	}
	for _, name := range p.Absent {
		report(session.Step{Asked: name, State: session.StateAbsent, Message: "not on this node"})
	}
	for _, kept := range p.Keep {
		if kept.Reason != plan.ReasonNotSelected {
			report(keptStep(kept))
		}
	}
	if len(p.Remove) == 0 {
		return result, closeBatch(ctx, e.first)
	}
	result.DiskBefore = e.disk(ctx)
	err := n.removeAll(ctx, p, e, report)
	result.DiskAfter = n.disk(context.WithoutCancel(ctx))
	if result.DiskBefore.Capacity > 0 && result.DiskAfter.Capacity > 0 {
		freed := max(0, result.DiskBefore.Used-result.DiskAfter.Used)
		result.FreedBytes = &freed
	}
	return result, err
}

func keptStep(k plan.Kept) session.Step {
	return session.Step{Asked: plan.Title(k.Image), State: session.StateKept, ID: k.Image.ID, Names: texts(k.Image.Tags),
		Reason: string(k.Reason), Message: k.Message}
}

func removedStep(r plan.Removal) session.Step {
	return session.Step{Asked: plan.Title(r.Image), State: session.StateRemoved, ID: r.Image.ID, Names: r.Names(), Bytes: r.FreesBytes}
}

func texts(names []oci.Ref) []string {
	var all []string
	for _, name := range names {
		all = append(all, name.String())
	}
	return all
}
