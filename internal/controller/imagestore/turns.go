// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagestore

import (
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"orlop.dev/orlop/internal/oci"
)

// need is what a node needs of a slot.
type need int

const (
	needsNone   need = iota // it is counted, and no more
	needsTurn               // it could start
	hasTurn                 // it was let start
	failsInTurn             // it was let start, and waits for its next attempt
)

// ask is what a node needs of one slot. Of so many nodes, limit says how many may have a turn.
type ask struct {
	slot  string
	need  need
	limit func(nodes int) int
	// tries is how many nodes give their turn back within again because they fail; 0: all do.
	tries int
}

func cacheSlot(key types.NamespacedName) string { return "cache " + key.String() }
func scoutSlot(ref oci.Ref) string              { return "scout " + ref.String() }

// again is how long a node that failed in its turn leaves the turns of other failing nodes to those that have not tried. With
// everything failing everywhere each node then has its try, and the writes that cost are spread.
const again = 5 * time.Minute

// turns says which nodes may pull. Who has a turn can be read off the stores, so that nothing is lost with it; who waits comes by
// itself.
type turns struct {
	mu    sync.Mutex
	slots map[string]*slot
	// in are the slots of a node.
	in map[string]map[string]bool
}

type slot struct {
	limit   func(int) int
	members map[string]bool
	// holders have a turn; true: it fails.
	holders map[string]bool
	// waiting is in the order of arrival; spent is when a node that has failed gave its turn back.
	waiting []string
	spent   map[string]time.Time
	tries   int // as in the asks
}

func newTurns() *turns { return &turns{slots: map[string]*slot{}, in: map[string]map[string]bool{}} }

// Update says all that a node asks for, and learns which slots it has a turn of, which nodes must ask again, and when this one must,
// though nothing happens until then; zero: never.
func (t *turns) Update(node string, asks []ask, now time.Time) (granted map[string]bool, wake []string, due time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	granted = map[string]bool{}
	before := t.in[node]
	t.in[node] = map[string]bool{}
	for _, a := range asks {
		s := t.slots[a.slot]
		if s == nil {
			s = &slot{members: map[string]bool{}, holders: map[string]bool{}, spent: map[string]time.Time{}}
			t.slots[a.slot] = s
		}
		t.in[node][a.slot] = true
		s.limit = a.limit
		s.members[node] = true
		granted[a.slot] = s.ask(node, a, now)
		wake = append(wake, s.wake(node, now)...)
		if at := s.due(node, now); !at.IsZero() && (due.IsZero() || at.Before(due)) {
			due = at
		}
	}
	for name := range before {
		if t.in[node][name] {
			continue
		}
		s := t.slots[name]
		s.leave(node)
		wake = append(wake, s.wake(node, now)...)
		if len(s.members) == 0 {
			delete(t.slots, name)
		}
	}
	if len(asks) == 0 {
		delete(t.in, node)
	}
	slices.Sort(wake)
	return granted, slices.Compact(wake), due
}

func (s *slot) ask(node string, a ask, now time.Time) bool {
	failing, has := s.holders[node]
	s.tries = a.tries
	switch n := a.need; {
	case n == needsNone:
		s.drop(node)
		delete(s.spent, node)
		return false
	case n == failsInTurn && s.next(node, now) != "":
		s.drop(node)
		s.spent[node] = now
		s.waiting = append(s.waiting, node)
		return false
	case n == failsInTurn || n == hasTurn:
		s.take(node, n == failsInTurn)
		return true
	case has:
		// It got the turn, and its store does not show it yet.
		s.take(node, failing)
		return true
	case len(s.holders) < s.limit(len(s.members)):
		s.take(node, false)
		return true
	}
	if !slices.Contains(s.waiting, node) {
		s.waiting = append(s.waiting, node)
	}
	return false
}

func (s *slot) take(node string, failing bool) {
	s.drop(node)
	s.holders[node] = failing
}

func (s *slot) drop(node string) {
	delete(s.holders, node)
	s.waiting = slices.DeleteFunc(s.waiting, func(n string) bool { return n == node })
}

func (s *slot) leave(node string) {
	s.drop(node)
	delete(s.members, node)
	delete(s.spent, node)
}

// next is the first node that waits, and has not failed just now.
func (s *slot) next(besides string, now time.Time) string {
	tried := 0
	for _, spent := range s.spent {
		if now.Sub(spent) < again {
			tried++
		}
	}
	if s.tries > 0 && tried+1 >= s.tries {
		return ""
	}
	for _, node := range s.waiting {
		if spent, ok := s.spent[node]; node != besides && (!ok || now.Sub(spent) >= again) {
			return node
		}
	}
	return ""
}

// due is when a node that fails in its turn could give it to one that has failed before and waits for another try; zero: there is none.
func (s *slot) due(node string, now time.Time) (first time.Time) {
	if !s.holders[node] || len(s.waiting) == 0 {
		return time.Time{}
	}
	for _, spent := range s.spent {
		if at := spent.Add(again); at.After(now) && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	return first
}

// wake are the nodes that must ask again: as many of those that wait as there are turns left; or, if there are none, one that
// fails in its turn and would give it to one that waits.
func (s *slot) wake(besides string, now time.Time) []string {
	if len(s.waiting) == 0 {
		return nil
	}
	free := s.limit(len(s.members)) - len(s.holders)
	if free > 0 {
		others := slices.DeleteFunc(slices.Clone(s.waiting), func(n string) bool { return n == besides })
		return others[:min(free, len(others))]
	}
	if s.next("", now) == "" {
		return nil
	}
	for _, node := range slices.Sorted(maps.Keys(s.holders)) {
		if s.holders[node] && node != besides {
			return []string{node}
		}
	}
	return nil
}
