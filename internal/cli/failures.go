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
type failures struct {
	order []failure
	nodes map[failure][]string
}

type failure struct{ asked, reason, message string }

func newFailures() *failures { return &failures{nodes: map[failure][]string{}} }

func (f *failures) add(node string, step session.Step) {
	key := failure{step.Asked, step.Reason, tell.Why(step)}
	if f.nodes[key] == nil {
		f.order = append(f.order, key)
	}
	f.nodes[key] = append(f.nodes[key], node)
}

func (f *failures) any() bool { return len(f.order) > 0 }

// has reports whether an image failed anywhere.
func (f *failures) has(asked string) bool {
	return slices.ContainsFunc(f.order, func(one failure) bool { return one.asked == asked })
}

// tell says what failed where, and how to try again there, without the arguments that are done. unauthorized is what
// helps against a missing login.
func (f *failures) tell(a *app, unauthorized string, done ...string) {
	var retry []string
	for _, key := range f.order {
		sentence(a.Err, 4, "  %s: %s%s: %s", some(f.nodes[key]), key.asked, bracketed(key.reason, key.message), key.message)
		if key.reason == string(engine.Unauthorized) && unauthorized != "" {
			fmt.Fprintf(a.Err, "    try: %s\n", unauthorized)
		}
		retry = append(retry, f.nodes[key]...)
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
