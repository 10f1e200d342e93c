// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Document is one object of what is converted, with where it stood.
type Document struct {
	source string
	// live: it is of a cluster, and has no lines.
	live bool
	// root are its top fields.
	root *Fields
	errs []error
}

// Live is a document of an object that a cluster holds.
func Live(object map[string]any) (*Document, error) {
	node := &yaml.Node{}
	if err := node.Encode(object); err != nil {
		return nil, fmt.Errorf("reading an object of the cluster: %w", err)
	}
	doc := &Document{live: true}
	doc.root = newFields(doc, "", node)
	return doc, nil
}

// Claimed tells whether anything here converts the document.
func (d *Document) Claimed() bool {
	return slices.ContainsFunc(converters, func(c converter) bool { return c.claims(d) })
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
	text, _ := newFields(d, "metadata", at).peek(key)
	return text
}

// file is what errors about a text within the document call it.
func (d *Document) file() string {
	if d.live {
		return d.Title()
	}
	return d.source
}

// Place is where the document begins, as file:line.
func (d *Document) Place() string { return d.at(d.root.node) }

func (d *Document) at(node *yaml.Node) string {
	if d.live {
		return d.Title()
	}
	return fmt.Sprintf("%s:%d", d.source, node.Line)
}

// Title is what the object calls itself, as a person would: "apps.kruise.io BroadcastJob ops/sweep".
func (d *Document) Title() string {
	if d.Kind() == "" {
		return "document without a kind"
	}
	name := d.Name()
	if ns := d.Namespace(); ns != "" {
		name = ns + "/" + name
	}
	return clean(strings.TrimSpace(strings.Join([]string{d.Group(), d.Kind(), name}, " ")))
}

// fail says that what stands at a node cannot be understood.
func (d *Document) fail(node *yaml.Node, format string, args ...any) {
	d.errs = append(d.errs, fmt.Errorf("%s: %s", d.at(node), clean(fmt.Sprintf(format, args...))))
}

func kindOf(node *yaml.Node) string {
	switch {
	case node.Kind == yaml.MappingNode:
		return "an object"
	case node.Kind == yaml.SequenceNode:
		return "a list"
	case node.Tag == nullTag:
		return "nothing"
	case len(node.Value) > maxShown:
		return fmt.Sprintf("%q…", node.Value[:maxShown])
	default:
		return fmt.Sprintf("%q", node.Value)
	}
}

// maxShown bounds how much of a refused text an error repeats: enough to recognise it, never a screenful.
const maxShown = 80

// look walks to a field without marking anything as read; nil is not there.
func (d *Document) look(path ...string) *Fields {
	at := d.root
	for _, key := range path {
		value := at.find(key)
		if value == nil || value.Kind != yaml.MappingNode {
			return newFields(d, "", nil)
		}
		at = newFields(d, join(at.path, key), value)
	}
	return at
}

// objectsAt are the objects of a list, without marking anything as read.
func (d *Document) objectsAt(path ...string) (objects []*Fields) {
	list := d.look(path[:len(path)-1]...).find(path[len(path)-1])
	if list == nil {
		return nil
	}
	for _, item := range list.Content {
		if list.Kind == yaml.SequenceNode && item.Kind == yaml.MappingNode {
			objects = append(objects, newFields(d, "", item))
		}
	}
	return objects
}

// runs tells whether a container of the workload is of an image whose name has this in it.
func (d *Document) runs(image string) bool {
	return slices.ContainsFunc(d.objectsAt("spec", "template", "spec", "containers"), func(container *Fields) bool {
		name, _ := container.peek("image")
		return strings.Contains(name, image)
	})
}
