// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"strings"
	"testing"
)

func TestDiff(t *testing.T) {
	for name, each := range map[string]struct {
		want, got string
		differs   bool
	}{
		"the same":              {want: "done\nall", got: "done\nall\n"},
		"nothing":               {},
		"something for nothing": {got: "oops\n", differs: true},
		"nothing for something": {want: "done", differs: true},
		"another word":          {want: "5 images removed", got: "5 images pulled\n", differs: true},
		"another number":        {want: "5 images removed", got: "4 images removed\n", differs: true},
		"wider columns":         {want: "NAME   AGE\nweb    2s", got: "NAME      AGE\nweb       14m\n"},
		"sizes":                 {want: "web 412MB, 2.5GiB free, 58MB/s", got: "web 1.5kB, 0B free, 9MB/s\n"},
		"a size is no word":     {want: "web 412MB", got: "web unknown\n", differs: true},
		"ages and durations":    {want: "Ready after 1.4s, 3m12s, 12d", got: "Ready after 52ms, 2s, 1h\n"},
		"digests and ids":       {want: "sha256:91ab… 3f8a1c0be21d", got: "sha256:" + strings.Repeat("0a", 32) + " 0123456789abc\n"},
		"a count is no id":      {want: "123 nodes", got: "124 nodes\n", differs: true},
		"versions":              {want: "Kubernetes v1.36.3, containerd 2.4.2 here", got: "Kubernetes v1.37.0-rc.1, containerd 2.5.0 here\n"},
		"a tag is no version":   {want: "ghcr.io/acme/web:2026.10.9", got: "ghcr.io/acme/web:2026.10.8\n", differs: true},
		"dates and addresses":   {want: "2026-11-20T17:48:00Z 10.0.0.1", got: "2027-01-02T03:04:05Z 172.30.0.2:6443\n"},
		"generated names": {want: "rm-xinzy web-29919947 orlop-list-bjfi5y-node1 orlop-controller-6f9c8d7b5f-x2k9p",
			got: "rm-a2c4e web-30000000 orlop-list-2c5vy4-node1 orlop-controller-7c5b9f6d4-bbbbb\n"},
		"any text of a line":       {want: "imagecache… created", got: "imagecache.orlop.dev/web was created\n"},
		"any lines":                {want: "a\n…\nz", got: "a\nb\nc\nz\n"},
		"no lines are any lines":   {want: "a\n…\nz", got: "a\nz\n"},
		"any lines, but then more": {want: "a\n…\nz", got: "a\nb\nz\ny\n", differs: true},
		"any lines at the end":     {want: "a\n…", got: "a\nb\n"},
		"nodes in their own order": {want: "node1 │ a\nnode2 │ b\ndone", got: "node2 │ b\nnode1 │ a\ndone\n"},
		"a node too many":          {want: "node1 │ a\ndone", got: "node2 │ b\nnode1 │ a\ndone\n", differs: true},
		"a node is missing":        {want: "node1 │ a\nnode2 │ b\ndone", got: "node1 │ a\ndone\n", differs: true},
		"what it is at, left out":  {want: "done", got: "► asking 3 nodes (if this is killed: kubectl orlop cleanup --run i5puce)\ndone\n"},
		"what it is at, told":      {want: "► asking 3 nodes by NodeJob ops/rm-abcde\ndone", got: "► asking 2 nodes by NodeJob ops/rm-abcde\ndone\n", differs: true},
		"some nodes":               {want: "node1 │ a\n…\ndone", got: "node2 │ b\nnode1 │ a\nby the way\ndone\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var want []string
			if each.want != "" {
				want = strings.Split(each.want, "\n")
			}
			if diff := Diff(want, each.got); (diff != "") != each.differs {
				t.Errorf("differs: %t\n%s", each.differs, diff)
			}
		})
	}
}

func TestDiffNamesTheFirstLineThatIsNotThere(t *testing.T) {
	diff := Diff([]string{"a", "…", "x", "z"}, "a\nb\nx\ny\n")
	if !strings.HasPrefix(diff, `the page has "z",`) {
		t.Error(diff)
	}
}
