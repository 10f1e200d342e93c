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
	until         *stock
	// limit and goal are ratios of the medians; 0: none.
	limit, goal float64
}

// contest runs both ways in turn; which is first changes with each round, since what runs second finds warmer caches.
// One round before the first counts for nothing.
func (b *bench) contest(ctx context.Context, c comparison, rounds int, prepare func(context.Context, int) error, check func(taken) error) (ours, theirs []taken, err error) {
	for round := range rounds + 1 {
		order := []bool{round%2 == 0, round%2 != 0}
		for _, mine := range order {
			argv := c.theirs
			if mine {
				argv = c.ours
			}
			if err := prepare(ctx, round); err != nil {
				return nil, nil, fmt.Errorf("preparing round %d: %w", round, err)
			}
			result, err := b.clock(ctx, task{Argv: argv, Until: c.until})
			if err == nil {
				err = check(result)
			}
			if err != nil {
				return nil, nil, err
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

func last(runs []taken) taken { return runs[len(runs)-1] }

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
