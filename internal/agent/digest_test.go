// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"strings"
	"testing"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
)

func TestWhichDigestARecheckFound(t *testing.T) {
	sum := func(c string) string { return "sha256:" + strings.Repeat(c, 64) }
	index, manifest, moved := sum("b"), sum("a"), sum("c")
	named := func(repository, digest string) oci.Ref {
		ref, err := oci.ParseFound(repository + "@" + digest)
		if err != nil {
			t.Fatal(err)
		}
		return ref
	}
	for name, tc := range map[string]struct {
		known, came []string
		elsewhere   bool // the image has the new digest in another repository alone
		want        string
		brings      bool
	}{
		"an index and its manifest, as they stood": {known: []string{manifest, index}, came: []string{manifest, index}, want: index},
		"another image":                      {known: []string{manifest, index}, came: []string{moved}, want: moved, brings: true},
		"the same image by another index":    {known: []string{manifest, index}, came: []string{manifest, index, moved}, want: moved, brings: true},
		"one that was here under its digest": {known: []string{index, moved}, came: []string{moved}, want: moved},
		"a digest in another repository":     {known: []string{index}, came: []string{index}, elsewhere: true, want: index},
	} {
		t.Run(name, func(t *testing.T) {
			tag, err := oci.Parse("r.io/a:1")
			if err != nil {
				t.Fatal(err)
			}
			p := &pull{want: tag, recheck: "t1", entry: v1alpha1.StoreImage{Digest: index}, known: map[oci.Ref]int{}}
			for _, d := range tc.known {
				p.known[named("r.io/a", d)] = 0
			}
			var img engine.Image
			if tc.elsewhere {
				img.Digests = append(img.Digests, named("r.io/b", moved))
			}
			for _, d := range tc.came {
				img.Digests = append(img.Digests, named("r.io/a", d))
			}
			if got := p.digest(img); got != tc.want || p.brings(img) != tc.brings {
				t.Errorf("%s, brings %t; want %s, %t", got, p.brings(img), tc.want, tc.brings)
			}
		})
	}
}
