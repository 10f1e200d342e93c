// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	kyaml "sigs.k8s.io/yaml"
)

// Fields is an object within a document. It knows which of its fields were asked for: those that were not are told in the
// report, by Unread. A field of the wrong kind is an error of the document, with its line, and reads as if absent.
type Fields struct {
	doc   *Document
	path  string
	node  *yaml.Node
	names []string
	value map[string]*yaml.Node
	taken map[string]bool
	below map[string][]*Fields
}

// newFields reads a mapping, which has been resolved; nil is an empty one.
func newFields(doc *Document, path string, node *yaml.Node) *Fields {
	f := &Fields{doc: doc, path: path, node: node, value: map[string]*yaml.Node{}, taken: map[string]bool{}, below: map[string][]*Fields{}}
	if node == nil {
		return f
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key := node.Content[i].Value
		f.names = append(f.names, key)
		f.value[key] = node.Content[i+1]
	}
	return f
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// find is the value of a key, or nil; nothing is marked as read. Null is as if absent.
func (f *Fields) find(key string) *yaml.Node {
	value := f.value[key]
	if value == nil || value.Tag == nullTag {
		return nil
	}
	return value
}

// peek is a scalar's text without marking it as read.
func (f *Fields) peek(key string) (string, bool) {
	value := f.find(key)
	if value == nil || value.Kind != yaml.ScalarNode {
		return "", false
	}
	return value.Value, true
}

// Has tells whether the field is there and not null; it does not count as read.
func (f *Fields) Has(key string) bool { return f.find(key) != nil }

// Keys are the names of all fields, in their order.
func (f *Fields) Keys() []string { return f.names }

// Fail says that a field cannot be understood, or is not what it must be.
func (f *Fields) Fail(key, format string, args ...any) {
	at := f.find(key)
	if at == nil {
		at = f.node
	}
	if at == nil {
		at = f.doc.root.node
	}
	f.doc.fail(at, "%s: %s", join(f.path, key), fmt.Sprintf(format, args...))
}

// Text is a scalar as it was written; numbers and booleans are texts too.
func (f *Fields) Text(key string) string {
	f.taken[key] = true
	value := f.find(key)
	if value == nil {
		return ""
	}
	if value.Kind != yaml.ScalarNode {
		f.Fail(key, "a text is expected, not %s", kindOf(value))
		return ""
	}
	return value.Value
}

// Int is a whole number, and whether there is one; digits in quotes are a number.
func (f *Fields) Int(key string) (int64, bool) {
	text := f.Text(key)
	if text == "" {
		return 0, false
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		f.Fail(key, "a whole number is expected, not %q", text)
		return 0, false
	}
	return n, true
}

// Bool is true or false; absent is false.
func (f *Fields) Bool(key string) bool {
	switch text := f.Text(key); strings.ToLower(text) {
	case "true", "yes", "on": // The last two are true to the YAML that an API server reads.
		return true
	case "", "false", "no", "off":
	default:
		f.Fail(key, "true or false is expected, not %q", text)
	}
	return false
}

// nodes are the items of a list.
func (f *Fields) nodes(key string) []*yaml.Node {
	f.taken[key] = true
	value := f.find(key)
	if value == nil {
		return nil
	}
	if value.Kind != yaml.SequenceNode {
		f.Fail(key, "a list is expected, not %s", kindOf(value))
		return nil
	}
	return value.Content
}

// Texts is a list of scalars.
func (f *Fields) Texts(key string) (texts []string) {
	for _, item := range f.items(key) {
		texts = append(texts, item.text)
	}
	return texts
}

// An item is a scalar of a list, with where it stands.
type item struct {
	text string
	node *yaml.Node
}

func (f *Fields) items(key string) (items []item) {
	for _, node := range f.nodes(key) {
		if node.Kind != yaml.ScalarNode || node.Tag == nullTag {
			f.doc.fail(node, "%s: a text is expected, not %s", join(f.path, key), kindOf(node))
			continue
		}
		items = append(items, item{node.Value, node})
	}
	return items
}

// TextMap is an object whose values are scalars, such as labels.
func (f *Fields) TextMap(key string) map[string]string {
	if !f.Has(key) {
		f.taken[key] = true
		return nil
	}
	texts := map[string]string{}
	at := f.Object(key)
	for _, name := range at.Keys() {
		texts[name] = at.Text(name)
	}
	return texts
}

// Object is the object in a field; where there is none it is empty, and never nil.
func (f *Fields) Object(key string) *Fields {
	f.taken[key] = true
	if known := f.below[key]; len(known) > 0 {
		return known[0]
	}
	value := f.find(key)
	if value != nil && value.Kind != yaml.MappingNode {
		f.Fail(key, "an object is expected, not %s", kindOf(value))
		value = nil
	}
	below := newFields(f.doc, join(f.path, key), value)
	f.below[key] = []*Fields{below}
	return below
}

// Objects are the objects of a list.
func (f *Fields) Objects(key string) []*Fields {
	if known, ok := f.below[key]; ok {
		return known
	}
	var below []*Fields
	for i, item := range f.nodes(key) {
		path := fmt.Sprintf("%s[%d]", join(f.path, key), i)
		if item.Kind != yaml.MappingNode {
			f.doc.fail(item, "%s: an object is expected, not %s", path, kindOf(item))
			continue
		}
		below = append(below, newFields(f.doc, path, item))
	}
	f.below[key] = below
	return below
}

// Into reads a field strictly into a type of Kubernetes' own, whole: a field that the type does not have is an error.
func (f *Fields) Into(key string, target any) bool {
	f.taken[key] = true
	value := f.find(key)
	if value == nil {
		return false
	}
	text, err := yaml.Marshal(value)
	if err == nil {
		err = kyaml.UnmarshalStrict(text, target)
	}
	if err != nil {
		f.Fail(key, "%s", trimDecoder(err))
		return false
	}
	return true
}

// TextInto reads a field that holds JSON in a string, or, as Helm values may, the thing itself.
func (f *Fields) TextInto(key string, target any) bool {
	value := f.find(key)
	if value == nil || value.Kind != yaml.ScalarNode {
		return f.Into(key, target)
	}
	text := f.Text(key)
	if text == "" {
		return false
	}
	decoder := json.NewDecoder(bytes.NewReader([]byte(text)))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(target)
	if err == nil && decoder.InputOffset() < int64(len(strings.TrimRight(text, " \t\r\n"))) {
		err = errors.New("there is more after it")
	}
	if err != nil {
		f.Fail(key, "the JSON in it cannot be read: %s", trimDecoder(err))
		return false
	}
	return true
}

// Done marks a field as dealt with, with all below it.
func (f *Fields) Done(keys ...string) {
	for _, key := range keys {
		f.taken[key] = true
		delete(f.below, key)
	}
}

// Unread are the paths of all fields that nothing asked for, in the order of the document.
func (f *Fields) Unread() (paths []string) {
	for _, key := range f.Keys() {
		if !f.taken[key] {
			paths = append(paths, join(f.path, key))
			continue
		}
		for _, below := range f.below[key] {
			paths = append(paths, below.Unread()...)
		}
	}
	return paths
}

// trimDecoder leaves of a decoder's error what speaks of the field.
func trimDecoder(err error) string {
	text := err.Error()
	for _, prefix := range []string{"error unmarshaling JSON: ", "error converting YAML to JSON: ", "while decoding JSON: ", "json: ", "yaml: "} {
		text = strings.TrimPrefix(text, prefix)
	}
	return text
}
