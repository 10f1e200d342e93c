// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// tilde stands for a backquote, which Go's raw strings cannot have.
func page(text string) string { return strings.ReplaceAll(text, "~", "`") }

func TestParse(t *testing.T) {
	got, err := Parse("docs/x.md", page(`# X
<!-- lab: empty -->

## First
<!-- setup: push ghcr.io/acme/web:1 5MB
  node2# crictl rmi nginx
-->
~~~yaml
# web.yaml
kind: ImageCache
~~~
<!-- exit: 3 -->
~~~console
$ kubectl apply -f web.yaml   # a comment
made

$ cat <<END
> one
END
one
node1# orlop-node list \
  --all
…
~~~
~~~console
$ true
~~~
<!-- not run: no krew here -->
~~~text
$ kubectl krew install orlop
~~~
~~~yaml
apiVersion: orlop.dev/v1alpha1
metadata: {name: web, namespace: shop}
~~~
~~~yaml
healthChecks:
- apiVersion: orlop.dev/v1alpha1
~~~
<!-- A remark. -->
<!-- cleanup:
kubectl delete namespace shop
-->
`))
	if err != nil {
		t.Fatal(err)
	}
	want := Page{
		Path: "docs/x.md", Lab: LabEmpty,
		Steps: []Step{
			{Heading: "First", Line: 5, Hidden: true, Commands: []Command{{Line: 5, Text: "push ghcr.io/acme/web:1 5MB"}, {Line: 6, Node: "node2", Text: "crictl rmi nginx"}}},
			{Heading: "First", Line: 8, File: "web.yaml", Content: "# web.yaml\nkind: ImageCache\n"},
			{Heading: "First", Line: 13, Code: 3, Commands: []Command{
				{Line: 14, Text: "kubectl apply -f web.yaml   # a comment", Want: []string{"made"}},
				{Line: 17, Text: "cat <<END\none\nEND", Want: []string{"one"}},
				{Line: 21, Node: "node1", Text: "orlop-node list \\\n  --all", Want: []string{"…"}},
			}},
			{Heading: "First", Line: 25, Commands: []Command{{Line: 26, Text: "true"}}},
		},
		Cleanup:   []Command{{Line: 42, Text: "kubectl delete namespace shop"}},
		Manifests: []Manifest{{32, "apiVersion: orlop.dev/v1alpha1\nmetadata: {name: web, namespace: shop}\n"}},
		Left:      []Left{{29, "no krew here"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := got.Manifests[0].anywhere(); got != "apiVersion: orlop.dev/v1alpha1\nmetadata: {name: web}\n" {
		t.Error(got)
	}
}

func TestWhatIsNoPage(t *testing.T) {
	for name, each := range map[string]struct{ text, want string }{
		"no lab":              {"~~~console\n$ true\n~~~", "says on which cluster"},
		"unknown lab":         {"<!-- lab: moon -->", `x.md:1: no lab is "moon"`},
		"no end of a block":   {"\n~~~console\n$ true", "x.md:2: the block has no end"},
		"no end of a comment": {"<!-- setup: true", "the comment has no end"},
		"output alone":        {"<!-- lab: none -->\n~~~console\nhello\n~~~", "begins with a command"},
		"no code":             {"<!-- exit: three -->", "no exit code"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Parse("x.md", page(each.text)); err == nil || !strings.Contains(err.Error(), each.want) {
				t.Errorf("%v, want %q", err, each.want)
			}
		})
	}
}
