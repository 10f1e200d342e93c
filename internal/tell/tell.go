// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package tell says what became of one image, in the same words wherever a person reads it.
package tell

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"orlop.dev/orlop/internal/session"
	"orlop.dev/orlop/internal/table"
)

// Step is one image's end in words, with ✔, - or ✗ in front.
func Step(step session.Step) string {
	switch step.State {
	case session.StatePulled:
		if step.TookSeconds == 0 { // An answer of several images has only the time of all.
			return fmt.Sprintf("✔ %s pulled %s %s", step.Asked, table.Size(step.Bytes), table.ID(step.Digest))
		}
		return fmt.Sprintf("✔ %s pulled %s in %s %s", step.Asked, table.Size(step.Bytes), Took(step.Took()), table.ID(step.Digest))
	case session.StatePresent:
		return fmt.Sprintf("✔ %s present %s", step.Asked, table.ID(step.Digest))
	case session.StateRemoved:
		return fmt.Sprintf("✔ %s removed %s", cmp.Or(strings.Join(step.Names, ", "), step.Asked), table.Size(step.Bytes))
	case session.StateFailed:
		return fmt.Sprintf("✗ %s %s: %s", step.Asked, step.Reason, Why(step))
	default: // Kept or absent.
	}
	return fmt.Sprintf("- %s %s: %s", step.Asked, strings.ToLower(string(step.State)), step.Message)
}

// Why is a step's message without the image's name, where that stands beside it already.
func Why(step session.Step) string {
	message := step.Message
	for _, doing := range []string{"pulling ", "removing "} {
		message = strings.TrimPrefix(message, doing+step.Asked+": ")
	}
	return message
}

// Took is how long something took, as exactly as anybody wants to know.
func Took(d time.Duration) string { return d.Round(100 * time.Millisecond).String() }
