// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"strings"

	"orlop.dev/orlop/internal/fleet"
	"orlop.dev/orlop/internal/term"
)

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
	fmt.Fprintf(r.Err, "%s %s%s removed, %s freed (measured), %d spared, %d failed on %s.\n", mark, least, count(c.removed, "image"), c.freedText(r.output.told), c.spared, c.failed, count(len(outcomes), "node"))
	if len(unsettled) > 0 {
		look := append(strings.Fields(r.program), "list", "--node", strings.Join(unsettled, ","))
		if *r.conn.Context != "" {
			look = append(look, "--context", *r.conn.Context)
		}
		fmt.Fprintf(r.Err, "%s not everything that was removed on %s is known\n  see: %s\n", r.paint.warn(), some(unsettled), term.CommandLine(look...))
	}
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
