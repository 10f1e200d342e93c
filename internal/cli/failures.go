// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"slices"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/session"
	"orlop.dev/orlop/internal/tell"
	"orlop.dev/orlop/internal/term"
)

// failures are single images that failed on nodes that answered, grouped by what was said of them.
type failures struct{ groups[failure] }

type failure struct{ asked, reason, message string }

func (f *failures) add(node string, step session.Step) {
	f.groups.add(failure{step.Asked, step.Reason, tell.Why(step)}, node)
}

func (f *failures) any() bool { return len(f.all) > 0 }

// has reports whether an image failed anywhere.
func (f *failures) has(asked string) bool {
	return slices.ContainsFunc(f.all, func(g group[failure]) bool { return g.said.asked == asked })
}

// tell says what failed where, and how to try again there, without the arguments that are done. unauthorized is what
// helps against a missing login.
func (f *failures) tell(a *app, unauthorized string, done ...string) {
	var retry []string
	for _, g := range f.all {
		sentence(a.Err, 4, "  %s: %s%s: %s", some(g.names), g.said.asked, bracketed(g.said.reason, g.said.message), g.said.message)
		if g.said.reason == string(engine.Unauthorized) && unauthorized != "" {
			fmt.Fprintf(a.Err, "    try: %s\n", unauthorized)
		}
		retry = append(retry, g.names...)
	}
	if len(retry) > 0 {
		slices.Sort(retry)
		fmt.Fprintf(a.Err, "  Retry: %s\n", a.again(slices.Compact(retry), done...))
	}
}

// exit makes an exit code of that of the nodes and of the images.
func (f *failures) exit(nodes int) int {
	if nodes == term.ExitOK && f.any() {
		return term.ExitPartial
	}
	return nodes
}
