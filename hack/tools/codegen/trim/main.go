// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Command trim makes the schemas of pod templates in the CustomResourceDefinitions that it is given as strict as their Go types, takes
// the descriptions out, and writes them in YAML's flow style: they are documented where pods are, and with all of it such a kind
// would take seven times the room in files, in releases of Helm, and in each client that asks a cluster for its kinds.
package main

import (
	"bytes"
	"fmt"
	"os"

	"go.yaml.in/yaml/v3"
)

func main() {
	for _, file := range os.Args[1:] {
		if err := trim(file); err != nil {
			fmt.Fprintln(os.Stderr, "trim:", err)
			os.Exit(1)
		}
	}
}

func trim(file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var crd yaml.Node
	if err := yaml.Unmarshal(data, &crd); err != nil {
		return fmt.Errorf("reading %s: %w", file, err)
	}
	each(&crd, func(key string, value *yaml.Node) {
		if template := entry(value, "template"); key == "properties" && template != nil {
			strict(template)
			short(template)
		}
	})
	out := bytes.NewBufferString("---\n")
	enc := yaml.NewEncoder(out)
	enc.SetIndent(2)
	if err := enc.Encode(&crd); err != nil {
		return fmt.Errorf("writing %s: %w", file, err)
	}
	return os.WriteFile(file, out.Bytes(), 0o644)
}

// each calls f for every entry of every mapping below node.
func each(node *yaml.Node, f func(key string, value *yaml.Node)) {
	if node.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(node.Content); i += 2 {
			f(node.Content[i].Value, node.Content[i+1])
		}
	}
	for _, child := range node.Content {
		each(child, f)
	}
}

func entry(mapping *yaml.Node, key string) (found *yaml.Node) {
	for i := 0; mapping.Kind == yaml.MappingNode && i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			found = mapping.Content[i+1]
		}
	}
	return found
}

const (
	intOrString = "x-kubernetes-int-or-string"
	// quantity is the pattern of resource.Quantity, but for exponents that its parser does not take.
	quantity = `^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?[0-9]{1,2}))?$`
	// maxPort bounds what is a number or a name in pods, where these are all ports.
	maxPort = "65535"
)

// strict refuses values that fit the schema of a pod and not its Go type. Stored in one object, they would keep the controller from
// reading any object of the kind. In pods it is the API server itself that reads them.
func strict(node *yaml.Node) {
	if entry(node, intOrString) != nil {
		if pattern := entry(node, "pattern"); pattern != nil {
			pattern.Value = quantity
		} else {
			node.Content = append(node.Content, scalar("minimum"), scalar("0"), scalar("maximum"), scalar(maxPort))
		}
	}
	for _, child := range node.Content {
		strict(child)
	}
}

func scalar(value string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Value: value} }

// short drops what schemas say of themselves. A property that is called description is a mapping, and stays.
func short(node *yaml.Node) {
	if node.Kind == yaml.MappingNode {
		var left []*yaml.Node
		for i := 0; i+1 < len(node.Content); i += 2 {
			if node.Content[i].Value != "description" || node.Content[i+1].Kind != yaml.ScalarNode {
				left = append(left, node.Content[i], node.Content[i+1])
			}
		}
		node.Content, node.Style = left, yaml.FlowStyle
	}
	for _, child := range node.Content {
		short(child)
	}
}
