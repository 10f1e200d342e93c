// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"time"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/plan"
	"orlop.dev/orlop/internal/session"
)

// State is how it ended with one node.
type State string

// The states.
const (
	StateDone        State = "Done"        // it did what was asked, and answered; single images may have failed
	StateFailed      State = "Failed"      // it could not do what was asked
	StateSkipped     State = "Skipped"     // it was not asked at all, or showed its plan too late
	StateLost        State = "Lost"        // it began, and was not heard to the end
	StateDeclined    State = "Declined"    // it showed its plan, and was not told to go on
	StateTimedOut    State = "TimedOut"    // the time given was over
	StateInterrupted State = "Interrupted" // whoever asked ended it
)

// The reasons of our own, beside those of engine.
const (
	ReasonNotReady    = "NotReady"
	ReasonUnsupported = "Unsupported"
	ReasonNodeImage   = "NodeImage"   // the node image cannot be pulled
	ReasonForbidden   = "Forbidden"   // a right is missing
	ReasonRefused     = "Refused"     // the API server's admission refused the pod
	ReasonRejected    = "Rejected"    // the kubelet refused the pod, or evicted it
	ReasonNoPodSlot   = "NoPodSlot"   // under pressure, and only another pod's place could be had
	ReasonNoSocket    = "NoSocket"    // no usual place has a runtime's socket
	ReasonSilent      = "Silent"      // nothing was heard of the kubelet, or of our pod
	ReasonLost        = "Lost"        // the connection to our pod broke
	ReasonCrashed     = "Crashed"     // our pod ended before its answer
	ReasonOutOfMemory = "OutOfMemory" // our pod was killed: it ran out of memory
	ReasonAPI         = "APIError"    // the API server answered with an error
	ReasonLate        = "Late"        // it showed no plan while the others waited
	ReasonTimeout     = "Timeout"
	ReasonInterrupted = "Interrupted"
)

// Trouble is why something could not be done: a word to group by, the words to read, and what may help.
type Trouble struct {
	Reason  string `json:"reason"`
	Message string `json:"message"`
	Advice  string `json:"advice,omitempty"`
}

func (t *Trouble) Error() string { return t.Message }

// Outcome is all that is known of one node at the end.
type Outcome struct {
	Node  Node
	State State
	// Trouble is set unless State is Done or Declined.
	Trouble *Trouble
	// Socket is the place on the node where the runtime's socket was.
	Socket string

	Started *engine.Description
	Plan    *plan.Plan
	// Proceeded: it was told to carry its plan out.
	Proceeded bool
	// Steps are those that were heard, also where no Result came.
	Steps  []session.Step
	Result *session.Result
	// Observed is when an agent looked whose inventory this is; zero: the node was asked just now.
	Observed time.Time
}

// Unsettled reports whether it was told to remove, and was not heard to the end, so that what is gone there is not known.
func (o Outcome) Unsettled() bool {
	return o.Proceeded && o.Result == nil && o.Plan != nil && len(o.Plan.Remove) > 0
}

// Fail counts an outcome that stands for a node without its whole answer.
func (o Outcome) Fail() bool { return o.State != StateDone && o.State != StateDeclined }
