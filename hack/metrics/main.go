// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Command metrics writes the reference of what Orlop measures, from the programs' own registries.
package main

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"

	"orlop.dev/orlop/internal/agent"
	"orlop.dev/orlop/internal/controller"
	"orlop.dev/orlop/internal/metric"
)

const head = `<!-- Written by hack/metrics from the programs' registries. Do not edit: run make generate. -->

# Metrics

[Monitoring](../monitoring.md) says how to scrape them, [Alerts](../alerts.md) what they are used for. Durations are in seconds, sizes in bytes,
timestamps in seconds since 1970. No series outlives the object whose name it has. A label never has more values than said here, or than there
are objects; values that somebody else chooses freely, such as the hosts of registries, are bounded.
`

// part is one program.
type part struct {
	title, text string
	metrics     []metric.Description
}

func parts() []part {
	return []part{
		{"The agents", "Served on port 9808 of each agent, at `/metrics`. The node is not a label of their own: it comes from the scrape. Beside these there are `process_*`.", agent.NewMetrics("").Descriptions()},
		{"The controller", "Served on port 8080 of the controller, at `/metrics`. Of several controllers only the one that leads tells of objects. " +
			"Beside these there are those of its libraries: `controller_runtime_*`, `workqueue_*`, `rest_client_*`, `leader_election_*`, `go_*` and `process_*`.", controller.Metrics()},
	}
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "metrics: name the file to write")
		os.Exit(1)
	}
	if err := os.WriteFile(os.Args[1], []byte(page(parts())), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, "metrics:", err)
		os.Exit(1)
	}
}

// wrap breaks a text into lines of the documents' length.
func wrap(text string) string {
	const width = 140
	var b strings.Builder
	line := 0
	for word := range strings.FieldsSeq(text) {
		switch {
		case line == 0:
		case line+1+len(word) > width:
			b.WriteByte('\n')
			line = 0
		default:
			b.WriteByte(' ')
			line++
		}
		b.WriteString(word)
		line += len(word)
	}
	return b.String()
}

// page is the reference as Markdown.
func page(parts []part) string {
	var b strings.Builder
	b.WriteString(head)
	for _, p := range parts {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n", p.title, wrap(p.text))
		slices.SortFunc(p.metrics, func(x, y metric.Description) int { return cmp.Compare(x.Name, y.Name) })
		for _, m := range p.metrics {
			labels := "no labels"
			if len(m.Labels) > 0 {
				labels = "`" + strings.Join(m.Labels, "`, `") + "`"
			}
			fmt.Fprintf(&b, "\n### %s\n\n%s\n", m.Name, wrap(fmt.Sprintf("%s; %s. %s", m.Type, labels, m.Help)))
		}
	}
	return b.String()
}
