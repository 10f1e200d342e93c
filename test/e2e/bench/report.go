// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// report is the table of a run.
type report struct{ rows []row }

type row struct {
	what, value, against, ratio, limit string
	kept                               verdict
}

type verdict string

const (
	kept   verdict = "kept"
	missed verdict = "MISSED"
	none   verdict = ""
	left   verdict = "left out"
)

func verdictOf(ok bool) verdict {
	if ok {
		return kept
	}
	return missed
}

// compare adds what came out of a comparison.
func (r *report) compare(c comparison, ours, theirs []taken) {
	ratio := median(ours).Seconds() / median(theirs).Seconds()
	line := row{what: c.what, value: spread(ours), against: c.against + " " + spread(theirs), ratio: fmt.Sprintf("%.2f", ratio)}
	if c.limit > 0 {
		line.limit, line.kept = fmt.Sprintf("%.2f times", c.limit), verdictOf(ratio <= c.limit)
	}
	if c.goal > 0 {
		reached := map[bool]string{true: "reached", false: "not reached"}[ratio <= c.goal]
		line.limit += fmt.Sprintf(" (goal %.2f: %s)", c.goal, reached)
	}
	r.rows = append(r.rows, line)
}

// bound adds a time with a limit of its own.
func (r *report) bound(what string, runs []taken, limit time.Duration) {
	r.rows = append(r.rows, row{what: what, value: spread(runs), limit: short(limit), kept: verdictOf(median(runs) <= limit)})
}

// fact adds a number of bytes; 0 as its limit is none.
func (r *report) fact(what string, bytes, limit int64) {
	line := row{what: what, value: megabytes(bytes)}
	if bytes == 0 {
		line.value = "not seen"
	}
	if limit > 0 {
		line.limit, line.kept = megabytes(limit), verdictOf(bytes > 0 && bytes <= limit)
	}
	r.rows = append(r.rows, line)
}

// atMost adds numbers of things; the largest is held to the limit.
func (r *report) atMost(what string, counts []int, limit int) {
	most := slices.Max(counts)
	line := row{what: what, value: strconv.Itoa(most), limit: fmt.Sprintf("at most %d", limit), kept: verdictOf(most <= limit)}
	if len(counts) > 1 {
		line.value = fmt.Sprintf("%d (%d to %d, %d runs)", most, slices.Min(counts), most, len(counts))
	}
	r.rows = append(r.rows, line)
}

// after adds two times of which ours may be so much the longer.
func (r *report) after(c comparison, ours, theirs []taken, extra time.Duration) {
	more := median(ours) - median(theirs)
	r.rows = append(r.rows, row{what: c.what, value: spread(ours), against: c.against + " " + spread(theirs), ratio: fmt.Sprintf("%+.2f s", more.Seconds()),
		limit: short(extra) + " longer", kept: verdictOf(more <= extra)})
}

// share adds what a process used of one core; 0 as its limit is none.
func (r *report) share(what string, part, limit float64) {
	line := row{what: what, value: fmt.Sprintf("%.2f %%", 100*part)}
	if limit > 0 {
		line.limit, line.kept = fmt.Sprintf("%.2f %%", 100*limit), verdictOf(part < limit)
	}
	r.rows = append(r.rows, line)
}

// told adds what is no number.
func (r *report) told(what, text string, kept verdict) {
	r.rows = append(r.rows, row{what: what, value: text, kept: kept})
}

// omit says what was not measured.
func (r *report) omit(what, why string) {
	r.rows = append(r.rows, row{what: what, value: "not measured: " + why, kept: left})
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

func spread(runs []taken) string {
	times := sorted(runs)
	return fmt.Sprintf("%s (%s to %s, %d runs)", short(median(runs)), short(times[0]), short(times[len(times)-1]), len(times))
}

func (r *report) missed() bool {
	for _, line := range r.rows {
		if line.kept == missed || line.kept == left {
			return true
		}
	}
	return false
}

// load is how many processes wanted to run, over the last 1, 5 and 15 minutes: what else a machine does is in every
// number, and most in those that have no other number beside them.
func load() string {
	content, err := os.ReadFile("/proc/loadavg")
	fields := strings.Fields(string(content))
	if err != nil || len(fields) < 3 {
		return "unknown"
	}
	return strings.Join(fields[:3], ", ")
}

func (r *report) write(w io.Writer) {
	fmt.Fprintf(w, "Medians, with the shortest and the longest run. %d processors; load average of this machine at the end: %s.\n", runtime.NumCPU(), load())
	fmt.Fprintln(w)
	fmt.Fprintln(w, "| what | Orlop | measured beside it | ratio | limit | |")
	fmt.Fprintln(w, "| --- | --- | --- | --- | --- | --- |")
	for _, line := range r.rows {
		fmt.Fprintf(w, "| %s | %s | %s | %s | %s | %s |\n", line.what, line.value, line.against, line.ratio, line.limit, line.kept)
	}
}
