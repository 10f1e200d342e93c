// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"errors"

	v2 "helm.sh/helm/v4/pkg/chart/v2"
	"sigs.k8s.io/yaml"
)

// RulesYAML are the chart's alert rules, with its own thresholds, as Prometheus reads them from a file.
func RulesYAML(c *v2.Chart) ([]byte, error) {
	rendered, err := Render(c, map[string]any{"alerts": map[string]any{"enabled": true}}, nil)
	if err != nil {
		return nil, err
	}
	for _, object := range rendered.Objects {
		if object["kind"] == "PrometheusRule" {
			text, err := yaml.Marshal(object["spec"])
			return append([]byte("# Orlop's alert rules, rendered from charts/orlop. Do not edit: run make generate.\n"), text...), err
		}
	}
	return nil, errors.New("the chart has no alert rules")
}
