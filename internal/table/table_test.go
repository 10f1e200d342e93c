// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package table

import (
	"strings"
	"testing"
)

func TestFit(t *testing.T) {
	for name, tt := range map[string]struct {
		fit  int
		want string
	}{
		"unknown":  {0, "A     B   EMPTY   C\nab   cd   -       long\n"},
		"wide":     {22, "A     B   EMPTY   C\nab   cd   -       long\n"},
		"too wide": {13, "A    B  C\nab  cd  long\n"},
	} {
		t.Run(name, func(t *testing.T) {
			tab := &Table{Columns: []Column{{Name: "A"}, {Name: "B", Right: true}, {Name: "EMPTY"}, {Name: "C"}}, Rows: [][]string{{"ab", "cd", "", "long"}}}
			var out strings.Builder
			if err := tab.Write(&out, Options{Fit: tt.fit}); err != nil || out.String() != tt.want {
				t.Errorf("%v:\n%s\nwant\n%s", err, &out, tt.want)
			}
		})
	}
}

func TestYields(t *testing.T) {
	for name, tt := range map[string]struct {
		options Options
		want    string
		yielded string
	}{
		"unknown":                  {Options{}, "A     B   C    D\nab   12   cd   long\n", ""},
		"room for all":             {Options{Fit: 19}, "A     B   C    D\nab   12   cd   long\n", ""},
		"room for all but nearer":  {Options{Fit: 16}, "A    B  C   D\nab  12  cd  long\n", ""},
		"room for all but one":     {Options{Fit: 13}, "A   C   D\nab  cd  long\n", "B"},
		"room for none that yield": {Options{Fit: 9}, "A   D\nab  long\n", "B C"},
		"no room whatever yields":  {Options{Fit: 3}, "A   D\nab  long\n", "B C"},
		"wide is all":              {Options{Fit: 9, Wide: true}, "A    B  C   D\nab  12  cd  long\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			tab := &Table{Columns: []Column{{Name: "A"}, {Name: "B", Right: true, Yields: 1}, {Name: "C", Yields: 2}, {Name: "D"}}, Rows: [][]string{{"ab", "12", "cd", "long"}}}
			var out strings.Builder
			if err := tab.Write(&out, tt.options); err != nil || out.String() != tt.want || strings.Join(tab.Yielded(), " ") != tt.yielded {
				t.Errorf("%v, left out %q:\n%s\nwant\n%s", err, tab.Yielded(), &out, tt.want)
			}
		})
	}
}
