// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"strings"
	"testing"
)

// TestWhatIsUnknownIsRefused: by file and line, all of it at once.
func TestWhatIsUnknownIsRefused(t *testing.T) {
	docs, err := Read("a.yaml", strings.NewReader("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n---\nkind: Cat\n"))
	if err != nil {
		t.Fatal(err)
	}
	report, err := Convert(docs, Options{})
	if err == nil || report != nil {
		t.Fatalf("%v %v", report, err)
	}
	for _, words := range []string{"a.yaml:1: nothing here converts this: Pod a", "a.yaml:5: nothing here converts this: Cat"} {
		if !strings.Contains(err.Error(), words) {
			t.Errorf("%q is not in %v", words, err)
		}
	}
	if _, err := Convert(docs, Options{SkipUnknown: true}); err != nil {
		t.Error(err)
	}
}
