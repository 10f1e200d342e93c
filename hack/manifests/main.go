// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Command manifests writes install.yaml, the files for Kustomize, or the alert rules, rendered from the chart.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"sigs.k8s.io/yaml"

	"orlop.dev/orlop/hack/manifests/chart"
)

func main() {
	folder := flag.String("chart", "../../charts/orlop", "the chart's `folder`")
	version := flag.String("version", "", "the images' tag (default: the chart's appVersion)")
	values := flag.String("values", "", "a `file` of values, as helm takes it")
	out := flag.String("out", "", "write to this `file` (default: standard output)")
	kustomize := flag.String("kustomize", "", "write the files for Kustomize into this `folder` instead, in place of those that are there")
	rules := flag.Bool("rules", false, "write the alert rules instead, as Prometheus reads them from a file")
	flag.Parse()
	var err error
	switch {
	case *kustomize != "":
		err = forKustomize(*folder, *kustomize)
	case *rules:
		err = alertRules(*folder, *values, *out)
	default:
		err = installYAML(*folder, *version, *values, *out)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "manifests:", err)
		os.Exit(1)
	}
}

func installYAML(folder, version, values, out string) error {
	c, err := chart.Load(folder, version)
	if err != nil {
		return err
	}
	given, err := read(values)
	if err != nil {
		return err
	}
	text, err := chart.InstallYAML(c, given)
	if err != nil {
		return err
	}
	return write(text, out)
}

// read gives the user's own values; of no file there are none.
func read(file string) (map[string]any, error) {
	given := map[string]any{}
	if file == "" {
		return given, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if err := yaml.UnmarshalStrict(text, &given); err != nil {
		return nil, fmt.Errorf("reading %s: %w", file, err)
	}
	return given, nil
}

func alertRules(folder, values, out string) error {
	c, err := chart.Load(folder, "")
	if err != nil {
		return err
	}
	given, err := read(values)
	if err != nil {
		return err
	}
	text, err := chart.RulesYAML(c, given)
	if err != nil {
		return err
	}
	return write(text, out)
}

func write(text []byte, out string) error {
	if out == "" {
		_, err := os.Stdout.Write(text)
		return err
	}
	return os.WriteFile(out, text, 0o644)
}

// forKustomize makes anew all that is generated; what stands beside it stays.
func forKustomize(folder, into string) error {
	c, err := chart.Load(folder, "")
	if err != nil {
		return err
	}
	files, err := chart.Kustomize(c)
	if err != nil {
		return err
	}
	for _, old := range []string{"crd", "operator", "default", "components"} {
		if err := os.RemoveAll(filepath.Join(into, old)); err != nil {
			return err
		}
	}
	for path, text := range files {
		path = filepath.Join(into, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, text, 0o644); err != nil {
			return err
		}
	}
	return nil
}
