// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
	"time"
)

func runs(times ...time.Duration) []taken {
	var all []taken
	for _, d := range times {
		all = append(all, taken{Done: d})
	}
	return all
}

func TestMedian(t *testing.T) {
	for name, tt := range map[string]struct {
		runs []taken
		want time.Duration
	}{
		"one":     {runs(3), 3},
		"odd":     {runs(9, 1, 4), 4},
		"even":    {runs(9, 1, 4, 2), 3},
		"outlier": {runs(2, 2, 1000, 2, 2), 2},
	} {
		t.Run(name, func(t *testing.T) {
			if got := median(tt.runs); got != tt.want {
				t.Errorf("median is %d, want %d", got, tt.want)
			}
		})
	}
}

func TestReport(t *testing.T) {
	for name, tt := range map[string]struct {
		fill   func(*report)
		missed bool
		says   string
	}{
		"kept":          {func(r *report) { r.compare(comparison{limit: 1}, runs(10), runs(10)) }, false, "| 1.00 | 1.00 times | kept |"},
		"missed":        {func(r *report) { r.compare(comparison{limit: 1}, runs(11), runs(10)) }, true, "| 1.10 | 1.00 times | MISSED |"},
		"no limit":      {func(r *report) { r.compare(comparison{}, runs(11), runs(10)) }, false, "| 1.10 |  |  |"},
		"goal reached":  {func(r *report) { r.compare(comparison{limit: 1, goal: 0.5}, runs(5), runs(10)) }, false, "(goal 0.50: reached) | kept |"},
		"goal missed":   {func(r *report) { r.compare(comparison{limit: 1, goal: 0.5}, runs(6), runs(10)) }, false, "(goal 0.50: not reached) | kept |"},
		"too slow":      {func(r *report) { r.bound("x", runs(2*time.Second), time.Second) }, true, "MISSED"},
		"too large":     {func(r *report) { r.fact("x", 2_000_000, 1_000_000) }, true, "| 2.0 MB |  |  | 1.0 MB | MISSED |"},
		"not seen":      {func(r *report) { r.fact("x", 0, 1_000_000) }, true, "not seen"},
		"only for show": {func(r *report) { r.fact("x", 2_000_000, 0) }, false, "| 2.0 MB |"},
		"left out":      {func(r *report) { r.omit("x", "no binary") }, true, "not measured: no binary"},
	} {
		t.Run(name, func(t *testing.T) {
			var r report
			tt.fill(&r)
			var out strings.Builder
			r.write(&out)
			if r.missed() != tt.missed || !strings.Contains(out.String(), tt.says) {
				t.Errorf("missed: %t, want %t; want it to say %q:\n%s", r.missed(), tt.missed, tt.says, out.String())
			}
		})
	}
}
