// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"fmt"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"
)

const (
	// maxDepth is how deep objects and lists may stand in each other; a pod template with all its fields has some 20.
	maxDepth = 100
	// maxAliased bounds what aliases repeat, in fields: a few lines of them can stand for billions.
	maxAliased = 100_000
)

const (
	nullTag  = "!!null"
	mergeTag = "!!merge"
)

// plainTags are those that JSON has counterparts for, which is all that an API server takes.
var plainTags = map[string]bool{
	"!!str": true, "!!int": true, "!!float": true, "!!bool": true, nullTag: true, "!!timestamp": true, "!!map": true, "!!seq": true, mergeTag: true,
}

// A resolver makes of YAML what JSON could say: aliases and merges are gone, no key stands twice, each key is a text.
type resolver struct {
	source string
	// before are the lines before this text in its source.
	before  int
	aliased int
	// sizes are those of what has been resolved, as a tree; 0 is under way.
	sizes map[*yaml.Node]int
	errs  []error
}

func (r *resolver) fail(node *yaml.Node, format string, args ...any) {
	if len(r.errs) <= maxErrors {
		r.errs = append(r.errs, fmt.Errorf("%s:%d: %s", r.source, node.Line, clean(fmt.Sprintf(format, args...))))
	}
}

// resolve works in place and gives the size of the tree. What an alias stands for is shared and not copied, but counted.
func (r *resolver) resolve(node *yaml.Node, depth int) int {
	if r.sizes == nil {
		r.sizes = map[*yaml.Node]int{}
	}
	node.Line += r.before
	node.HeadComment, node.LineComment, node.FootComment = "", "", ""
	if depth > maxDepth {
		r.fail(node, "objects and lists stand more than %d deep in each other", maxDepth)
		node.Content = nil
		return 1
	}
	if tag := node.ShortTag(); node.Kind != yaml.DocumentNode && !plainTags[tag] {
		r.fail(node, "the tag %s has no meaning to Kubernetes", tag)
	}
	if node.Anchor != "" {
		r.sizes[node] = 0
	}
	size := 1
	for i, child := range node.Content {
		if child.Kind != yaml.AliasNode {
			size += r.resolve(child, depth+1)
			continue
		}
		of, known := r.sizes[child.Alias]
		if !known || of == 0 {
			child.Line += r.before
			r.fail(child, "*%s stands within what it stands for", child.Value)
			return size
		}
		if r.aliased += of; r.aliased > maxAliased {
			child.Line += r.before
			r.fail(child, "aliases such as *%s repeat more than %d fields", child.Value, maxAliased)
			return size
		}
		node.Content[i] = child.Alias
		size += of
	}
	if node.Kind == yaml.MappingNode {
		r.settleKeys(node)
	}
	if node.Anchor != "" {
		r.sizes[node], node.Anchor = size, ""
	}
	return size
}

// settleKeys takes in what << names, and refuses what is no key, or stands twice.
func (r *resolver) settleKeys(node *yaml.Node) {
	seen := map[string]bool{}
	var content, merged []*yaml.Node
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		switch {
		case key.Kind != yaml.ScalarNode || key.Tag == nullTag:
			r.fail(key, "the name of a field must be a text, not %s", kindOf(key))
		case key.ShortTag() == mergeTag && value.Kind == yaml.SequenceNode:
			merged = append(merged, value.Content...)
		case key.ShortTag() == mergeTag:
			merged = append(merged, value)
		case seen[key.Value]:
			r.fail(key, "%s is here twice", key.Value)
		default:
			seen[key.Value] = true
			content = append(content, key, value)
		}
	}
	for _, from := range merged {
		if from.Kind != yaml.MappingNode {
			r.fail(from, "<< takes in objects, and not %s", kindOf(from))
			continue
		}
		for i := 0; i+1 < len(from.Content); i += 2 {
			if key := from.Content[i]; !seen[key.Value] {
				seen[key.Value] = true
				content = append(content, key, from.Content[i+1])
			}
		}
	}
	node.Content = content
}

// clean makes one line of a text from outside, which is to stand in a comment or on a terminal.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\u2028' || r == '\u2029':
			return ' '
		case !unicode.IsPrint(r):
			return '\ufffd'
		}
		return r
	}, text)
}
