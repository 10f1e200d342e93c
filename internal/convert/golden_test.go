// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestGolden: what each folder's input.yaml becomes stands beside it, written by hand from what the original promises.
func TestGolden(t *testing.T) {
	inputs, err := filepath.Glob("testdata/*/input.yaml")
	if err != nil || len(inputs) == 0 {
		t.Fatal(inputs, err)
	}
	for _, input := range inputs {
		folder := filepath.Dir(input)
		t.Run(filepath.Base(folder), func(t *testing.T) {
			report := converted(t, golden(t, input))
			var out bytes.Buffer
			if err := report.YAML(&out); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(golden(t, filepath.Join(folder, "want.yaml"))), out.String()); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(string(golden(t, filepath.Join(folder, "want.txt"))), told(report)); diff != "" {
				t.Error(diff)
			}
			readsBack(t, report)
		})
	}
}

func golden(t testing.TB, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func converted(t *testing.T, text []byte) *Report {
	t.Helper()
	docs, err := Read("input.yaml", bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	report, err := Convert(docs, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// told is the report as lines.
func told(report *Report) string {
	var out strings.Builder
	for _, row := range report.Rows {
		out.WriteString(row.Source + "\n")
		for _, result := range row.Results {
			out.WriteString("  → " + result + "\n")
		}
		for _, note := range row.Notes {
			out.WriteString("  - " + note + "\n")
		}
	}
	return out.String()
}
