// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	yamlv3 "go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	kyaml "sigs.k8s.io/yaml"

	"orlop.dev/orlop/api/v1alpha1"
)

// readsBack: what is written, as YAML and as JSON, is read by what kubectl reads with, and is the same objects.
func readsBack(t *testing.T, report *Report) {
	t.Helper()
	var out, list bytes.Buffer
	if err := report.YAML(&out); err != nil {
		t.Fatal(err)
	}
	if err := report.JSON(&list); err != nil {
		t.Fatal(err)
	}
	var parsed struct {
		Kind  string            `json:"kind"`
		Items []json.RawMessage `json:"items"`
	}
	if err := json.Unmarshal(list.Bytes(), &parsed); err != nil || parsed.Kind != "List" || len(parsed.Items) != len(report.Drafts) {
		t.Fatalf("%v: %s", err, list.String())
	}
	documents := yaml.NewYAMLReader(bufio.NewReader(&out))
	for i, draft := range report.Drafts {
		text, err := documents.Read()
		if err != nil {
			t.Fatalf("document %d: %v", i, err)
		}
		strictly := func(text []byte, into any) error { return kyaml.UnmarshalStrict(text, into) }
		texts := map[string][]byte{"YAML": text, "JSON": parsed.Items[i]}
		for what, decode := range map[string]func([]byte, any) error{"YAML": strictly, "JSON": json.Unmarshal} {
			back := reflect.New(reflect.TypeOf(draft.Object).Elem()).Interface()
			text := texts[what]
			if err := decode(text, back); err != nil {
				t.Fatalf("%s: %v\n%s", what, err, text)
			}
			if diff := cmp.Diff(asJSON(t, draft.Object), asJSON(t, back)); diff != "" {
				t.Errorf("%s: %s\n%s", what, diff, text)
			}
		}
	}
	if more, err := documents.Read(); !errors.Is(err, io.EOF) || len(report.Drafts) == 0 && len(more) > 0 {
		t.Errorf("there is more: %v %s", err, more)
	}
}

func asJSON(t *testing.T, object any) string {
	t.Helper()
	text, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestWhatIsWritten: fields in the order of the types, texts that mean something else unquoted are quoted, remarks where they belong.
func TestWhatIsWritten(t *testing.T) {
	cache := &v1alpha1.ImageCache{
		TypeMeta: metav1.TypeMeta{APIVersion: "orlop.dev/v1alpha1", Kind: "ImageCache"},
		ObjectMeta: metav1.ObjectMeta{Name: "on", Namespace: "default", Annotations: map[string]string{
			"a": "yes", "b": "1:30", "c": "012", "d": "two\nlines\n", "e": "#", "f": "0x1f", "g": "~", "h": "é\u0085", "i": "1e3", "j": "",
		}},
		Spec: v1alpha1.ImageCacheSpec{Images: []v1alpha1.CachedImage{{Image: "a:1"}, {Image: "b:1"}}, Tolerations: []corev1.Toleration{{Operator: "Exists"}}},
	}
	report := &Report{}
	doc := &Document{source: "f"}
	doc.root = newFields(doc, "", node(t, "kind: X"))
	draft := report.Add(cache, report.Row(doc))
	draft.Review("", "the whole,\nof it")
	draft.Review("spec.images[1].imagePullPolicy", "%s", strings.Repeat("word ", 40))
	draft.Review("spec.images[1]", "and again")
	draft.Review("spec.suspend", "is not set")
	readsBack(t, report)
	var out bytes.Buffer
	if err := report.YAML(&out); err != nil {
		t.Fatal(err)
	}
	want := `# From X (f:1)
# REVIEW the whole, of it
apiVersion: orlop.dev/v1alpha1
kind: ImageCache
metadata:
  name: "on"
  namespace: default
  annotations:
    a: "yes"
    b: "1:30"
    c: "012"
    d: |
      two
      lines
    e: '#'
    f: "0x1f"
    g: "~"
    h: "é\N"
    i: "1e3"
    j: ""
# REVIEW is not set
spec:
  images:
  - image: a:1
  # REVIEW word word word word word word word word word word word word word word word word word word word
  # word word word word word word word word word word word word word word word word word word word word word
  # REVIEW and again
  - image: b:1
  tolerations:
  - operator: Exists
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

func node(t *testing.T, text string) *yamlv3.Node {
	t.Helper()
	var node yamlv3.Node
	if err := yamlv3.Unmarshal([]byte(text), &node); err != nil {
		t.Fatal(err)
	}
	return node.Content[0]
}
