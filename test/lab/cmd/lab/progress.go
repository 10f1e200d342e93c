// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	lab "orlop.dev/orlop/test/lab"
)

// progress writes a line for everything done; on a terminal the line of what is being done shows its time.
type progress struct {
	mu       sync.Mutex
	terminal bool
	current  lab.Event
	since    time.Time
	stop     chan struct{}
	stopped  sync.WaitGroup
	once     sync.Once
}

func newProgress() *progress {
	_, err := unix.IoctlGetTermios(int(os.Stderr.Fd()), unix.TCGETS)
	p := &progress{terminal: err == nil, stop: make(chan struct{})}
	if p.terminal {
		p.stopped.Go(p.tick)
	}
	return p
}

func (p *progress) tick() {
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-ticker.C:
			p.mu.Lock()
			if p.current.Text != "" {
				fmt.Fprintf(os.Stderr, "\r\033[K%s", line("…", p.current, time.Since(p.since)))
			}
			p.mu.Unlock()
		}
	}
}

func (p *progress) show(e lab.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e.Done {
		p.current = lab.Event{}
		p.print(line("✓", e, e.Elapsed))
		return
	}
	p.current, p.since = e, time.Now()
	if !p.terminal {
		p.print(line("…", e, 0))
	}
}

func (p *progress) say(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.print("✓ " + text)
}

func (p *progress) print(text string) {
	if p.terminal {
		text = "\r\033[K" + text
	}
	fmt.Fprintln(os.Stderr, text)
}

func (p *progress) close() {
	p.once.Do(func() {
		close(p.stop)
		p.stopped.Wait()
	})
}

func line(mark string, e lab.Event, elapsed time.Duration) string {
	text := mark + " "
	if e.Of > 0 {
		text += fmt.Sprintf("[%d/%d] ", e.N, e.Of)
	}
	text += e.Text
	if elapsed > 0 {
		text += fmt.Sprintf("  %.1fs", elapsed.Seconds())
	}
	return text
}
