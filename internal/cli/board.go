// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/fleet"
	"orlop.dev/orlop/internal/session"
	"orlop.dev/orlop/internal/table"
	"orlop.dev/orlop/internal/tell"
	"orlop.dev/orlop/internal/term"
)

// progressModes are how a command under way shows itself.
var progressModes = []string{"auto", "tty", "plain", "json", "none"}

// board shows on standard error how far each node is: a line for each that is drawn over on a terminal, else a line for
// each thing that has happened.
type board struct {
	to    io.Writer
	mode  string
	start time.Time

	mu     sync.Mutex
	nodes  []string
	lines  map[string]*boardLine
	drawn  int // lines on the screen
	paused bool

	stop chan struct{}
	done sync.WaitGroup
}

// boardLine is one node.
type boardLine struct {
	state    string
	furthest string // phase that has been told
	note     string
	progress session.Progress
	samples  []sample
	steps    int
	over     bool
}

// sample is what was done at a moment, for the rate.
type sample struct {
	at   time.Time
	done int64
}

const (
	// redrawEvery is how often a terminal is drawn: the eye sees no more, and 100 nodes say more.
	redrawEvery = 150 * time.Millisecond
	// rateOver is the time over which a rate is taken.
	rateOver = 5 * time.Second
)

// phases are what a node may say that it is at, in their order.
var phases = []string{"waiting", "started", string(engine.PhaseResolving), string(engine.PhaseDownloading), string(engine.PhaseUnpacking)}

func (a *app) newBoard(mode string, nodes []fleet.Node) *board {
	if mode == "auto" {
		mode = "plain"
		if term.IsTerminal(a.Err) {
			mode = "tty"
		}
	}
	b := &board{to: a.Err, mode: mode, start: time.Now(), lines: map[string]*boardLine{}, stop: make(chan struct{})}
	for _, node := range nodes {
		b.nodes = append(b.nodes, node.Name)
		b.lines[node.Name] = &boardLine{state: "waiting"}
	}
	if mode == "tty" {
		b.done.Go(b.redraw)
	}
	return b
}

func (b *board) redraw() {
	tick := time.NewTicker(redrawEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			b.mu.Lock()
			b.draw()
			b.mu.Unlock()
		case <-b.stop:
			return
		}
	}
}

// close takes the picture away: the answer that follows has all of it.
func (b *board) close() {
	close(b.stop)
	b.done.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.erase()
}

// above writes a line that stays, above the picture.
func (b *board) above(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.erase()
	fmt.Fprint(b.to, text)
}

// say writes lines to standard error: above the board, while one stands.
func (a *app) say(format string, args ...any) {
	first, rest, _ := strings.Cut(fmt.Sprintf(format, args...), "\n") // What follows the sentence is to be copied, and stays whole.
	text := table.Wrap(first, term.Width(a.Err, 0), 2) + "\n" + rest
	if a.standing != nil {
		a.standing.above(text)
		return
	}
	fmt.Fprint(a.Err, text)
}

// pause takes the picture away, to make room for a question, until resume.
func (b *board) pause() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.erase()
	b.paused = true
}

// resume shows the picture again; without more, it stays away.
func (b *board) resume(more bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.paused = !more
}

func (b *board) heard(node fleet.Node, m session.Message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mode == "json" {
		b.event(map[string]any{"node": node.Name, "message": m})
		return
	}
	line := b.lines[node.Name]
	before := line.furthest
	switch {
	case m.Started != nil:
		line.state = "started"
	case m.Plan != nil:
		line.state = "planned"
	case m.Progress != nil:
		line.take(*m.Progress, time.Now())
	case m.Step != nil:
		if m.Step.State != session.StateKept && m.Step.State != session.StateAbsent && !brokenOff(*m.Step) { // These are told together, at the end.
			b.step(node.Name, *m.Step)
		}
		return
	}
	if m.Progress != nil && slices.Index(phases, line.state) > slices.Index(phases, before) { // With several images it goes to and fro.
		line.furthest = line.state
		text := line.state
		if line.progress.Total > 0 {
			text += " " + amount(line.progress)
		}
		b.say(node.Name, text)
	}
}

