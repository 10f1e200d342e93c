// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package table

import (
	"regexp"
	"strings"
	"unicode/utf8"
)

// colours take no room on a terminal.
var colours = regexp.MustCompile("\x1b\\[[0-9;]*m")

func shownWidth(text string) int {
	return utf8.RuneCountInString(colours.ReplaceAllString(text, ""))
}

// Wrap breaks lines between words where they would be wider than the terminal, and indents what follows by hang. Width 0 is
// unknown: then nothing is broken.
func Wrap(text string, width, hang int) string {
	if width <= hang {
		return text
	}
	var lines []string
	for line := range strings.SplitSeq(text, "\n") {
		lines = append(lines, wrapLine(line, width, hang))
	}
	return strings.Join(lines, "\n")
}

func wrapLine(line string, width, hang int) string {
	if shownWidth(line) <= width {
		return line
	}
	var out strings.Builder
	at, gap := 0, ""
	for word := range strings.SplitSeq(line, " ") {
		if word == "" { // More than one space, or the line's own indent.
			gap += " "
			continue
		}
		size := shownWidth(word)
		if out.Len() > 0 && at > hang && at+len(gap)+size > width {
			out.WriteString("\n" + strings.Repeat(" ", hang))
			at, gap = hang, ""
		}
		out.WriteString(gap + word)
		at += len(gap) + size
		gap = " "
	}
	return out.String()
}
