// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSorted(t *testing.T) {
	type item struct {
		Name  string `json:"name"`
		Bytes int64  `json:"bytes,omitempty"`
	}
	items := []item{{"c", 900}, {"a", 1000}, {"b", 0}}
	for name, tt := range map[string]struct {
		by   string
		want []item
		bad  bool
	}{
		"as it is":                      {"", items, false},
		"a column":                      {"SIZE", []item{{"b", 0}, {"c", 900}, {"a", 1000}}, false},
		"a field, as kubectl takes it":  {".name", []item{{"a", 1000}, {"b", 0}, {"c", 900}}, false},
		"a field, as kubectl writes it": {"{.bytes}", []item{{"b", 0}, {"c", 900}, {"a", 1000}}, false},
		"none":                          {".nothing", nil, true},
		"broken":                        {"{.x", nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := sorted(&sorting{by: tt.by, columns: map[string]string{"size": ".bytes"}}, items)
			if diff := cmp.Diff(tt.want, got); diff != "" || (err != nil) != tt.bad {
				t.Errorf("%v %s", err, diff)
			}
		})
	}
}

func TestWrap(t *testing.T) {
	if diff := cmp.Diff("one two\nthree\n\nfour\n", wrap("one two three\n\nfour", 8)); diff != "" {
		t.Error(diff)
	}
}
