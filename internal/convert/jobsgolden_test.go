// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestGoldenJobs: what comes of whole manifests, with every word that is said of them.
func TestGoldenJobs(t *testing.T) {
	inputs, err := filepath.Glob("testdata/jobs/*/input.yaml")
	if err != nil || len(inputs) == 0 {
		t.Fatal(inputs, err)
	}
	for _, input := range inputs {
		dir := filepath.Dir(input)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			text, err := os.ReadFile(input)
			if err != nil {
				t.Fatal(err)
			}
			report, err := convertText(string(text), Options{})
			if err != nil {
				t.Fatal(err)
			}
			var yaml bytes.Buffer
			if err := report.YAML(&yaml); err != nil {
				t.Fatal(err)
			}
			for file, got := range map[string]string{"want.yaml": yaml.String(), "want.txt": told(report)} {
				want, err := os.ReadFile(filepath.Join(dir, file))
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(string(want), got); diff != "" {
					t.Errorf("%s (-want +got):\n%s", file, diff)
				}
			}
		})
	}
}

func convertText(text string, opts Options) (*Report, error) {
	docs, err := Read("input.yaml", strings.NewReader(text))
	if err != nil {
		return nil, err
	}
	return Convert(docs, opts)
}

// told is what the rows of a report say.
func told(report *Report) string {
	var out strings.Builder
	for _, row := range report.Rows {
		fmt.Fprintf(&out, "%s\n", row.Source)
		for _, result := range row.Results {
			fmt.Fprintf(&out, "  → %s\n", result)
		}
		for _, note := range row.Notes {
			fmt.Fprintf(&out, "  - %s\n", note)
		}
	}
	return out.String()
}
