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

// TestWhatOthersBuildUpon: these have their names, types and labels for good, as dashboards and alerts outside of Orlop go by them.
func TestWhatOthersBuildUpon(t *testing.T) {
	want := map[string]string{
		"orlop_agent_build_info":                       "gauge version goversion",
		"orlop_node_images":                            "gauge",
		"orlop_node_image_bytes":                       "gauge state",
		"orlop_node_imagefs_capacity_bytes":            "gauge",
		"orlop_node_imagefs_used_bytes":                "gauge",
		"orlop_node_imagefs_inodes_used":               "gauge",
		"orlop_node_reclaimable_bytes":                 "gauge",
		"orlop_image_pulls_total":                      "counter result reason registry",
		"orlop_image_pull_duration_seconds":            "histogram result",
		"orlop_image_pull_bytes_total":                 "counter registry",
		"orlop_image_removals_total":                   "counter result trigger",
		"orlop_image_reclaimed_bytes_total":            "counter trigger",
		"orlop_tag_drift_nodes":                        "gauge ref",
		"orlop_registry_checks_total":                  "counter registry result",
		"orlop_cache_nodes":                            "gauge namespace name state",
		"orlop_cronjob_last_run_timestamp_seconds":     "gauge namespace name",
		"orlop_cronjob_last_success_timestamp_seconds": "gauge namespace name",
		"orlop_cri_requests_duration_seconds":          "histogram method code",
	}
	got := map[string]string{}
	for _, p := range parts() {
		for _, m := range p.metrics {
			if want[m.Name] != "" {
				got[m.Name] = strings.Join(append([]string{m.Type}, m.Labels...), " ")
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
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
