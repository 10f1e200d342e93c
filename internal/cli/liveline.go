// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// liveLine shows how far something is: on a terminal a line that is drawn over, else a line whenever it has changed.
type liveLine struct {
	to    io.Writer
	begun time.Time
	width int // 0: no terminal

	mu   sync.Mutex
	text string
	stop chan struct{}
	done sync.WaitGroup
}

// start lets the time go on in the line.
func (l *liveLine) start() {
	l.stop = make(chan struct{})
	l.done.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				l.mu.Lock()
				l.draw()
				l.mu.Unlock()
			case <-l.stop:
				return
			}
		}
	})
}

func (l *liveLine) show(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if text == l.text {
		return
	}
	l.text = text
	if l.width > 0 {
		l.draw()
		return
	}
	fmt.Fprintln(l.to, text)
}

// draw writes the line over what it was. The lock is held.
func (l *liveLine) draw() {
	line := []rune(l.text + "  " + time.Since(l.begun).Round(time.Second).String())
	if l.text == "" {
		return
	}
	fmt.Fprintf(l.to, "\r%s\x1b[K", string(line[:min(len(line), l.width-1)]))
}

// close takes the line away: what follows has all of it.
func (l *liveLine) close() {
	if l.stop == nil {
		return
	}
	close(l.stop)
	l.done.Wait()
	l.stop = nil
	fmt.Fprint(l.to, "\r\x1b[K")
}
