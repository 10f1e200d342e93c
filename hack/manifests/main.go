// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Command manifests writes install.yaml, rendered from the chart.
package main

import (
	"flag"
	"fmt"
	"os"

	"orlop.dev/orlop/hack/manifests/chart"
)

func main() {
	folder := flag.String("chart", "../../charts/orlop", "the chart's folder")
	version := flag.String("version", "", "the images' tag (default: the chart's appVersion)")
	out := flag.String("out", "", "write install.yaml here")
	flag.Parse()
	if err := run(*folder, *version, *out); err != nil {
		fmt.Fprintln(os.Stderr, "manifests:", err)
		os.Exit(1)
	}
}

func run(folder, version, out string) error {
	c, err := chart.Load(folder, version)
	if err != nil {
		return err
	}
	text, err := chart.InstallYAML(c)
	if err != nil {
		return err
	}
	return os.WriteFile(out, text, 0o644)
}
