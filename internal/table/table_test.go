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
