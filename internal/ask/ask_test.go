// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package ask

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNamed(t *testing.T) {
	digested := "nginx@sha256:" + strings.Repeat("a", 64)
	targets, err := Named([]string{"nginx", "nginx:1", "host:5000/img", "x/*", "b07c55e19a44", digested})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, target := range targets {
		got = append(got, target.String())
	}
	if diff := cmp.Diff([]string{"nginx:*", "nginx:1", "host:5000/img:*", "x/*", "b07c55e19a44", digested}, got); diff != "" {
		t.Error(diff)
	}
}

// TestNamedTellsWhatWasTyped: what was made of it would only be read as a second mistake.
func TestNamedTellsWhatWasTyped(t *testing.T) {
	for _, arg := range []string{"NGINX", "a;b", ""} {
		_, err := Named([]string{arg})
		if err == nil || strings.Contains(err.Error(), ":*") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v", arg, err)
		}
	}
}
