// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"os"
	"strings"

	"orlop.dev/orlop/internal/term"
)

// paint colours words, each stream for itself. Colour never says what no letter or word says too.
type paint struct{ out, err bool }

// The colours, in ECMA-48.
const (
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	plain  = "\x1b[0m"
)

// colorModes are what --color takes.
var colorModes = []string{"auto", "always", "never"}

func newPaint(mode string, s term.Streams) (paint, error) {
	switch mode {
	case "always":
		return paint{true, true}, nil
	case "never":
		return paint{}, nil
	case "auto":
		forced := os.Getenv("CLICOLOR_FORCE")
		if forced != "" && forced != "0" {
			return paint{true, true}, nil
		}
		if os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
			return paint{}, nil
		}
		return paint{term.IsTerminal(s.Out), term.IsTerminal(s.Err)}, nil
	}
	return paint{}, oneOf("--color", mode, colorModes)
}

func (p paint) bad(s string) string { return dye(p.err, red, s) }
func (p paint) good() string        { return dye(p.err, green, "✔") }
func (p paint) warn() string        { return dye(p.err, yellow, "!") }

func dye(on bool, color, s string) string {
	if !on || s == "" {
		return s
	}
	return color + s + plain
}

// states are the words in tables that have a colour.
var states = map[string]string{
	"failed": red, "lost": red, "DRIFT": red, "skipped": yellow, "BEHIND": yellow, "UNKNOWN": yellow, "timed out": red,
	"removed": green, "done": green, "pulled": green, "present": green, "SAME": green,
}

// cell colours a cell of a table on standard output; nil where nothing is coloured.
func (p paint) cell() func(column, text string) string {
	if !p.out {
		return nil
	}
	return func(column, text string) string {
		switch {
		case column == "STATE" || column == "VERDICT":
			return dye(true, states[text], text)
		case column == "FLAGS" && strings.Contains(text, "D"):
			return dye(true, red, text)
		}
		return text
	}
}
