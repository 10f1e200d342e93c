// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"

	"orlop.dev/orlop/internal/metric"
)

func TestTheReferenceIsThatOfThePrograms(t *testing.T) {
	written, err := os.ReadFile("../../docs/reference/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(page(parts()), string(written)); diff != "" {
		t.Errorf("docs/reference/metrics.md is another: run make generate (-want +got):\n%s", diff)
	}
}

// TestNamesAndHelpAreGoodStyle, by the rules of Prometheus' own linter.
func TestNamesAndHelpAreGoodStyle(t *testing.T) {
	var families []*dto.MetricFamily
	for _, p := range parts() {
		if len(p.metrics) < 10 {
			t.Errorf("%s: %d metrics are few", p.title, len(p.metrics))
		}
		for _, m := range p.metrics {
			if !strings.HasPrefix(m.Name, "orlop_") || !strings.HasSuffix(m.Help, ".") {
				t.Errorf("%s: %q", m.Name, m.Help)
			}
			families = append(families, familyOf(m))
		}
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// familyOf is what is scraped of a metric with one series.
func familyOf(m metric.Description) *dto.MetricFamily {
	series, kind := &dto.Metric{}, dto.MetricType_GAUGE
	for _, label := range m.Labels {
		series.Label = append(series.Label, &dto.LabelPair{Name: &label, Value: new("value")})
	}
	switch m.Type {
	case metric.Counter:
		kind, series.Counter = dto.MetricType_COUNTER, &dto.Counter{Value: new(1.0)}
	case metric.Histogram:
		kind, series.Histogram = dto.MetricType_HISTOGRAM, &dto.Histogram{SampleCount: new(uint64(1))}
	default:
		series.Gauge = &dto.Gauge{Value: new(1.0)}
	}
	return &dto.MetricFamily{Name: &m.Name, Help: &m.Help, Type: &kind, Metric: []*dto.Metric{series}}
}
