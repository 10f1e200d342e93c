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
		"few enough":    {func(r *report) { r.atMost("x", []int{23, 24}, 24) }, false, "| 24 (23 to 24, 2 runs) |  |  | at most 24 | kept |"},
		"too many":      {func(r *report) { r.atMost("x", []int{1, 25, 2}, 24) }, true, "MISSED"},
		"none allowed":  {func(r *report) { r.atMost("x", []int{1}, 0) }, true, "| 1 |  |  | at most 0 | MISSED |"},
		"soon after": {func(r *report) {
			r.after(comparison{}, runs(1400*time.Millisecond), runs(time.Second), 500*time.Millisecond)
		}, false, "| +0.40 s | 500.0 ms longer | kept |"},
		"long after": {func(r *report) {
			r.after(comparison{}, runs(1600*time.Millisecond), runs(time.Second), 500*time.Millisecond)
		}, true, "MISSED"},
		"little work": {func(r *report) { r.share("x", 0.009, 0.01) }, false, "| 0.90 % |  |  | 1.00 % | kept |"},
		"much work":   {func(r *report) { r.share("x", 0.02, 0.01) }, true, "MISSED"},
		"left out":    {func(r *report) { r.omit("x", "no binary") }, true, "not measured: no binary"},
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
