// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	xterm "golang.org/x/term"

	"orlop.dev/orlop/internal/term"
)

// prompt reads lines from a terminal, with editing and a history. One reader
// holds standard input all the time, since a read of it cannot be taken back.
type prompt struct {
	lines chan string
	again chan struct{}

	in       *os.File
	restore  *xterm.State
	terminal *xterm.Terminal
	typed    *io.PipeWriter

	mu        sync.Mutex
	interrupt func() // a command runs: Ctrl-C ends it
	kept      []byte // what was typed while a command ran
}

// What a raw terminal sends: Ctrl-C, and Ctrl-U, which takes the line away.
const (
	ctrlC = 3
	ctrlU = 21
)

func newPrompt(s term.Streams, text string) (*prompt, error) {
	in, ok := s.In.(*os.File)
	if !ok {
		return nil, errors.New("standard input is no terminal")
	}
	state, err := xterm.MakeRaw(int(in.Fd()))
	if err != nil {
		return nil, fmt.Errorf("preparing the terminal: %w", err)
	}
	reader, writer := io.Pipe()
	p := &prompt{lines: make(chan string), again: make(chan struct{}), in: in, restore: state, typed: writer}
	p.terminal = xterm.NewTerminal(struct {
		io.Reader
		io.Writer
	}{reader, s.Out}, text)
	// Neither is waited for: a read of standard input cannot be interrupted, and ends with the process.
	go p.read()
	go p.edit()
	return p, nil
}

// read takes what is typed to where it belongs.
func (p *prompt) read() {
	buffer := make([]byte, 1024)
	for {
		n, err := p.in.Read(buffer)
		if n > 0 {
			p.route(append([]byte(nil), buffer[:n]...))
		}
		if err != nil {
			_ = p.typed.CloseWithError(err)
			return
		}
	}
}

func (p *prompt) route(typed []byte) {
	p.mu.Lock()
	if p.interrupt == nil {
		p.mu.Unlock()
		// At the prompt, Ctrl-C begins the line anew, as in any shell. The editor would take it for the end.
		_, _ = p.typed.Write(bytes.ReplaceAll(typed, []byte{ctrlC}, []byte{ctrlU}))
		return
	}
	defer p.mu.Unlock()
	if bytes.IndexByte(typed, ctrlC) >= 0 {
		p.kept = nil
		p.interrupt()
		return
	}
	p.kept = append(p.kept, typed...)
}

// edit makes lines of what is typed, one at a time.
func (p *prompt) edit() {
	defer close(p.lines)
	for {
		line, err := p.terminal.ReadLine()
		if err != nil {
			return
		}
		p.lines <- line
		<-p.again
	}
}

// next asks for the next line.
func (p *prompt) next() { p.again <- struct{}{} }

// Write shows a command's output, as a raw terminal needs it.
func (p *prompt) Write(b []byte) (int, error) { return p.terminal.Write(b) }

// busy is while a command runs: of what is typed only Ctrl-C counts then, and the rest is kept.
func (p *prompt) busy(interrupt func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.interrupt = interrupt
}

// idle ends busy, and gives the prompt what was typed meanwhile.
func (p *prompt) idle() {
	p.mu.Lock()
	kept := p.kept
	p.interrupt, p.kept = nil, nil
	p.mu.Unlock()
	if len(kept) > 0 {
		go func() { _, _ = p.typed.Write(kept) }() // The editor takes it when it asks for the next line, and the process ends with it.
	}
}

func (p *prompt) close() { _ = xterm.Restore(int(p.in.Fd()), p.restore) }
