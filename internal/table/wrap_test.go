// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package table

import (
	"strings"
	"testing"
)

func TestWrap(t *testing.T) {
	for name, test := range map[string]struct {
		text        string
		width, hang int
		want        string
	}{
		"it fits":           {"one two", 7, 2, "one two"},
		"it does not":       {"one two three", 8, 2, "one two\n  three"},
		"several times":     {"one two three four", 8, 2, "one two\n  three\n  four"},
		"unknown":           {"one two three", 0, 2, "one two three"},
		"an indent":         {"  one two three", 9, 4, "  one two\n    three"},
		"wide gaps":         {"one   two   three", 9, 0, "one   two\nthree"},
		"a long word":       {"one docker.io/library/nginx two", 8, 2, "one\n  docker.io/library/nginx\n  two"},
		"a long word first": {"docker.io/library/nginx two", 8, 2, "docker.io/library/nginx\n  two"},
		"lines":             {"one two three\nfour", 8, 2, "one two\n  three\nfour"},
		"colours":           {"\x1b[31mone\x1b[0m two three", 7, 0, "\x1b[31mone\x1b[0m two\nthree"},
		"no room":           {"one two three", 3, 4, "one two three"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Wrap(test.text, test.width, test.hang); got != test.want {
				t.Errorf("%q\nwant %q", got, test.want)
			}
		})
	}
}

func TestTheLastColumnIsBroken(t *testing.T) {
	const long = "orlop-agent, orlop-controller, orlop-edit, orlop-view"
	for name, test := range map[string]struct {
		fit   int
		right bool
		want  string
	}{
		"room enough":    {70, false, "A       WHICH\nroles   " + long + "\nx       y\n"},
		"too little":     {37, false, "A      WHICH\nroles  orlop-agent, orlop-controller,\n       orlop-edit, orlop-view\nx      y\n"},
		"far too little": {20, false, "A      WHICH\nroles  " + long + "\nx      y\n"},
		"not a text":     {37, true, "A      " + strings.Repeat(" ", len(long)-5) + "WHICH\nroles  " + long + "\nx      " + strings.Repeat(" ", len(long)-1) + "y\n"},
	} {
		t.Run(name, func(t *testing.T) {
			tab := &Table{Columns: []Column{{Name: "A"}, {Name: "WHICH", Right: test.right}}, Rows: [][]string{{"roles", long}, {"x", "y"}}}
			var out strings.Builder
			if err := tab.Write(&out, Options{Fit: test.fit}); err != nil || out.String() != test.want {
				t.Errorf("%v:\n%s\nwant\n%s", err, &out, test.want)
			}
		})
	}
}
