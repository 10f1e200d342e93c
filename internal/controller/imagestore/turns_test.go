// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagestore

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// one slot with limit 2 unless a step says otherwise.
func TestTurns(t *testing.T) {
	type step struct {
		node  string
		need  need
		gone  bool
		after time.Duration
		limit int
		want  bool
		wake  string
		due   time.Duration // from now
	}
	for name, steps := range map[string][]step{
		"as many as may": {
			{node: "a", need: needsTurn, want: true}, {node: "b", need: needsTurn, want: true}, {node: "c", need: needsTurn},
			{node: "a", need: hasTurn, want: true},
		},
		"given back when done": {
			{node: "a", need: needsTurn, want: true}, {node: "b", need: needsTurn, want: true}, {node: "c", need: needsTurn}, {node: "d", need: needsTurn},
			{node: "a", need: needsNone, wake: "c"}, {node: "c", need: needsTurn, want: true}, {node: "d", need: needsTurn},
		},
		"given back when the node goes": {
			{node: "a", need: needsTurn, want: true}, {node: "b", need: needsTurn, want: true}, {node: "c", need: needsTurn},
			{node: "a", gone: true, wake: "c"}, {node: "c", need: needsTurn, want: true},
		},
		"one that waits goes": {
			{node: "a", need: needsTurn, want: true}, {node: "b", need: needsTurn, want: true}, {node: "c", need: needsTurn}, {node: "d", need: needsTurn},
			{node: "a", need: needsNone, wake: "c"}, {node: "c", need: needsNone, wake: "d"},
		},
		"stays until the store shows it": {
			{node: "a", need: needsTurn, want: true}, {node: "a", need: needsTurn, want: true}, {node: "b", need: needsTurn, want: true}, {node: "c", need: needsTurn},
		},
		"more have it than may": {
			{node: "a", need: hasTurn, want: true}, {node: "b", need: hasTurn, want: true}, {node: "c", need: hasTurn, want: true}, {node: "d", need: needsTurn},
			{node: "a", need: needsNone}, {node: "b", need: needsNone, wake: "d"},
		},
		"a limit that grows": {
			{node: "a", need: needsTurn, limit: 1, want: true}, {node: "b", need: needsTurn, limit: 1}, {node: "c", need: needsTurn, limit: 1},
			{node: "a", need: hasTurn, limit: 3, want: true, wake: "b c"},
		},
		"failing while nobody waits": {
			{node: "a", need: needsTurn, want: true}, {node: "a", need: failsInTurn, want: true}, {node: "b", need: needsTurn, want: true},
		},
		"failing while another waits": {
			{node: "a", need: needsTurn, want: true}, {node: "b", need: needsTurn, want: true}, {node: "c", need: needsTurn},
			{node: "a", need: failsInTurn, wake: "c"}, {node: "c", need: needsTurn, want: true}, {node: "a", need: needsTurn},
		},
		"one comes while another fails": {
			{node: "a", need: needsTurn, want: true}, {node: "b", need: needsTurn, want: true}, {node: "a", need: failsInTurn, want: true},
			{node: "c", need: needsTurn, wake: "a"}, {node: "a", need: failsInTurn, wake: "c"}, {node: "c", need: needsTurn, want: true},
		},
		"everybody fails, and has had its try": {
			{node: "a", need: needsTurn, limit: 1, want: true}, {node: "b", need: needsTurn, limit: 1},
			{node: "a", need: failsInTurn, limit: 1, wake: "b"}, {node: "b", need: needsTurn, limit: 1, want: true},
			{node: "b", need: failsInTurn, limit: 1, after: time.Minute, want: true, due: again - time.Minute}, {node: "a", need: needsTurn, limit: 1},
			{node: "b", need: failsInTurn, limit: 1, after: again - time.Minute, wake: "a"}, {node: "a", need: needsTurn, limit: 1, want: true},
		},
		"one that has failed takes what is free": {
			{node: "a", need: needsTurn, limit: 1, want: true}, {node: "b", need: needsTurn, limit: 1}, {node: "a", need: failsInTurn, limit: 1, wake: "b"},
			{node: "b", need: needsTurn, limit: 1, want: true}, {node: "b", need: needsNone, limit: 1, wake: "a"}, {node: "a", need: needsTurn, limit: 1, want: true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			table, now := newTurns(), time.Unix(0, 0)
			for i, s := range steps {
				now = now.Add(s.after)
				limit := s.limit
				if limit == 0 {
					limit = 2
				}
				asks := []ask{{slot: "s", need: s.need, limit: func(int) int { return limit }}}
				if s.gone {
					asks = nil
				}
				granted, wake, due := table.Update(s.node, asks, now)
				if granted["s"] != s.want || strings.Join(wake, " ") != s.wake {
					t.Fatalf("step %d, %s: granted %v, wakes %q; want %v, %q", i, s.node, granted["s"], wake, s.want, s.wake)
				}
				if want := now.Add(s.due); (s.due == 0) != due.IsZero() || s.due > 0 && !due.Equal(want) {
					t.Fatalf("step %d, %s: must ask again at %v, want %v", i, s.node, due, want)
				}
			}
		})
	}
}

// Whatever the order, all nodes get their turn, and never more than may at once.
func TestEveryNodeGetsItsTurn(t *testing.T) {
	const nodes, share = 200, 10 // percent
	table, now := newTurns(), time.Unix(0, 0)
	limit := func(n int) int { return max(1, n*share/100) }
	ask1 := func(n need) []ask { return []ask{{slot: "s", need: n, limit: limit}} }
	var queue, pulling []string
	for i := range nodes {
		name := fmt.Sprint(i)
		table.Update(name, ask1(needsNone), now)
		queue = append(queue, name)
	}
	done := 0
	for len(queue) > 0 || len(pulling) > 0 {
		if len(queue) == 0 || len(pulling) == nodes*share/100 && done%3 == 0 {
			_, wake, _ := table.Update(pulling[0], ask1(needsNone), now)
			pulling, queue = pulling[1:], append(queue, wake...)
			done++
			continue
		}
		node := queue[0]
		queue = queue[1:]
		if slices.Contains(pulling, node) {
			continue
		}
		granted, wake, _ := table.Update(node, ask1(needsTurn), now)
		queue = append(queue, wake...)
		if granted["s"] {
			pulling = append(pulling, node)
		} else if len(pulling) == nodes*share/100 {
			done++ // Time goes on: somebody finishes.
			_, wake, _ := table.Update(pulling[0], ask1(needsNone), now)
			pulling, queue = pulling[1:], append(queue, wake...)
		}
		if len(pulling) > nodes*share/100 {
			t.Fatalf("%d nodes pull at once", len(pulling))
		}
	}
	if held := table.slots["s"]; len(held.holders) != 0 || len(held.waiting) != 0 || len(held.members) != nodes {
		t.Errorf("%d hold, %d wait, of %d", len(held.holders), len(held.waiting), len(held.members))
	}
	for i := range nodes {
		table.Update(fmt.Sprint(i), nil, now)
	}
	if len(table.slots) != 0 || len(table.in) != 0 {
		t.Errorf("%d slots and %d nodes are left", len(table.slots), len(table.in))
	}
}
