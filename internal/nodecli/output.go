// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package nodecli

import (
	"encoding/json"
	"fmt"
	"strings"

	"sigs.k8s.io/yaml"

	"orlop.dev/orlop/internal/table"
	"orlop.dev/orlop/internal/term"
)

// apiVersion is that of the answers with -o json and yaml. It is not served by a cluster.
const apiVersion = "orlop.dev/v1alpha1"

// structured reports whether the answer is for a program.
func (e *env) structured() bool { return e.output == "json" || e.output == "yaml" }

// printTable writes an answer as a table, and says what of it found no room.
func (e *env) printTable(t *table.Table, noHeaders bool) error {
	err := t.Write(e.Out, table.Options{Wide: e.output == "wide", NoHeaders: noHeaders, Fit: term.Width(e.Out, 0)})
	if yielded := t.Yielded(); len(yielded) > 0 {
		fmt.Fprintf(e.Err, "- left out, as the terminal is narrow: %s; -o wide shows them\n", strings.Join(yielded, ", "))
	}
	return err
}

// print writes an answer as JSON or YAML, with its kind in front as Kubernetes does.
func (e *env) print(kind string, answer any) error {
	fields := map[string]any{}
	raw, err := json.Marshal(answer)
	if err != nil {
		return fmt.Errorf("writing the answer: %w", err)
	}
	if err := json.Unmarshal(raw, &fields); err != nil {
		return fmt.Errorf("writing the answer: %w", err)
	}
	fields["apiVersion"], fields["kind"] = apiVersion, kind
	text, err := json.MarshalIndent(fields, "", "  ")
	if e.output == "yaml" {
		text, err = yaml.Marshal(fields)
	}
	if err != nil {
		return fmt.Errorf("writing the answer: %w", err)
	}
	_, err = fmt.Fprintf(e.Out, "%s\n", text)
	return err
}
