// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

// TestRead: the titles of what is found, with where each begins.
func TestRead(t *testing.T) {
	cases := map[string]struct {
		text string
		want []string
	}{
		"nothing":              {"", nil},
		"comments alone":       {"# a\n---\n# b\n---\n", nil},
		"two":                  {"kind: A\n---\nkind: B\nmetadata: {name: b, namespace: n}\n", []string{"1 A", "3 B n/b"}},
		"empty ones between":   {"---\n---\nkind: A\n---\nnull\n---\n\n---\nkind: B\n", []string{"3 A", "9 B"}},
		"CRLF":                 {"kind: A\r\nmetadata:\r\n  name: a\r\n---\r\nkind: B\r\n", []string{"1 A a", "5 B"}},
		"BOM":                  {"\ufeffkind: A\n---\nkind: B\n", []string{"1 A", "3 B"}},
		"JSON":                 {`{"kind": "A", "metadata": {"name": "a"}}`, []string{"1 A a"}},
		"JSON, indented":       {"{\n\t\"kind\": \"A\",\n\t\"metadata\": {\n\t\t\"name\": \"a\"\n\t}\n}\n", []string{"1 A a"}},
		"JSON, several":        {"{\"kind\": \"A\"}\n\n{\"kind\":\n\"B\"} {\"kind\": \"C\"}", []string{"1 A", "3 B", "4 C"}},
		"flow style":           {"{kind: A}", []string{"1 A"}},
		"a List":               {"kind: List\nitems:\n- kind: A\n-\n  kind: B\n", []string{"3 A", "5 B"}},
		"a kind's own list":    {"apiVersion: g/v1\nkind: CatList\nitems:\n- {apiVersion: g/v1, kind: Cat}\n", []string{"4 g Cat"}},
		"no list":              {"apiVersion: eraser.sh/v1\nkind: ImageList\nspec: {images: []}\n", []string{"1 eraser.sh ImageList"}},
		"an empty list":        {"kind: List\nitems: []\n", nil},
		"anchors":              {"kind: &k A\nmetadata: {name: *k}\n", []string{"1 A A"}},
		"merges":               {"a: &a {kind: A, metadata: {name: a}}\n<<: *a\nmetadata: {name: b}\n", []string{"1 A b"}},
		"merges of several":    {"a: &a {kind: A}\nb: &b {kind: B, metadata: {name: b}}\n<<: [*a, *b]\n", []string{"1 A b"}},
		"no kind":              {"a: 1\n", []string{"1 document without a kind"}},
		"a number as a name":   {"kind: A\nmetadata: {name: 1}\n", []string{"1 A 1"}},
		"odd letters in names": {"kind: \"A\\x1b[31m\\nB\"\n", []string{"1 A\ufffd[31m B"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			docs, err := Read("f", strings.NewReader(c.text))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, doc := range docs {
				got = append(got, strings.TrimPrefix(doc.Place(), "f:")+" "+doc.Title())
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestReadRefuses: by file and line.
func TestReadRefuses(t *testing.T) {
	bomb := "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
	for i := 1; i < 12; i++ {
		bomb += fmt.Sprintf("a%d: &a%d [%s*a%d]\n", i, i, strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 8), i-1)
	}
	cases := map[string]struct {
		text string
		want []string
	}{
		"a text":              {"hello", []string{`f:1: an object is expected here, not "hello"`}},
		"a list":              {"kind: A\n---\n- a\n", []string{"f:3: an object is expected here, not a list"}},
		"broken":              {"kind: A\na: [\nb: c\n", []string{"f:2: this is not YAML"}},
		"broken at once":      {"}", []string{"f:1: this is not YAML"}},
		"a bad indent":        {"kind: A\nmetadata:\n  name: a\n   labels: {}\n", []string{"f:4: this is not YAML: mapping values are not allowed"}},
		"an unclosed text":    {"kind: A\na: b\nc: \"d\n", []string{"f:3: this is not YAML"}},
		"an unindented list":  {"kind: A\na:\n  b: c\n- d\n", []string{"f:4: this is not YAML"}},
		"tabs":                {"kind: A\n\ta: b\n", []string{"f:2: this is not YAML: found a tab character"}},
		"not text at all":     {"\x00\x01\x02", []string{"f:1: this is not YAML"}},
		"a letter of Latin-1": {"kind: A\nmetadata:\n  name: a\n  annotations: {a: caf\xe9}\n", []string{"f:4: this is not YAML: "}},
		"a control character": {strings.Repeat("kind: A\n---\n", 3000) + "a: \x1b[0m\n", []string{"f:6001: this is not YAML: control characters"}},
		"the same in JSON":    {"{\"kind\": \"A\"}\n{\"kind\": \"A\",\n\"a\": \"caf\xe9\"}", []string{"f:3: this is not YAML: "}},
		"no such anchor":      {"kind: *a\n", []string{"f:1: this is not YAML: unknown anchor"}},
		"a key twice": {"kind: A\nspec:\n  a: 1\n  b: 2\n  a: 3\n  b: 4\n", []string{
			"f:5: a is here twice", "f:6: b is here twice"}},
		"a key twice in JSON":    {"{\"kind\": \"A\"}\n{\"kind\": \"A\",\n\"kind\": \"B\"}", []string{"f:3: kind is here twice"}},
		"a list as a key":        {"kind: A\n? [a]\n: b\n", []string{"f:2: the name of a field must be a text, not a list"}},
		"nothing as a key":       {"kind: A\n~: b\n", []string{"f:2: the name of a field must be a text, not nothing"}},
		"a tag":                  {"kind: A\na: !Ref b\n", []string{"f:2: the tag !Ref has no meaning"}},
		"a merge of a text":      {"kind: A\n<<: b\n", []string{`f:2: << takes in objects, and not "b"`}},
		"an item that is no one": {"kind: List\nitems:\n- kind: A\n- 1\n- []\n", []string{"f:4: an object is expected", "f:5: an object is expected"}},
		"a list in a list":       {"kind: List\nitems:\n- kind: List\n  items: []\n", []string{"f:3: a List within a list"}},
		"items that are no list": {"kind: List\nitems: {}\n", []string{"f:2: items: a list is expected, not an object"}},
		"within itself":          {"kind: A\na: &a\n  b: [*a]\n", []string{"f:3: *a stands within what it stands for"}},
		"a bomb":                 {bomb, []string{"f:", "repeat more than 100000 fields"}},
		"deep":                   {"kind: A\na: " + strings.Repeat("[", 200) + strings.Repeat("]", 200), []string{"f:2: objects and lists stand more than 100 deep"}},
		"very deep":              {strings.Repeat("[", 100_000), []string{"f:1: this is not YAML: exceeded max depth"}},
		"many errors":            {"kind: A\n" + strings.Repeat("a: !x b\n", 1000), []string{"f:2: the tag !x", "f:5: the tag !x", "and more like these"}},
		"too many":               {strings.Repeat("{}\n", maxDocuments+1), []string{"more than 10000 objects"}},
		"too much":               {strings.Repeat("a", maxInput+1), []string{"reading f: it is larger than 16 MB"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			docs, err := Read("f", strings.NewReader(c.text))
			if err == nil || docs != nil {
				t.Fatalf("%v %v", docs, err)
			}
			for _, words := range c.want {
				if !strings.Contains(err.Error(), words) {
					t.Errorf("%q is not in %v", words, err)
				}
			}
			if n := strings.Count(err.Error(), "\n"); n > maxErrors {
				t.Errorf("%d lines of errors", n)
			}
		})
	}
	broken := errors.New("the pipe broke")
	if _, err := Read("f", iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
}

// TestFields: each kind of field as it should be, what is wrong with its line, and what nobody asked for.
func TestFields(t *testing.T) {
	docs, err := Read("f", strings.NewReader(`kind: A
text: 1.0
number: "12"
flag: yes
list: [a, 1, true]
map: {a: 1, b: null}
objects: [{a: 1, b: 2}]
typed: {key: a, operator: Exists}
json: '{"key": "a", "operator": "Exists"}'
none: null
badnumber: x
badlist: a
badtexts: [[], null]
badobjects: [a]
badmap: {a: []}
badtyped: {kye: a}
badjson: '{"key": "a"} x'
unread: {a: 1}
half: {read: 1, unread: 2}
`))
	if err != nil {
		t.Fatal(err)
	}
	root := docs[0].root
	type got struct {
		Text, Number, Flag, List, Map, Object, None string
	}
	n, _ := root.Int("number")
	is := got{root.Text("text"), fmt.Sprint(n), fmt.Sprint(root.Bool("flag")), fmt.Sprint(root.Texts("list")), fmt.Sprint(root.TextMap("map")),
		root.Objects("objects")[0].Text("a"), root.Text("none") + fmt.Sprint(root.Has("none"), len(root.Objects("none")))}
	if diff := cmp.Diff(got{"1.0", "12", "true", "[a 1 true]", "map[a:1 b:]", "1", "false 0"}, is); diff != "" {
		t.Error(diff)
	}
	var typed, fromJSON struct{ Key, Operator string }
	if !root.Into("typed", &typed) || !root.TextInto("json", &fromJSON) || typed != fromJSON || typed.Key != "a" {
		t.Errorf("%+v %+v", typed, fromJSON)
	}
	root.Int("badnumber")
	root.Texts("badlist")
	root.Texts("badtexts")
	root.Objects("badobjects")
	root.TextMap("badmap")
	root.Into("badtyped", &typed)
	root.TextInto("badjson", &typed)
	root.Object("half").Text("read")
	root.Done("kind")
	want := `f:11: badnumber: a whole number is expected, not "x"
f:12: badlist: a list is expected, not "a"
f:13: badtexts: a text is expected, not a list
f:13: badtexts: a text is expected, not nothing
f:14: badobjects[0]: an object is expected, not "a"
f:15: badmap.a: a text is expected, not a list
f:16: badtyped: unknown field "kye"
f:17: badjson: the JSON in it cannot be read: there is more after it`
	if diff := cmp.Diff(want, several(docs[0].errs).Error()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"objects[0].b", "unread", "half.unread"}, root.Unread()); diff != "" {
		t.Error(diff)
	}
}
