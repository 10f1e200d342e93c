// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"orlop.dev/orlop/internal/table"
	"orlop.dev/orlop/internal/term"
)

// sentence writes lines for a person to read, broken between words where the terminal is narrower, what follows indented by hang.
func sentence(to io.Writer, hang int, format string, args ...any) {
	fmt.Fprintln(to, table.Wrap(fmt.Sprintf(format, args...), term.Width(to, 0), hang))
}

// count is a number of things in words.
func count(n int, noun string) string {
	switch {
	case n == 1:
		return "1 " + noun
	case strings.HasSuffix(noun, "y"):
		return fmt.Sprintf("%d %sies", n, strings.TrimSuffix(noun, "y"))
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func were(n int, noun string) string {
	if n == 1 {
		return count(n, noun) + " was"
	}
	return count(n, noun) + " were"
}

// maxNamed is how many nodes a line names before it only counts them.
const maxNamed = 8

func some(names []string) string {
	if len(names) <= maxNamed {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:maxNamed], ", "), len(names)-maxNamed)
}

// bracketed is a reason in brackets, unless the message begins with it.
func bracketed(reason, message string) string {
	if strings.HasPrefix(message, reason) {
		return ""
	}
	return " (" + reason + ")"
}

// tallied is a count with its word.
type tallied struct {
	n    int
	word string
}

// counted are the counts that there are, each with its word.
func counted(of ...tallied) (texts []string) {
	for _, p := range of {
		if p.n > 0 {
			texts = append(texts, fmt.Sprintf("%d %s", p.n, p.word))
		}
	}
	return texts
}

// inLine are the counts that there are, in a line.
func inLine(of ...tallied) string { return cmp.Or(strings.Join(counted(of...), ", "), "none") }
