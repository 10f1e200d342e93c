// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// anything stands in a page for any text of a line, and alone for any number of lines.
const anything = "…"

// kinds are what differs from run to run, and is compared by what it is. The first that fits wins.
var kinds = []struct {
	name    string
	pattern *regexp.Regexp
}{
	{"digest", regexp.MustCompile(`sha256:[0-9a-f]{4,64}…?`)},
	{"date", regexp.MustCompile(`\b[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2})?(?:\.[0-9]+)?Z?)?`)},
	{"ip", regexp.MustCompile(`\b[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}(?::[0-9]+)?\b`)},
	{"version", regexp.MustCompile(`\bv[0-9]+\.[0-9]+(?:\.[0-9]+)?(?:[-+][0-9A-Za-z.+-]+)?|(?:^|[ (])[0-9]+\.[0-9]+\.[0-9]+(?:[-+][0-9A-Za-z.+-]+)?\b`)},
	{"size", regexp.MustCompile(`\b[0-9]+(?:\.[0-9]+)? ?(?:[kKMGT]i?B|B)(?:/s)?\b`)},
	{"percent", regexp.MustCompile(`\b[0-9]+(?:\.[0-9]+)? ?%`)},
	{"duration", regexp.MustCompile(`\b(?:[0-9]+(?:\.[0-9]+)?(?:ns|µs|us|ms|s|m|h|d))+\b`)},
	{"generated", regexp.MustCompile(`--run [a-z0-9]+\b|\borlop-[a-z]+-[a-z2-7]{6}-|-[0-9]{8}\b|(?:-[bcdfghjklmnpqrstvwxz2456789]{8,10})?-[a-z0-9]{5}\b`)},
	{"id", regexp.MustCompile(`\b[0-9a-f]*[0-9][0-9a-f]*\b`)},
}

// minID is how long a word of hexadecimal digits is from which on it is an identity, and not a count.
const minID = 7

// canonical is a line with the width of columns and all that differs from run to run taken out.
func canonical(line string) string {
	line = strings.Join(strings.Fields(line), " ")
	for _, kind := range kinds {
		line = kind.pattern.ReplaceAllStringFunc(line, func(found string) string {
			if kind.name == "id" && len(found) < minID {
				return found
			}
			before := ""
			if strings.ContainsAny(found[:1], " (") {
				before = found[:1] // A version's pattern takes it along.
			}
			return before + "‹" + kind.name + "›"
		})
	}
	return line
}

// matcher tells whether lines are what a line of a page says.
func matcher(want string) func(got string) bool {
	want = canonical(want)
	if !strings.Contains(want, anything) {
		return func(got string) bool { return canonical(got) == want }
	}
	var parts []string
	for part := range strings.SplitSeq(want, anything) {
		parts = append(parts, regexp.QuoteMeta(part))
	}
	pattern := regexp.MustCompile("^" + strings.Join(parts, ".*") + "$")
	return func(got string) bool { return pattern.MatchString(canonical(got)) }
}

// perNode is in lines that nodes write while they work, each in its own time: their order is no matter.
const perNode = " │ "

// begun begins a line that only says that a command is at work: a page may leave it out.
const begun = "► asking "

// Diff says where an output is not what a page says; it is empty where it is.
func Diff(want []string, output string) string {
	told := slices.ContainsFunc(want, func(line string) bool { return strings.HasPrefix(line, begun) })
	var got []string
	for line := range strings.Lines(output) {
		if line = strings.TrimRight(line, " \r\n"); told || !strings.HasPrefix(line, begun) {
			got = append(got, line)
		}
	}
	got = trimmed(got)
	matched := follow(want, got)
	if matched < 0 {
		return ""
	}
	first := "nothing more"
	if matched < len(want) {
		first = fmt.Sprintf("%q", want[matched])
	}
	return fmt.Sprintf("the page has %s, which does not come there\n--- the page\n%s\n--- what came\n%s\n---", first, strings.Join(want, "\n"), strings.Join(got, "\n"))
}

// follow goes through both; it returns -1 where all is as it should be, else the furthest line of the page that was not found.
func follow(want, got []string) int {
	if len(want) == 0 {
		if len(got) == 0 {
			return -1
		}
		return 0
	}
	if n := run(want); n > 0 {
		return followNodes(want, got, n)
	}
	if want[0] == anything {
		furthest := 0
		for skip := 0; skip <= len(got); skip++ {
			rest := follow(want[1:], got[skip:])
			if rest < 0 {
				return -1
			}
			furthest = max(furthest, rest+1)
		}
		return furthest
	}
	if len(got) == 0 || !matcher(want[0])(got[0]) {
		return 0
	}
	if rest := follow(want[1:], got[1:]); rest >= 0 {
		return rest + 1
	}
	return -1
}

// run is how many lines at the start are of nodes; those that stand for any number of lines may be among them.
func run(lines []string) int {
	if len(lines) == 0 || !strings.Contains(lines[0], perNode) {
		return 0
	}
	return slices.IndexFunc(append(slices.Clone(lines), ""), func(line string) bool { return line != anything && !strings.Contains(line, perNode) })
}

// followNodes matches the first n lines with those of nodes in any order.
func followNodes(want, got []string, n int) int {
	here := run(got)
	left := slices.Clone(got[:here])
	open := false
	for i, line := range want[:n] {
		if line == anything {
			open = true
			continue
		}
		at := slices.IndexFunc(left, matcher(line))
		if at < 0 {
			return i
		}
		left = slices.Delete(left, at, at+1)
	}
	if !open && len(left) > 0 {
		return n
	}
	rest := want[n:]
	if want[n-1] == anything {
		rest = want[n-1:] // It may stand for lines of others too.
	}
	furthest := follow(rest, got[here:])
	if furthest < 0 {
		return -1
	}
	return len(want) - len(rest) + furthest
}
