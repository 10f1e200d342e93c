// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package suggest

import "testing"

func TestDidYouMean(t *testing.T) {
	for name, tc := range map[string]struct {
		typed string
		known []string
		want  string
	}{
		"a letter missing":        {"clint", []string{"none", "client", "server"}, "client"},
		"two letters swapped":     {"wbe", []string{"models", "web"}, "web"},
		"swapped at the end":      {"prue", []string{"purge", "prune"}, "prune"},
		"another short word":      {"nope", []string{"one", "web"}, ""},
		"nothing in common":       {"xyz", []string{"list"}, ""},
		"three slips in a long":   {"feild-selectr", []string{"field-selector"}, "field-selector"},
		"an empty word":           {"", []string{"a"}, ""},
		"a letter of another set": {"lïst", []string{"list"}, "list"},
	} {
		t.Run(name, func(t *testing.T) {
			want := ""
			if tc.want != "" {
				want = ` (did you mean "` + tc.want + `"?)`
			}
			if got := DidYouMean(tc.typed, tc.known); got != want {
				t.Errorf("%q, want %q", got, want)
			}
		})
	}
}
