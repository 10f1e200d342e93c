// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	xterm "golang.org/x/term"

	"orlop.dev/orlop/internal/term"
)

// prompt reads lines from a terminal, with editing and a history, and lends the terminal to commands in between. One
// reader holds standard input all the time, since a read of it cannot be taken back.
type prompt struct {
	lines chan string
	again chan struct{}

	in       *os.File
	restore  *xterm.State
	terminal *xterm.Terminal
	typed    *io.PipeWriter

	mu        sync.Mutex
	interrupt func()         // a command runs: Ctrl-C ends it
	lent      *io.PipeWriter // where what is typed goes, if the command reads it
	kept      []byte         // what was typed while a command ran that does not read it
}

// ctrlC is what a raw terminal sends for it.
const ctrlC = 3

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
	interrupt, lent := p.interrupt, p.lent
	if interrupt != nil && lent == nil {
		for _, b := range typed {
			if b == ctrlC {
				p.kept = nil
				interrupt()
				p.mu.Unlock()
				return
			}
		}
		p.kept = append(p.kept, typed...)
		p.mu.Unlock()
		return
	}
	p.mu.Unlock()
	if lent != nil {
		_, _ = lent.Write(typed) // A command that has ended takes nothing more.
		return
	}
	_, _ = p.typed.Write(typed)
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

// lend gives the terminal to a command: what is typed is its input, or, if it reads none, only Ctrl-C counts.
func (p *prompt) lend(interrupt func(), input bool) io.Reader {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.interrupt = interrupt
	if !input {
		return nil
	}
	reader, writer := io.Pipe()
	p.lent = writer
	return reader
}

// takeBack ends a command's hold on the terminal, and gives the prompt what was typed meanwhile.
func (p *prompt) takeBack() {
	p.mu.Lock()
	kept, lent := p.kept, p.lent
	p.interrupt, p.lent, p.kept = nil, nil, nil
	p.mu.Unlock()
	if lent != nil {
		_ = lent.Close()
	}
	if len(kept) > 0 {
		go func() { _, _ = p.typed.Write(kept) }() // The editor takes it when it asks for the next line.
	}
}

func (p *prompt) close() { _ = xterm.Restore(int(p.in.Fd()), p.restore) }
