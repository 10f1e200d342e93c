// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"orlop.dev/orlop/internal/table"
)

const (
	// commentWidth is where comments break, their indent included.
	commentWidth = 110
	// indent is how far what stands in an object is moved to the right, as kubectl does.
	indent = 2
	// leastWidth is what a comment is given however deep it stands.
	leastWidth = 40
)

// YAML writes the objects with their comments, one document each, when all of them are known.
func (r *Report) YAML(w io.Writer) error {
	var out bytes.Buffer
	for i, draft := range r.Drafts {
		if i > 0 {
			out.WriteString("---\n")
		}
		text, err := draft.yaml()
		if err != nil {
			return fmt.Errorf("writing %s: %w", title(draft.Object), err)
		}
		out.Write(text)
	}
	_, err := w.Write(out.Bytes())
	return err
}

// JSON writes the objects as a List. JSON has no comments: the reviews are not in it.
func (r *Report) JSON(w io.Writer) error {
	list := struct {
		APIVersion string            `json:"apiVersion"`
		Kind       string            `json:"kind"`
		Items      []json.RawMessage `json:"items"`
	}{"v1", "List", []json.RawMessage{}}
	for _, draft := range r.Drafts {
		node, err := draft.node()
		if err != nil {
			return fmt.Errorf("writing %s: %w", title(draft.Object), err)
		}
		var out bytes.Buffer
		writeJSON(&out, node)
		list.Items = append(list.Items, out.Bytes())
	}
	text, err := json.MarshalIndent(list, "", "    ")
	if err != nil {
		return fmt.Errorf("writing the objects: %w", err)
	}
	_, err = w.Write(append(text, '\n'))
	return err
}

// writeJSON writes a tree that was JSON, with its fields in their order.
func writeJSON(out *bytes.Buffer, node *yaml.Node) {
	if node.Kind == yaml.ScalarNode {
		text := []byte(node.Value)
		if node.Tag == "!!str" {
			text, _ = json.Marshal(node.Value) // A string has no way to fail.
		}
		out.Write(text)
		return
	}
	open, shut, step := "{", "}", 2
	if node.Kind == yaml.SequenceNode {
		open, shut, step = "[", "]", 1
	}
	out.WriteString(open)
	for i, child := range node.Content {
		switch {
		case i == 0:
		case i%step == 0:
			out.WriteString(",")
		default:
			out.WriteString(":")
		}
		writeJSON(out, child)
	}
	out.WriteString(shut)
}

// node is the object as a tree, its fields in the order of the types.
func (d *Draft) node() (*yaml.Node, error) {
	text, err := json.Marshal(d.Object)
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	node, err := read(decoder)
	if err != nil {
		return nil, err
	}
	drop(node, "status")
	dropEmpty(node)
	if at := node.Content; len(at) > 3 && at[0].Value == "kind" { // TypeMeta has it first, and nobody writes it so.
		at[0], at[1], at[2], at[3] = at[2], at[3], at[0], at[1]
	}
	return node, nil
}

// read makes a tree of the next value.
func read(decoder *json.Decoder) (*yaml.Node, error) {
	token, err := decoder.Token()
	if err != nil {
		return nil, err
	}
	switch value := token.(type) {
	case json.Delim:
		return readMany(decoder, value)
	case string:
		node := &yaml.Node{}
		if err := node.Encode(value); err != nil { // It knows which texts must be quoted, also for readers of YAML 1.1.
			return nil, err
		}
		if node.Tag != "!!str" {
			return nil, errors.New("a text is not valid UTF-8")
		}
		return node, nil
	case json.Number:
		return &yaml.Node{Kind: yaml.ScalarNode, Value: value.String()}, nil
	case bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: strconv.FormatBool(value)}, nil
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: nullTag, Value: "null"}, nil
}

func readMany(decoder *json.Decoder, open json.Delim) (*yaml.Node, error) {
	node := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
	if open == '{' {
		node.Kind, node.Tag = yaml.MappingNode, "!!map"
	}
	for decoder.More() {
		child, err := read(decoder)
		if err != nil {
			return nil, err
		}
		if node.Kind == yaml.SequenceNode {
			node.Content = append(node.Content, child)
			continue
		}
		value, err := read(decoder)
		if err != nil {
			return nil, err
		}
		if value.Tag != nullTag { // A null is a field that nobody set, such as a template's creationTimestamp.
			node.Content = append(node.Content, child, value)
		}
	}
	_, err := decoder.Token()
	return node, err
}

// dropEmpty leaves out what the types of pods write where nothing is set. Elsewhere an empty object may mean something: emptyDir.
func dropEmpty(node *yaml.Node) {
	for _, name := range []string{"resources", "metadata"} {
		if at := child(node, name); at != nil && at[1].Kind == yaml.MappingNode && len(at[1].Content) == 0 {
			drop(node, name)
		}
	}
	for _, below := range node.Content {
		dropEmpty(below)
	}
}

func drop(node *yaml.Node, name string) {
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == name {
			node.Content = append(node.Content[:i:i], node.Content[i+2:]...)
			return
		}
	}
}

func (d *Draft) yaml() ([]byte, error) {
	node, err := d.node()
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	out.WriteString(comment(d.Comment, 0) + "\n")
	for _, review := range d.Reviews {
		at, depth := find(node, review.Path)
		if at == nil {
			out.WriteString(comment("REVIEW "+review.Text, 0) + "\n")
			continue
		}
		if at.HeadComment != "" {
			at.HeadComment += "\n"
		}
		at.HeadComment += comment("REVIEW "+review.Text, depth)
	}
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(indent)
	encoder.CompactSeqIndent()
	if err := errors.Join(encoder.Encode(node), encoder.Close()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// comment is a text as lines of a comment that is indented by depth.
func comment(text string, depth int) string {
	width := max(leastWidth, commentWidth-depth*indent)
	return "# " + strings.ReplaceAll(table.Wrap(clean(text), width-len("# "), 0), "\n", "\n# ")
}

var pathElement = regexp.MustCompile(`[^.\[\]]+|\[\d+\]`)

// find is the node above which a remark on a field stands: the field's name, or the item of a list; where the field is not set,
// it is the nearest one around it, and nil is the object.
func find(node *yaml.Node, path string) (at *yaml.Node, depth int) {
	for level, element := range pathElement.FindAllString(path, -1) {
		next := child(node, element)
		if next == nil {
			return at, depth
		}
		at, node, depth = next[0], next[1], level
	}
	return at, depth
}

// child is the name and the value of a field, or an item of a list as both.
func child(node *yaml.Node, element string) []*yaml.Node {
	if index, isIndex := strings.CutPrefix(element, "["); isIndex && node.Kind == yaml.SequenceNode {
		if i, err := strconv.Atoi(strings.TrimSuffix(index, "]")); err == nil && i < len(node.Content) {
			return []*yaml.Node{node.Content[i], node.Content[i]}
		}
		return nil
	}
	for i := 0; node.Kind == yaml.MappingNode && i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == element {
			return node.Content[i : i+2]
		}
	}
	return nil
}
