// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Command manifests writes install.yaml, or the alert rules, rendered from the chart.
package main

import (
	"flag"
	"fmt"
	"os"

	v2 "helm.sh/helm/v4/pkg/chart/v2"
	"sigs.k8s.io/yaml"

	"orlop.dev/orlop/hack/manifests/chart"
)

func main() {
	folder := flag.String("chart", "../../charts/orlop", "the chart's `folder`")
	version := flag.String("version", "", "the images' tag (default: the chart's appVersion)")
	values := flag.String("values", "", "a `file` of values, as helm takes it")
	out := flag.String("out", "", "write to this `file` (default: standard output)")
	rules := flag.Bool("rules", false, "write the alert rules, as Prometheus reads them")
	flag.Parse()
	render := chart.InstallYAML
	if *rules {
		render = chart.RulesYAML
	}
	if err := run(*folder, *version, *values, *out, render); err != nil {
		fmt.Fprintln(os.Stderr, "manifests:", err)
		os.Exit(1)
	}
}

func run(folder, version, values, out string, render func(*v2.Chart, map[string]any) ([]byte, error)) error {
	c, err := chart.Load(folder, version)
	if err != nil {
		return err
	}
	given := map[string]any{}
	if values != "" {
		text, err := os.ReadFile(values)
		if err != nil {
			return err
		}
		if err := yaml.UnmarshalStrict(text, &given); err != nil {
			return fmt.Errorf("reading %s: %w", values, err)
		}
	}
	text, err := render(c, given)
	if err != nil {
		return err
	}
	if out == "" {
		_, err = os.Stdout.Write(text)
		return err
	}
	return os.WriteFile(out, text, 0o644)
}
