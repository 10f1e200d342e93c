// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/client-go/util/jsonpath"
	"k8s.io/kubectl/pkg/cmd/get"
)

// sorting is --sort-by: a field of the items as kubectl takes it, or a column's name.
type sorting struct {
	by      string
	columns map[string]string // the fields behind columns
}

func (s *sorting) add(flags *pflag.FlagSet, columns map[string]string) {
	s.columns = columns
	names := slices.Sorted(maps.Keys(columns))
	flags.StringVar(&s.by, "sort-by", "", "order by a `field` of -o json, such as "+columns[names[0]]+", or by a column: "+strings.Join(names, ", "))
}

// path is the field as a JSONPath template; nil where nothing is asked for.
func (s *sorting) path() (*jsonpath.JSONPath, error) {
	if s.by == "" {
		return nil, nil
	}
	field := cmp.Or(s.columns[strings.ToLower(s.by)], s.by)
	template, err := get.RelaxedJSONPathExpression(field)
	if err == nil {
		path := jsonpath.New("sort-by").AllowMissingKeys(true)
		if err = path.Parse(template); err == nil {
			return path, nil
		}
	}
	return nil, fmt.Errorf("--sort-by %q: %w", s.by, err)
}

// keyed is one item with what it is ordered by.
type keyed[T any] struct {
	item T
	key  any
}

// sorted orders items by the field: those without it first, as kubectl does.
func sorted[T any](s *sorting, items []T) ([]T, error) {
	path, err := s.path()
	switch {
	case err != nil:
		return nil, err
	case path == nil:
		return items, nil
	}
	rows := make([]keyed[T], len(items))
	known := len(items) == 0
	for i, item := range items {
		rows[i].item = item
		if rows[i].key, err = fieldOf(path, item); err != nil {
			return nil, fmt.Errorf("--sort-by %q: %w", s.by, err)
		}
		known = known || rows[i].key != nil
	}
	if !known {
		return nil, fmt.Errorf("--sort-by %q: nothing here has that field; see -o json", s.by)
	}
	slices.SortStableFunc(rows, func(a, b keyed[T]) int { return compareValues(a.key, b.key) })
	items = slices.Clone(items)
	for i, row := range rows {
		items[i] = row.item
	}
	return items, nil
}

func fieldOf(path *jsonpath.JSONPath, item any) (any, error) {
	raw, err := json.Marshal(item)
	if err != nil {
		return nil, err
	}
	var fields any
	if err := json.Unmarshal(raw, &fields); err != nil {
		return nil, err
	}
	found, err := path.FindResults(fields)
	if err != nil || len(found) == 0 || len(found[0]) == 0 {
		return nil, err
	}
	return found[0][0].Interface(), nil
}

func compareValues(a, b any) int {
	x, numeric := a.(float64)
	if y, ok := b.(float64); ok && numeric {
		return cmp.Compare(x, y)
	}
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return -1
	case b == nil:
		return 1
	}
	return cmp.Compare(fmt.Sprint(a), fmt.Sprint(b))
}
