// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package nodejob

import (
	"cmp"

	"orlop.dev/orlop/api/v1alpha1"
)

// count sorts the nodes by what they mean to the job. eligible tells which of those that were never asked may still be.
func (d *decision) count(eligible func(*member) bool) {
	for i := range d.members {
		m, r := &d.members[i], d.readings[i]
		if !m.begun() && !eligible(m) || !d.counts(m, r) {
			continue
		}
		d.counted[i] = true
		d.desired++
		switch r.stage {
		case stageSucceeded:
			d.succeeded++
		case stageFailed:
			d.fail(m.name, r.why)
		case stageActive:
			d.wait(m)
		case stageWaiting, stageEnded:
			d.line(i)
		case stageUnplanned:
			d.skip(m.name, unplanned)
		}
	}
}

// counts: of nodes that are not chosen any more those that have done it do, and a taint does not undo what was begun.
func (d *decision) counts(m *member, r reading) bool {
	switch {
	case m.chosen && m.barred == "":
		return true
	case m.chosen && m.begun():
		return true
	case m.named && !m.begun():
		return true // Not to be passed over in silence.
	}
	return r.stage == stageSucceeded
}

// wait counts a node at work. One that is away gives its turn back, after a while.
func (d *decision) wait(m *member) {
	switch {
	case m.away.reason == "":
	case !d.now.Before(m.patience):
		d.skip(m.name, m.away)
		return
	default:
		d.at(m.patience)
	}
	d.active++
}

// line puts a node in the line of those that could be asked now.
func (d *decision) line(i int) {
	m := &d.members[i]
	switch {
	case !m.chosen || m.barred != "" && !m.begun():
		d.skip(m.name, word{v1alpha1.ReasonNotChosen, cmp.Or(m.barred, "nodeSelector or affinity do not choose this node")})
	case m.away.reason != "":
		d.skip(m.name, m.away)
	case d.status.Planned && !d.job.Spec.DryRun && m.asked == nil:
		d.skip(m.name, unplanned)
	default:
		d.pending = append(d.pending, i)
	}
}

var unplanned = word{v1alpha1.ReasonNotPlanned, "This node made no plan when the others did, so nothing is carried out on it"}

func (d *decision) skip(node string, why word) {
	d.status.Skipped++
	d.skipped = append(d.skipped, v1alpha1.NodeJobFailure{Node: node, Reason: why.reason, Message: why.message})
}

func (d *decision) fail(node string, why word) {
	d.failed++
	d.failures = append(d.failures, v1alpha1.NodeJobFailure{Node: node, Reason: cmp.Or(why.reason, v1alpha1.ReasonNodeFailed), Message: why.message})
}
