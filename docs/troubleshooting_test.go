// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	third  = regexp.MustCompile(`(?m)^### (.*)$`)
	quoted = regexp.MustCompile("`([^`]+)`")
)

// headings are the texts in the headings of a page, each in quotation marks.
func headings(t *testing.T, page string) (all []string) {
	t.Helper()
	for _, line := range third.FindAllStringSubmatch(read(t, page), -1) {
		found := quoted.FindAllStringSubmatch(line[1], -1)
		if len(found) == 0 {
			t.Errorf("%s: no text of the program in the heading %q", page, line[1])
		}
		for _, text := range found {
			all = append(all, text[1])
		}
	}
	if len(all) == 0 {
		t.Fatalf("%s has no headings", page)
	}
	return all
}

// Whoever looks for what was printed finds it, as it is printed.
func TestHeadingsAreTextsOfTheProgram(t *testing.T) {
	var files []string
	for _, path := range sources(t, ".go", "../internal", "../cmd") {
		files = append(files, strings.Join(literals(t, path), "\n"))
	}
	for _, path := range append(sources(t, ".yaml", "../charts/orlop/templates"), sources(t, ".go", "../api")...) {
		files = append(files, read(t, path))
	}
	for _, text := range headings(t, "troubleshooting.md") {
		if !slices.ContainsFunc(files, func(file string) bool { return has(file, text) }) {
			t.Errorf("no file of the program has the text %q", text)
		}
	}
}

// has looks for the parts of a text, between what differs.
func has(file, text string) bool {
	for part := range strings.SplitSeq(text, "…") {
		if !strings.Contains(file, strings.TrimSpace(part)) {
			return false
		}
	}
	return true
}

// harmless are words of things that are as they should be.
var harmless = []string{"Ready", "RollingOut", "Retrying", "Suspended", "Purged", "NoImages", "AsExpected", "NodesDone", "Planned", "Scheduled"}

// Every reason has a heading, and every heading is a reason.
func TestEveryReasonHasAHeading(t *testing.T) {
	var code []string
	files := append(sources(t, ".go", "../api/v1alpha1"), "../internal/engine/reason.go", "../internal/fleet/outcome.go", "../internal/plan/plan.go", "../internal/cli/installed.go")
	for _, path := range files {
		if strings.Contains(read(t, path), "Reason") {
			code = append(code, reasonsIn(t, path)...)
		}
	}
	page := headings(t, "reasons.md")
	for _, reason := range sorted(code) {
		if !slices.Contains(harmless, reason) && !slices.Contains(page, reason) {
			t.Errorf("reasons.md has no heading for %s", reason)
		}
	}
	for _, reason := range page {
		if !slices.Contains(code, reason) {
			t.Errorf("reasons.md: no reason is %s", reason)
		}
	}
}
