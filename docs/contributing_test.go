// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestTheMapIsWhole: whoever meets a package finds on the map what it is for.
func TestTheMapIsWhole(t *testing.T) {
	page := read(t, "../CONTRIBUTING.md")
	for _, folder := range []string{"internal", "internal/controller", "internal/engine", "test", "test/e2e"} {
		entries, err := os.ReadDir("../" + folder)
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			if !entry.IsDir() {
				continue
			}
			if name := regexp.MustCompile(`\b` + regexp.QuoteMeta(entry.Name()) + `\b`); !name.MatchString(page) {
				t.Errorf("the map in CONTRIBUTING.md has no %s/%s", folder, entry.Name())
			}
		}
	}
	for line := range strings.Lines(page) {
		if folder, _, ok := strings.Cut(line, " "); ok && regexp.MustCompile(`^(api|internal|charts|config|hack|test)/\S+$`).MatchString(strings.TrimSuffix(folder, ",")) {
			if _, err := os.Stat("../" + strings.TrimSuffix(folder, ",")); err != nil {
				t.Errorf("the map in CONTRIBUTING.md: %v", err)
			}
		}
	}
}
