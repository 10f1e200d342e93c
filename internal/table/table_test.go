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
		"unknown":  {0, "A     B\nab   cd\n"},
		"wide":     {7, "A     B\nab   cd\n"},
		"too wide": {6, "A    B\nab  cd\n"},
	} {
		t.Run(name, func(t *testing.T) {
			tab := &Table{Columns: []Column{{Name: "A"}, {Name: "B", Right: true}}, Rows: [][]string{{"ab", "cd"}}}
			var out strings.Builder
			if err := tab.Write(&out, Options{Fit: tt.fit}); err != nil || out.String() != tt.want {
				t.Errorf("%v:\n%s\nwant\n%s", err, &out, tt.want)
			}
		})
	}
}
