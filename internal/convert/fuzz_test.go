// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzConvert: whatever comes in, there is an error and nothing else, or objects that read back as they are, and that keep to the
// limits of their kinds. Nothing that came in reaches a terminal, or a comment, as more than one line of plain text.
func FuzzConvert(f *testing.F) {
	inputs, err := filepath.Glob("testdata/*/input.*")
	if err != nil || len(inputs) == 0 {
		f.Fatal(inputs, err)
	}
	for _, input := range inputs {
		text := golden(f, input)
		f.Add(text, false)
		for document := range strings.SplitSeq(string(text), "\n---\n") {
			f.Add([]byte(document), true)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte, skip bool) {
		docs, err := Read("f", bytes.NewReader(text))
		if err != nil {
			plain(t, err.Error())
			return
		}
		report, err := Convert(docs, Options{SkipUnknown: skip})
		if err != nil {
			plain(t, err.Error())
			if report != nil {
				t.Fatal("an error, and a report beside it")
			}
			return
		}
		readsBack(t, report)
		for _, row := range report.Rows {
			plain(t, row.Source)
			plain(t, strings.Join(append(row.Notes, row.Results...), ""))
		}
		seen := map[string]bool{}
		for _, draft := range report.Drafts {
			if wrong := problems(draft.Object); len(wrong) > 0 {
				t.Errorf("%s: %s", title(draft.Object), wrong)
			}
			if seen[title(draft.Object)] {
				t.Errorf("%s is there twice", title(draft.Object))
			}
			seen[title(draft.Object)] = true
			if draft.Object.GetUID() != "" || draft.Object.GetResourceVersion() != "" || draft.Object.GetNamespace() == "" {
				t.Errorf("metadata %+v", draft.Object)
			}
		}
	})
}

func plain(t *testing.T, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		if line = strings.TrimSuffix(line, "\n"); line != clean(line) {
			t.Errorf("not fit for a terminal: %q", line)
		}
	}
}
