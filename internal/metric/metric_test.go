// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package metric_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"orlop.dev/orlop/internal/metric"
)

func TestASetKnowsWhatItMade(t *testing.T) {
	registry := prometheus.NewRegistry()
	set := metric.NewSet(registry)
	set.Gauge("a_bytes", "A.").Set(1)
	set.Counters("b_total", "B.", "x", "y").WithLabelValues("1", "2").Inc()
	set.Histograms("c_seconds", "C.", []float64{1, 10}, "z").WithLabelValues("3").Observe(2)
	want := []metric.Description{
		{Name: "a_bytes", Type: metric.Gauge, Help: "A."},
		{Name: "b_total", Type: metric.Counter, Help: "B.", Labels: []string{"x", "y"}},
		{Name: "c_seconds", Type: metric.Histogram, Help: "C.", Labels: []string{"z"}},
	}
	if diff := cmp.Diff(want, set.Descriptions()); diff != "" {
		t.Errorf("the descriptions differ (-want +got):\n%s", diff)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if len(families) != len(want) {
		t.Fatalf("%d metrics are served, want %d", len(families), len(want))
	}
	for i, family := range families {
		if family.GetName() != want[i].Name || len(family.Metric[0].Label) != len(want[i].Labels) {
			t.Errorf("%s is served, want %s", family, want[i].Name)
		}
	}
	h := families[2].Metric[0].Histogram
	if len(h.Bucket) != 2 || h.GetSchema() == 0 || h.GetSampleCount() != 1 {
		t.Errorf("the histogram is not both a native one and one with two buckets: %s", h)
	}
}

func TestValuesAreBounded(t *testing.T) {
	values := metric.Values{Limit: 3}
	for i := range 5 {
		want := fmt.Sprint(i)
		if i >= 3 {
			want = metric.Other
		}
		if got := values.Of(fmt.Sprint(i)); got != want {
			t.Errorf("value %d is %q, want %q", i, got, want)
		}
	}
	if got := values.Of("1"); got != "1" {
		t.Errorf("a value that is known has become %q", got)
	}
}
