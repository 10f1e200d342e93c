// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package docs holds the pages to the code that they speak of.
package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// parsed is the code of one file.
func parsed(t *testing.T, path string) *ast.File {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// literals are the texts in a file.
func literals(t *testing.T, path string) (all []string) {
	t.Helper()
	ast.Inspect(parsed(t, path), func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			text, err := strconv.Unquote(lit.Value)
			if err != nil {
				t.Fatalf("%s: %s: %v", path, lit.Value, err)
			}
			all = append(all, text)
		}
		return true
	})
	return all
}

// sources are the files under some folders that end so, without tests.
func sources(t *testing.T, suffix string, roots ...string) (files []string) {
	t.Helper()
	for _, root := range roots {
		err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
			if strings.HasSuffix(path, suffix) && !strings.HasSuffix(path, "_test.go") {
				files = append(files, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// reasonsIn are the values of the constants in a file that are called a reason, or are of such a type.
func reasonsIn(t *testing.T, path string) (all []string) {
	t.Helper()
	ast.Inspect(parsed(t, path), func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 {
			return true
		}
		kind, _ := spec.Type.(*ast.Ident)
		value, _ := spec.Values[0].(*ast.BasicLit)
		if value != nil && value.Kind == token.STRING && (strings.HasPrefix(strings.ToLower(spec.Names[0].Name), "reason") || kind != nil && strings.HasSuffix(kind.Name, "Reason")) {
			text, _ := strconv.Unquote(value.Value)
			all = append(all, text)
		}
		return true
	})
	return all
}

func sorted(all []string) []string {
	slices.Sort(all)
	return slices.Compact(all)
}
