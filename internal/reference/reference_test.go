// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package reference writes docs/reference from what it describes, and holds that it still does: `make docs` writes it anew.
package reference

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write docs/reference")

const (
	folder = "../../docs/reference"
	// width is where prose breaks.
	width = 140
)

func TestReferences(t *testing.T) {
	for name, write := range map[string]func(*testing.T) string{"cli.md": commandLines, "api.md": kinds} {
		t.Run(name, func(t *testing.T) {
			file, want := filepath.Join(folder, name), write(t)
			if *update {
				if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			got, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, string(got)); diff != "" {
				t.Errorf("%s is not what it was made from; make docs writes it anew:\n%s", name, diff)
			}
		})
	}
}

// page is a document in the making.
type page struct{ strings.Builder }

func (p *page) lines(text ...string) {
	for _, line := range text {
		p.WriteString(line + "\n")
	}
}

// plain takes the meaning from characters that Markdown gives one.
var plain = strings.NewReplacer("<", `\<`, "*", `\*`, "_", `\_`, "[", `\[`)

// prose breaks text anew; every line begins with the indent.
func (p *page) prose(indent, text string) {
	line := indent
	for word := range strings.FieldsSeq(text) {
		if line != indent && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			p.lines(line)
			line = indent
		}
		if line != indent {
			line += " "
		}
		line += word
	}
	if line != indent {
		p.lines(line)
	}
}
