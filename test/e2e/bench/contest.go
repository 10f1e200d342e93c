// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// comparison is one thing done in two ways.
type comparison struct {
	what, against string
	ours, theirs  []string
	rounds        int
	// prepare is done before each run; nil: nothing.
	prepare func(context.Context) error
	// until is what the node holds when a run is done; nil: a run is done when it has ended.
	until *stock
	// check tells whether a run did what it should; nil: it did.
	check func(taken) error
	// limit and goal are ratios of the medians; 0: none.
	limit, goal float64
}

// contest runs both ways in turn; which is first changes with each round, since what runs second finds warmer caches.
// One round before the first counts for nothing.
func (b *bench) contest(ctx context.Context, c comparison) (ours, theirs []taken, err error) {
	for round := range c.rounds + 1 {
		for _, mine := range []bool{round%2 == 0, round%2 != 0} {
			result, err := b.once(ctx, c, mine)
			if err != nil {
				return nil, nil, fmt.Errorf("round %d: %w", round, err)
			}
			switch {
			case round == 0:
			case mine:
				ours = append(ours, result)
			default:
				theirs = append(theirs, result)
			}
		}
		if round > 0 {
			b.say("round %d: %s %s, %s %s", round, c.what, short(last(ours).Done), c.against, short(last(theirs).Done))
		}
	}
	return ours, theirs, nil
}

func (b *bench) once(ctx context.Context, c comparison, mine bool) (taken, error) {
	argv := c.theirs
	if mine {
		argv = c.ours
	}
	if c.prepare != nil {
		if err := c.prepare(ctx); err != nil {
			return taken{}, fmt.Errorf("preparing: %w", err)
		}
	}
	result, err := b.clock(ctx, task{Argv: argv, Until: c.until})
	if err == nil && c.check != nil {
		err = c.check(result)
	}
	return result, err
}

func last[T any](runs []T) T { return runs[len(runs)-1] }

func short(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
	}
	return fmt.Sprintf("%.2f s", d.Seconds())
}

// sorted are the times of all runs, shortest first.
func sorted(runs []taken) []time.Duration {
	var times []time.Duration
	for _, r := range runs {
		times = append(times, r.Done)
	}
	slices.Sort(times)
	return times
}

func median(runs []taken) time.Duration {
	times := sorted(runs)
	middle := len(times) / 2
	if len(times)%2 == 0 {
		return (times[middle-1] + times[middle]) / 2
	}
	return times[middle]
}

// memory is the largest peak of all runs.
func memory(runs []taken) int64 {
	var most int64
	for _, r := range runs {
		most = max(most, r.RSS)
	}
	return most
}
