// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"orlop.dev/orlop/test/e2e/stage"
)

var namespaceLine = regexp.MustCompile(`(?m)^  namespace: (\S+)$`)

// TestGoldensAreTaken: what each golden input becomes is taken by the API server.
func TestGoldensAreTaken(t *testing.T) {
	root, err := stage.Root()
	if err != nil {
		t.Fatal(err)
	}
	wants, err := filepath.Glob(filepath.Join(root, "internal/convert/testdata/*/want.yaml"))
	if err != nil || len(wants) == 0 {
		t.Fatal(wants, err)
	}
	var all []string
	namespaces := map[string]bool{"default": true}
	for _, want := range wants {
		text, err := os.ReadFile(want)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range namespaceLine.FindAllStringSubmatch(string(text), -1) {
			if !namespaces[found[1]] {
				namespaces[found[1]] = true
				here.Apply(t, `{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "`+found[1]+`"}}`)
			}
		}
		all = append(all, string(text))
	}
	here.KubectlReads(t, strings.Join(all, "\n---\n"), "apply", "--server-side", "--dry-run=server", "-f", "-").Want(t, 0)
}
