// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The sockets of the page are those that the code looks for.
func TestSocketsAreThoseOfTheCode(t *testing.T) {
	var code []string
	for _, file := range []string{"../internal/fleet/sockets.go", "../internal/engine/socket/find.go"} {
		for _, text := range literals(t, file) {
			if strings.HasPrefix(text, "/") && strings.HasSuffix(text, ".sock") {
				code = append(code, text)
			}
		}
	}
	var page []string
	for _, found := range regexp.MustCompile("`(/[^`]+\\.sock)`").FindAllStringSubmatch(read(t, "compatibility.md"), -1) {
		page = append(page, found[1])
	}
	if diff := cmp.Diff(sorted(code), sorted(page)); diff != "" {
		t.Errorf("compatibility.md (-code +page):\n%s", diff)
	}
}
