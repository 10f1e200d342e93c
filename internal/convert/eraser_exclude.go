// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"orlop.dev/orlop/internal/oci"
)

// exclude reads a ConfigMap of exclusions: Eraser takes its first key that ends in .json, and no other.
func (e *eraser) exclude(doc *Document, row *Row) {
	withoutMetadata(doc, row)
	e.excluding = append(e.excluding, row)
	data := doc.root.Object("data")
	keys := data.Keys()
	slices.Sort(keys)
	at := slices.IndexFunc(keys, func(key string) bool { return strings.HasSuffix(key, ".json") })
	if at < 0 {
		doc.root.Fail("data", "no key ends in .json, so that Eraser cannot read it either")
		return
	}
	var list struct {
		Excluded []string `json:"excluded"`
	}
	if err := json.Unmarshal([]byte(data.Text(keys[at])), &list); err != nil {
		data.Fail(keys[at], "the JSON in it cannot be read: %s", trimDecoder(err))
		return
	}
	e.excluded = append(e.excluded, list.Excluded...)
	before := len(e.keep)
	for _, text := range list.Excluded {
		pattern, said, err := keepOf(text)
		switch {
		case err != nil:
			data.Fail(keys[at], "excluded %q: %v", text, err)
		case pattern == "":
			row.Note("%q is left out: %s", text, said)
			continue
		case said != "":
			e.said.add("", "%s", said)
		}
		if !slices.Contains(e.keep, pattern) {
			e.keep = append(e.keep, pattern)
		}
	}
	if len(e.keep) > before {
		row.Note("its exclusions become keep: %s", strings.Join(e.keep[before:], ", "))
	}
}

// settleExclusions refuses more than a prune takes: one that is left out would let images go.
func (e *eraser) settleExclusions() {
	if len(e.keep) > maxPatterns {
		last := e.excluding[len(e.excluding)-1]
		last.doc.root.Fail("data", "%d exclusions are more than the %d patterns that keep takes: merge some with **", len(e.keep), maxPatterns)
	}
}

// holds reports whether Eraser would leave a name alone. It looks at the text in the list, and not at the other names of the image.
func (e *eraser) holds(name string) bool {
	return slices.ContainsFunc(e.excluded, func(text string) bool {
		prefix, is := prefixOf(text)
		return text == name || is && strings.HasPrefix(name, prefix)
	})
}

// prefixOf is what Eraser makes of an exclusion that ends in /* or :*. The colon it cuts at is the first, that of a port too.
func prefixOf(text string) (prefix string, is bool) {
	switch {
	case strings.HasSuffix(text, "/*"):
		prefix, _, _ = strings.Cut(text, "*")
		return prefix, true
	case strings.HasSuffix(text, ":*"):
		prefix, _, _ = strings.Cut(text, ":")
		return prefix, true
	}
	return "", false
}

// keepOf is the pattern that holds what an exclusion of Eraser's holds, and what is to be said of it. Where the two cannot be
// the same, the pattern holds more.
func keepOf(text string) (pattern, said string, err error) {
	prefix, is := prefixOf(text)
	switch {
	case is:
		pattern, said = keepPrefix(text, prefix)
	case text == "":
		return "", "it is empty, and excluded nothing", nil
	case strings.Trim(text, "*") == "":
		return "", "Eraser takes * only after / or :, so that it excluded nothing, and here it would keep every image", nil
	case strings.ContainsAny(text, "*?"):
		pattern, said = text, fmt.Sprintf("Eraser takes * only at the end, after / or :, so that %s excluded nothing: here it does", text)
	case strings.HasPrefix(text, "sha256:") || wholeName(text):
		pattern = text
	default:
		pattern, said = text, fmt.Sprintf("Eraser compares whole names, so that %s excluded nothing on containerd and CRI-O: here it keeps that image", text)
	}
	if _, err := oci.ParseTarget(pattern); err != nil {
		return "", "", err
	}
	return pattern, said, nil
}

func keepPrefix(text, prefix string) (pattern, said string) {
	host, _, path := strings.Cut(prefix, "/")
	switch {
	case prefix == "":
		return "**", text + " excluded every image in Eraser, and keeps every image here"
	case path && strings.HasSuffix(text, ":*") && (isHost(host)):
		return prefix + "**", fmt.Sprintf("Eraser takes %s as the beginning of a name, so that %s-more is excluded too; for that repository alone write %s", text, prefix, text)
	case path && isHost(host):
		return prefix + "**", ""
	case strings.HasSuffix(text, ":*") && strings.Contains(text, "/") && isHost(strings.SplitN(text, "/", 2)[0]):
		// The colon was that of a port: all of the host is held.
		said = fmt.Sprintf("Eraser cuts %s at its first colon, so that it excluded every image whose name begins with %s; for that repository alone write %s", text, prefix, text)
		if strings.Contains(prefix, ".") {
			return prefix + "**/**", said
		}
		return prefix + ":*/**", said
	case strings.HasSuffix(text, ":*"):
		return text, fmt.Sprintf("Eraser compares whole names, so that %s excluded nothing of Docker Hub's on containerd and CRI-O: here it does", text)
	}
	return prefix + "**", fmt.Sprintf("Eraser compares whole names, so that %s excluded nothing of Docker Hub's on containerd and CRI-O: here it does", text)
}

// isHost reports whether the first element of a name is a registry.
func isHost(element string) bool { return element == "localhost" || strings.ContainsAny(element, ".:") }
