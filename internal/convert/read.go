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
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

const (
	// maxInput bounds what is read of one source: a cluster's worth of manifests, and not whatever a pipe goes on to send.
	maxInput = 16 << 20
	// maxDocuments bounds the objects of one source. Each is a row that somebody is to read.
	maxDocuments = 10_000
)

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
	for _, p := range pieces(text) {
		found, err := p.read(source)
		if err != nil {
			return nil, err
		}
		docs = append(docs, found...)
		if len(docs) > maxDocuments {
			return nil, fmt.Errorf("reading %s: it has more than %d objects", source, maxDocuments)
		}
	}
	return docs, nil
}

// A piece is a part of a stream that is YAML, and how many lines come before it.
type piece struct {
	text   []byte
	before int
}

// pieces are JSON objects one behind the other, which YAML does not have, each by itself; all else is one piece.
func pieces(text []byte) []piece {
	whole := []piece{{text: text}}
	if !bytes.HasPrefix(bytes.TrimLeft(text, " \t\r\n"), []byte("{")) {
		return whole
	}
	var found []piece
	decoder := json.NewDecoder(bytes.NewReader(text))
	var before, counted int64
	for {
		var raw json.RawMessage
		err := decoder.Decode(&raw)
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil { // Flow style, or broken: reading it as YAML tells which, and where.
			return whole
		}
		start := decoder.InputOffset() - int64(len(raw))
		before += int64(bytes.Count(text[counted:start], []byte("\n")))
		found = append(found, piece{raw, int(before)})
		counted = start
	}
}

func (p piece) read(source string) ([]*Document, error) {
	var docs []*Document
	decoder := yaml.NewDecoder(bytes.NewReader(p.text))
	for {
		var node yaml.Node
		err := decoder.Decode(&node)
		if errors.Is(err, io.EOF) {
			return docs, nil
		}
		if err != nil {
			return nil, p.broken(source, err)
		}
		resolver := resolver{source: source, before: p.before}
		resolver.resolve(&node, 0)
		if len(resolver.errs) > 0 {
			return nil, several(resolver.errs)
		}
		found, err := documents(source, &node, 0)
		if err != nil {
			return nil, err
		}
		if docs = append(docs, found...); len(docs) > maxDocuments {
			return docs, nil
		}
	}
}

var parserLine = regexp.MustCompile(`^line (\d+): `)

// broken is a parser's error, with the line where its file has it.
func (p piece) broken(source string, err error) error {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 1
	if m := parserLine.FindStringSubmatch(text); m != nil {
		text = text[len(m[0]):]
		line, _ = strconv.Atoi(m[1])
		if strings.HasPrefix(text, "did not find expected") {
			line++ // The library counts from 0 there, and from 1 elsewhere.
		}
	} else if at := unreadable(p.text); at > 0 {
		line = at // Of characters it tells no line.
	}
	return fmt.Errorf("%s:%d: this is not YAML: %s", source, line+p.before, clean(text))
}

// unreadable is the line of the first character that no YAML may have; 0 is none, or a text that is not UTF-8 by its first bytes.
func unreadable(text []byte) int {
	if bytes.HasPrefix(text, []byte("\xff\xfe")) || bytes.HasPrefix(text, []byte("\xfe\xff")) {
		return 0
	}
	line := 1
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		switch {
		case r == '\n':
			line++
		case r == utf8.RuneError && size == 1, r < ' ' && r != '\t' && r != '\r', r >= 0x7f && r < 0xa0 && r != 0x85, r == 0xfffe, r == 0xffff:
			return line
		}
		text = text[size:]
	}
	return 0
}

// helmTitles stand above what helm get values prints, as a field with nothing in it.
var helmTitles = []string{"USER-SUPPLIED VALUES", "COMPUTED VALUES"}

// documents are the objects of one YAML document: itself, or the items of a List.
func documents(source string, node *yaml.Node, depth int) ([]*Document, error) {
	if node.Kind == yaml.DocumentNode {
		if len(node.Content) == 0 {
			return nil, nil
		}
		node = node.Content[0]
	}
	if node.Tag == nullTag || node.Kind == 0 {
		return nil, nil
	}
	if node.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s:%d: an object is expected here, not %s", source, node.Line, kindOf(node))
	}
	doc := &Document{source: source}
	doc.root = newFields(doc, "", node)
	doc.root.Done(helmTitles...)
	if !strings.HasSuffix(doc.Kind(), "List") || !doc.root.Has("items") {
		return []*Document{doc}, nil
	}
	if depth > 0 {
		return nil, fmt.Errorf("%s: a %s within a list is no object", doc.Place(), doc.Kind())
	}
	var docs []*Document
	var errs []error
	for _, item := range doc.root.nodes("items") {
		found, err := documents(source, item, depth+1)
		errs = append(errs, err)
		docs = append(docs, found...)
	}
	return docs, several(append(doc.errs, errs...))
}

// maxErrors is how many errors are told of one source or conversion: whoever has more has one cause.
const maxErrors = 20

// several joins errors, as many as a person reads.
func several(errs []error) error {
	var all []error
	for _, err := range errs {
		if err != nil {
			all = append(all, err)
		}
	}
	if len(all) > maxErrors {
		all = append(all[:maxErrors:maxErrors], errors.New("and more like these"))
	}
	return errors.Join(all...)
}
