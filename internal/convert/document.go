// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxInput bounds what is read of one source: a cluster's worth of manifests, and not whatever a pipe goes on to send.
const maxInput = 64 << 20

// Document is one object of what is converted, with where it stood.
type Document struct {
	source string
	// root are its top fields.
	root *Fields
	errs []error
}

// Read splits a stream of YAML or JSON documents; those of a List are documents of their own. Errors name source and line.
func Read(source string, r io.Reader) ([]*Document, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxInput+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", source, err)
	}
	if len(text) > maxInput {
		return nil, fmt.Errorf("reading %s: it is larger than %d MB", source, maxInput>>20)
	}
	var docs []*Document
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var node yaml.Node
		err := decoder.Decode(&node)
		if errors.Is(err, io.EOF) {
			return docs, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %s", source, strings.TrimPrefix(err.Error(), "yaml: "))
		}
		found, err := documents(source, &node)
		if err != nil {
			return nil, err
		}
		docs = append(docs, found...)
	}
}

// documents are the objects of one YAML document: itself, or the items of a List.
func documents(source string, node *yaml.Node) ([]*Document, error) {
	if node.Kind == yaml.DocumentNode {
		if len(node.Content) == 0 {
			return nil, nil
		}
		node = node.Content[0]
	}
	if node.Tag == "!!null" {
		return nil, nil
	}
	if node.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s:%d: an object is expected here, and not %s", source, node.Line, kindOf(node))
	}
	doc := &Document{source: source}
	doc.root = newFields(doc, "", node)
	if len(doc.errs) > 0 {
		return nil, errors.Join(doc.errs...)
	}
	kind, _ := doc.root.peek("kind")
	if !strings.HasSuffix(kind, "List") || !doc.root.Has("items") {
		return []*Document{doc}, nil
	}
	var docs []*Document
	for _, item := range doc.root.nodes("items") {
		found, err := documents(source, item)
		if err != nil {
			return nil, err
		}
		docs = append(docs, found...)
	}
	return docs, errors.Join(doc.errs...)
}

// Group is the API group of the object; empty is the core's, or none.
func (d *Document) Group() string {
	version, _ := d.root.peek("apiVersion")
	group, _, found := strings.Cut(version, "/")
	if !found {
		return ""
	}
	return group
}

// Kind is the object's kind, empty where it is not an object of Kubernetes at all (Helm values).
func (d *Document) Kind() string {
	kind, _ := d.root.peek("kind")
	return kind
}

// Name is the object's name.
func (d *Document) Name() string { return d.meta("name") }

// Namespace is the object's namespace, empty where it says none.
func (d *Document) Namespace() string { return d.meta("namespace") }

func (d *Document) meta(key string) string {
	at := d.root.find("metadata")
	if at == nil || at.Kind != yaml.MappingNode {
		return ""
	}
	for i := 0; i+1 < len(at.Content); i += 2 {
		if at.Content[i].Value == key {
			return at.Content[i+1].Value
		}
	}
	return ""
}

// Place is where the document begins, as file:line.
func (d *Document) Place() string { return fmt.Sprintf("%s:%d", d.source, d.root.node.Line) }

// Title is what the object calls itself, as a person would: "apps.kruise.io BroadcastJob ops/sweep".
func (d *Document) Title() string {
	if d.Kind() == "" {
		return "document without a kind"
	}
	name := d.Name()
	if ns := d.Namespace(); ns != "" {
		name = ns + "/" + name
	}
	return strings.TrimSpace(strings.Join([]string{d.Group(), d.Kind(), name}, " "))
}

// fail says that what stands at a node cannot be understood.
func (d *Document) fail(node *yaml.Node, format string, args ...any) {
	d.errs = append(d.errs, fmt.Errorf("%s:%d: %s", d.source, node.Line, fmt.Sprintf(format, args...)))
}

func kindOf(node *yaml.Node) string {
	switch node.Kind {
	case yaml.MappingNode:
		return "an object"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return kindOf(node.Alias)
	default:
		return fmt.Sprintf("%q", node.Value)
	}
}
