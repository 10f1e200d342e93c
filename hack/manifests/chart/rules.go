// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"errors"
	"maps"

	v2 "helm.sh/helm/v4/pkg/chart/v2"
	"sigs.k8s.io/yaml"
)

// RulesYAML are the chart's alert rules, as Prometheus reads them from a file. values are the user's own; nil: the chart's.
func RulesYAML(c *v2.Chart, values map[string]any) ([]byte, error) {
	given, _ := values["alerts"].(map[string]any)
	alerts := map[string]any{}
	maps.Copy(alerts, given)
	alerts["enabled"] = true
	all := map[string]any{}
	maps.Copy(all, values)
	all["alerts"] = alerts
	rendered, err := Render(c, all, nil)
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
