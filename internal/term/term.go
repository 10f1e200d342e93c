// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package term is what both command lines share towards the person at the terminal: streams, questions and exit codes.
package term

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// The exit codes.
const (
	ExitOK          = 0
	ExitError       = 1   // wrong usage, or failed before anything was done
	ExitFound       = 2   // --exit-code, and something was found
	ExitPartial     = 3   // some nodes or images failed
	ExitTimeout     = 4   // the time given was over
	ExitInterrupted = 130 // Ctrl-C
)

// Streams are a command's standard streams. Answers go to Out, everything else to Err.
type Streams struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer
}

// IsTerminal reports whether a stream is one.
func IsTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// Width is how many columns the terminal behind a stream has, or fallback.
func Width(stream any, fallback int) int {
	width, _ := Size(stream, fallback, 0)
	return width
}

// Size is how many columns and lines the terminal behind a stream has, or the fallbacks.
func Size(stream any, columns, lines int) (width, height int) {
	if file, ok := stream.(*os.File); ok {
		if w, h, err := term.GetSize(int(file.Fd())); err == nil && w > 0 && h > 0 {
			return w, h
		}
	}
	return columns, lines
}

// ErrDeclined is the answer no.
var ErrDeclined = errors.New("nothing was removed")

// Confirm asks before something is done that cannot be undone. Without a terminal it refuses, and says with what
// command it would be done: repeat is that command without --yes.
func (s Streams) Confirm(question, repeat string) error {
	if !IsTerminal(s.In) {
		return fmt.Errorf("images are removed only after you confirm, and standard input is not a terminal\nrun: %s --yes", repeat)
	}
	fmt.Fprintf(s.Err, "%s [y/N] ", question)
	line, err := bufio.NewReader(s.In).ReadString('\n')
	if err != nil && line == "" {
		return ErrDeclined
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return nil
	}
	return ErrDeclined
}

// CommandLine is a command as a person would type it again, with quotes where a shell needs them.
func CommandLine(words ...string) string {
	quoted := []string{}
	for _, word := range words {
		if word == "" || strings.ContainsAny(word, " \t\n\"'`$&|;<>()*?[]{}#~!\\") {
			word = "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
		}
		quoted = append(quoted, word)
	}
	return strings.Join(quoted, " ")
}
