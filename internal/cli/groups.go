// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import "orlop.dev/orlop/internal/fleet"

// group is names, mostly of nodes, of which the same is said.
type group[T comparable] struct {
	said  T
	names []string
}

// groups puts names together by what is said of them, in the order of its first mention.
type groups[T comparable] struct {
	all []group[T]
	at  map[T]int
}

func (g *groups[T]) add(said T, name string) {
	i, known := g.at[said]
	if !known {
		if g.at == nil {
			g.at = map[T]int{}
		}
		i = len(g.all)
		g.at[said] = i
		g.all = append(g.all, group[T]{said: said})
	}
	g.all[i].names = append(g.all[i].names, name)
}

// grouped collects what is said of each node.
func grouped(outcomes []fleet.Outcome, say func(o fleet.Outcome, add func(string))) []group[string] {
	var found groups[string]
	for _, o := range outcomes {
		say(o, func(text string) { found.add(text, o.Node.Name) })
	}
	return found.all
}
