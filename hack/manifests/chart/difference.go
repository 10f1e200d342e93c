// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// change is one operation of a JSON patch.
type change struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value,omitempty"`
}

// difference gives the changes that make the one value the other. What is added to the end of a list is added as such, so that
// two patches can add to the same one.
func difference(path string, from, to any) []change {
	if reflect.DeepEqual(from, to) {
		return nil
	}
	switch from := from.(type) {
	case map[string]any:
		if to, ok := to.(map[string]any); ok {
			return differentFields(path, from, to)
		}
	case []any:
		if to, ok := to.([]any); ok && len(to) >= len(from) {
			return differentItems(path, from, to)
		}
	}
	return []change{{"replace", path, to}}
}

func differentFields(path string, from, to map[string]any) (changes []change) {
	keys := slices.Collect(maps.Keys(from))
	for key := range to {
		if _, ok := from[key]; !ok {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		at := path + "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(key)
		before, had := from[key]
		after, has := to[key]
		switch {
		case !had:
			changes = append(changes, change{"add", at, after})
		case !has:
			changes = append(changes, change{"remove", at, nil})
		default:
			changes = append(changes, difference(at, before, after)...)
		}
	}
	return changes
}

func differentItems(path string, from, to []any) (changes []change) {
	for i, item := range from {
		changes = append(changes, difference(fmt.Sprintf("%s/%d", path, i), item, to[i])...)
	}
	for _, item := range to[len(from):] {
		changes = append(changes, change{"add", path + "/-", item})
	}
	return changes
}

func targetOf(o Object) target {
	at := target{Kind: fmt.Sprint(o["kind"])}
	at.Group, at.Version, _ = strings.Cut(fmt.Sprint(o["apiVersion"]), "/")
	if at.Version == "" {
		at.Group, at.Version = "", at.Group
	}
	meta, _ := o["metadata"].(Object)
	at.Name, _ = meta["name"].(string)
	at.Namespace, _ = meta["namespace"].(string)
	return at
}
