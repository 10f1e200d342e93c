// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"strings"

	"orlop.dev/orlop/internal/fleet"
	"orlop.dev/orlop/internal/plan"
	"orlop.dev/orlop/internal/session"
)

// tally counts what was done.
type tally struct {
	removed, spared, failed int
	freed                   int64
	measured                bool
	unsettled               bool // more may be gone than is counted
}

func tallyOf(o fleet.Outcome, failures *failures) tally {
	c := tally{unsettled: o.Unsettled()}
	for _, step := range stepsOf(o) {
		switch step.State {
		case session.StateRemoved:
			c.removed++
		case session.StateKept:
			if plan.Reason(step.Reason).Protects() {
				c.spared++
			}
		case session.StateFailed:
			c.failed++
			failures.add(o.Node.Name, step)
		default: // Absent: there was nothing to do.
		}
	}
	// What the disk has more room of is another's doing where nothing was done here.
	if o.Result != nil && o.Result.FreedBytes != nil && (c.removed+c.failed > 0 || c.unsettled) {
		c.freed, c.measured = *o.Result.FreedBytes, true
	}
	return c
}

// elsewhere is what was gone already when its turn came.
func elsewhere(o fleet.Outcome, add func(string)) {
	for _, step := range stepsOf(o) {
		if step.State == session.StateAbsent && step.ID != "" { // Else it was not there when the plan was made.
			add(step.Asked)
		}
	}
}

func (t *tally) add(c tally) {
	t.removed, t.spared, t.failed = t.removed+c.removed, t.spared+c.spared, t.failed+c.failed
	t.freed, t.measured = t.freed+c.freed, t.measured || c.measured
	t.unsettled = t.unsettled || c.unsettled
}

// removedText is a count, or what is known of it.
func (t tally) removedText() string {
	switch {
	case t.unsettled && t.removed == 0:
		return "?"
	case t.unsettled:
		return fmt.Sprintf("≥ %d", t.removed)
	}
	return fmt.Sprint(t.removed)
}

func (t tally) freedText(text func(int64) string) string {
	if !t.measured {
		if t.removed == 0 && !t.unsettled {
			return text(0)
		}
		return "?"
	}
	return text(t.freed)
}

func diskChange(o fleet.Outcome) string {
	if o.Result == nil || o.Result.DiskAfter.Capacity == 0 || o.Result.DiskBefore.Capacity == 0 {
		return ""
	}
	return fmt.Sprintf("%.0f %% → %.0f %%", o.Result.DiskBefore.Percent(), o.Result.DiskAfter.Percent())
}

// sum tells what was done on all nodes together, and where that is not known to the end.
func (r *removal) sum(c tally, outcomes []fleet.Outcome) {
	var unsettled []string
	for _, o := range outcomes {
		if o.Unsettled() {
			unsettled = append(unsettled, o.Node.Name)
		}
	}
	least := ""
	if len(unsettled) > 0 {
		least = "at least "
	}
	mark := "-" // Nothing that was asked for has happened, and it is no failure.
	switch {
	case c.failed > 0:
		mark = r.paint.bad("✗")
	case c.removed > 0:
		mark = r.paint.good()
	}
	sentence(r.Err, 2, "%s %s%s removed, %s freed (measured), %d spared, %d failed on %s.", mark, least, count(c.removed, "image"), c.freedText(r.output.told), c.spared, c.failed, count(len(outcomes), "node"))
	if len(unsettled) > 0 {
		look := r.commandLine("list", "--node", strings.Join(unsettled, ","))
		fmt.Fprintf(r.Err, "%s not everything that was removed on %s is known\n  see: %s\n", r.paint.warn(), some(unsettled), look)
	}
}