// step says that the work on one image has ended; where a table of the images follows, only how many have.
func (b *board) step(node string, step session.Step) {
	line := b.lines[node]
	line.steps++
	if b.mode != "brief" {
		b.say(node, tell.Step(step))
	} else if n := line.progress.Images; n > 1 {
		b.say(node, fmt.Sprintf("%d of %d images done", line.steps, n))
	}
}

// ended notes how it ended with a node.
func (b *board) ended(o fleet.Outcome) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mode == "json" {
		b.event(map[string]any{"node": o.Node.Name, "state": o.State, "trouble": o.Trouble})
		return
	}
	line := b.lines[o.Node.Name]
	line.over, line.state = true, nodeWord(o)
	if o.Trouble != nil {
		line.note = o.Trouble.Message
		text := line.state
		if o.Trouble.Reason == "" || !saysAll(o.State) {
			text += ": " + cmp.Or(o.Trouble.Reason, o.Trouble.Message) // Its words follow, once for all nodes.
		}
		b.say(o.Node.Name, text)
	}
}

func (b *board) event(fields map[string]any) {
	if text, err := json.Marshal(fields); err == nil {
		fmt.Fprintf(b.to, "%s\n", text)
	}
}

// say writes one line that stays, where nothing is drawn over.
func (b *board) say(node, text string) {
	if b.mode == "plain" || b.mode == "brief" {
		fmt.Fprintf(b.to, "%s │ %s\n", node, text)
	}
}

func (l *boardLine) take(p session.Progress, now time.Time) {
	l.state, l.progress = cmp.Or(string(p.Phase), l.state), p
	l.samples = append(l.samples, sample{now, p.Done})
	for len(l.samples) > 2 && now.Sub(l.samples[0].at) > rateOver {
		l.samples = l.samples[1:]
	}
}

// rate is in bytes a second; 0 is unknown.
func (l *boardLine) rate() float64 {
	if len(l.samples) < 2 || l.over {
		return 0
	}
	first, last := l.samples[0], l.samples[len(l.samples)-1]
	if took := last.at.Sub(first.at).Seconds(); took > 0 {
		return max(0, float64(last.done-first.done)/took)
	}
	return 0
}

func amount(p session.Progress) string { return table.Size(p.Done) + " of " + table.Size(p.Total) }

// nodeWord is how it ended with a node, in a word.
func nodeWord(o fleet.Outcome) string {
	switch o.State {
	case fleet.StateDone:
		for _, step := range stepsOf(o) {
			if step.State == session.StateFailed {
				return "failed"
			}
		}
		return "done"
	case fleet.StateTimedOut:
		return "timed out"
	default:
		return strings.ToLower(string(o.State))
	}
}

// saysAll reports whether the reason of a trouble would only repeat the state.
func saysAll(s fleet.State) bool {
	return s == fleet.StateTimedOut || s == fleet.StateInterrupted || s == fleet.StateLost
}

// brokenOff reports whether an image only failed because the whole was ended: that is told of the node.
func brokenOff(step session.Step) bool {
	return step.State == session.StateFailed && strings.HasSuffix(step.Message, context.Canceled.Error())
}

// stepsOf are a node's steps: those of its result, which has them all, else those that were heard. Where the work was
// broken off, what failed by that is left out: it says only that.
func stepsOf(o fleet.Outcome) []session.Step {
	steps := o.Steps
	if o.Result != nil && len(o.Result.Steps) >= len(o.Steps) {
		steps = o.Result.Steps
	}
	if o.State == fleet.StateInterrupted || o.State == fleet.StateTimedOut {
		steps = slices.DeleteFunc(slices.Clone(steps), brokenOff)
	}
	return steps
}
