// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// lateAfter is how long the question waits for further plans, when at least half of the nodes that can still show one
// have: as long as some come, and not for one that is stuck.
const lateAfter = 30 * time.Second

// standing is where a node stands towards the question.
type standing int

const (
	standsOpen standing = iota // it has neither shown a plan nor ended
	standsPlanned
	standsEnded
)

// awaitPlans returns when the question is to be put.
func (r *run) awaitPlans() {
	quiet := time.NewTimer(lateAfter)
	defer quiet.Stop()
	for {
		r.mu.Lock()
		open, planned := r.open, r.planned
		r.mu.Unlock()
		if open == 0 {
			return
		}
		quiet.Stop()
		if planned > 0 && planned >= open {
			quiet.Reset(lateAfter)
		}
		select {
		case <-r.moved:
		case <-quiet.C:
			return
		}
	}
}

// decide asks for the yes, and leaves out who has shown no plan.
func (r *run) decide(ctx context.Context) {
	defer close(r.decided)
	plans := r.close()
	if ctx.Err() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, confirmTimeout)
	defer cancel()
	r.yes = r.job.Confirm(ctx, plans)
}

// close gives the plans that the question is about. From here on no other is taken.
func (r *run) close() []Outcome {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.asked)
	plans := slices.Clone(r.outcomes)
	for i := range plans {
		if plans[i].Plan == nil && plans[i].State == "" {
			plans[i].State, plans[i].Trouble = StateSkipped, late("")
		}
	}
	return plans
}

// late is the trouble of a node that was left out of the question.
func late(warning string) *Trouble {
	message := fmt.Sprintf("it had made no plan, and was left out %s after the others", lateAfter)
	if warning != "" {
		message += "; the last warning about our pod: " + warning
	}
	return &Trouble{Reason: ReasonLate, Message: message}
}

// hasPlan notes that a node has shown its plan. It reports false when that was too late. The lock is held.
func (r *run) hasPlan(v *visit) bool {
	select {
	case <-r.asked:
		return v.stands == standsPlanned
	default:
	}
	if v.stands == standsOpen {
		v.stands = standsPlanned
		r.open--
		r.planned++
		r.move()
	}
	return true
}

// hasEnded notes that nothing more comes from a node. The lock is held.
func (r *run) hasEnded(v *visit) {
	switch v.stands {
	case standsOpen:
		r.open--
	case standsPlanned:
		r.planned--
	case standsEnded:
	}
	v.stands = standsEnded
	r.move()
}

func (r *run) move() {
	select {
	case r.moved <- struct{}{}:
	default:
	}
}
