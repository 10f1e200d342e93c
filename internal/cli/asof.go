// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"math"
	"time"

	"orlop.dev/orlop/internal/fleet"
	"orlop.dev/orlop/internal/table"
)

const (
	// usesWritten is how long agents gather news that only tell what uses an image. An inventory as old as that has none to tell.
	usesWritten = 10 * time.Minute
	// newEnough is not worth a word.
	newEnough = time.Minute
)

// tellAge says how old the oldest of the inventories is that were read, of those younger than limit, if anybody may care.
func (a *app) tellAge(outcomes []fleet.Outcome, what string, limit time.Duration, now time.Time) {
	oldest, node := time.Duration(0), ""
	for _, o := range outcomes {
		if age := now.Sub(o.Observed); !o.Observed.IsZero() && age < limit && age > oldest {
			oldest, node = age, o.Node.Name
		}
	}
	if oldest >= newEnough {
		sentence(a.Err, 2, "%s up to %s old (%s); --ephemeral asks the nodes now.", what, table.Age(now.Add(-oldest), now), node)
	}
}

// anyAge is a limit for tellAge.
const anyAge = time.Duration(math.MaxInt64)
