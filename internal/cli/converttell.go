// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"strings"
	"unicode/utf8"

	"orlop.dev/orlop/internal/convert"
	"orlop.dev/orlop/internal/table"
	"orlop.dev/orlop/internal/term"
)

// leastNotes is what a column of notes must have; a narrower terminal has them below each row.
const leastNotes = 40

// tellConverted tells what became of each object, and what to do next.
func (o *convertOptions) tellConverted(ctx context.Context, report *convert.Report, namespace string) {
	if len(report.Rows) == 0 {
		where := "namespace " + namespace
		if o.all {
			where = "any namespace"
		}
		fmt.Fprintf(o.Err, "There is nothing to convert in %s.\n", where)
		return
	}
	o.tellRows(report)
	look := 0
	for _, draft := range report.Drafts {
		if len(draft.Reviews) > 0 {
			look++
		}
	}
	summary := count(len(report.Drafts), "object") + " written"
	switch {
	case look == 0:
	case o.format == "json":
		summary += fmt.Sprintf(", %d to be looked at: -o yaml has remarks marked # REVIEW", look)
	case look == 1:
		summary += ", 1 needs a look (marked # REVIEW)"
	default:
		summary += fmt.Sprintf(", %d need a look (marked # REVIEW)", look)
	}
	sentence(o.Err, 0, "%s.", summary)
	if len(report.Drafts) > 0 {
		o.tellNext(ctx)
	}
}

// tellRows writes a table where the notes have room beside the rest, and else each row as a paragraph.
func (o *convertOptions) tellRows(report *convert.Report) {
	rows := &table.Table{Columns: []table.Column{{Name: "SOURCE"}, {Name: "RESULT"}, {Name: "NOTES"}}}
	widest := [2]int{}
	for _, row := range report.Rows {
		result := strings.Join(row.Results, ", ")
		rows.Add(row.Source, result, strings.Join(row.Notes, ";\n"))
		widest[0], widest[1] = max(widest[0], utf8.RuneCountInString(row.Source)), max(widest[1], utf8.RuneCountInString(result))
	}
	width := term.Width(o.Err, 0)
	if width-widest[0]-widest[1] >= leastNotes+6 { // Six are between the columns.
		_ = rows.Write(o.Err, table.Options{Fit: width})
		return
	}
	for _, row := range report.Rows {
		sentence(o.Err, 2, "%s", row.Source)
		result := strings.Join(row.Results, ", ")
		if result == "" {
			result = "nothing"
		}
		sentence(o.Err, 4, "  → %s", result)
		for _, note := range row.Notes {
			sentence(o.Err, 4, "  - %s", note)
		}
	}
}

// tellNext tells how what was written is taken into use, and where that cannot be yet.
func (o *convertOptions) tellNext(ctx context.Context) {
	apply := "kubectl apply --server-side -f FILE"
	if term.IsTerminal(o.Out) && len(o.words) > 0 {
		apply = term.CommandLine(o.words...) + " > orlop.yaml, look at it, then kubectl apply --server-side -f orlop.yaml"
	}
	sentence(o.Err, 6, "Next: %s", apply)
	short, cancel := context.WithTimeout(ctx, completeTimeout)
	defer cancel()
	if op, err := o.installed(short); err == nil && op == nil {
		sentence(o.Err, 2, "%s %s. To install it, begin with: %s", o.paint.warn(), errNotInstalled, o.commandLine("check", "--pre"))
	}
}

// tellUnread names a right that is missing.
func (o *convertOptions) tellUnread(err error) {
	what, _, try := o.explain(err)
	sentence(o.Err, 2, "%s %s: objects of that kind were not converted", o.paint.warn(), what)
	if try != "" {
		fmt.Fprintf(o.Err, "  try: %s\n", try)
	}
}
