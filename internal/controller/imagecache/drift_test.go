// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagecache

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"

	"orlop.dev/orlop/internal/engine"
)

// gathered are the series of a collector, by name and the values of labels.
func gathered(t *testing.T, c prometheus.Collector) map[string]float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			var name strings.Builder
			name.WriteString(f.GetName())
			for _, l := range m.Label {
				name.WriteString(" " + l.GetValue())
			}
			all[name.String()] = m.Gauge.GetValue()
		}
	}
	return all
}

func TestDriftIsBoundedAndCountsNodesOnce(t *testing.T) {
	shop, ops := types.NamespacedName{Namespace: "shop", Name: "web"}, types.NamespacedName{Namespace: "ops", Name: "web"}
	var d drift
	d.bound(2)
	d.set(shop, map[string][]string{"a:1": {"n1", "n2"}, "b:1": nil, "c:1": {"n1"}})
	d.set(ops, map[string][]string{"a:1": {"n2", "n3"}, "d:1": nil})
	want := map[string]float64{"orlop_tag_drift_nodes a:1": 3, "orlop_tag_drift_nodes c:1": 1, "orlop_tag_drift_omitted_refs": 2}
	if diff := cmp.Diff(want, gathered(t, &d)); diff != "" {
		t.Errorf("of two caches (-want +got):\n%s", diff)
	}
	d.forget(shop)
	want = map[string]float64{"orlop_tag_drift_nodes a:1": 2, "orlop_tag_drift_nodes d:1": 0, "orlop_tag_drift_omitted_refs": 0}
	if diff := cmp.Diff(want, gathered(t, &d)); diff != "" {
		t.Errorf("after one is gone (-want +got):\n%s", diff)
	}
	d.bound(0)
	if diff := cmp.Diff(map[string]float64{"orlop_tag_drift_omitted_refs": 2}, gathered(t, &d)); diff != "" {
		t.Errorf("with a limit of 0 (-want +got):\n%s", diff)
	}
}

// TestSeriesGoWithTheirCache: what nodes say is counted, until the cache is gone.
func TestSeriesGoWithTheirCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nodes("n1", "n2", "n3")...)
		defer func() { b.stop() }()
		cacheNodes.Reset() // Other tests leave caches behind.
		drifts.caches = nil
		drifts.bound(10)
		digest, before := b.shelf.set(one, "1"), b.shelf.set(two, "2")
		b.create(web, nil, one, two)
		moved := b.shelf.set(two, "2b")
		old := failed(two, engine.RegistryUnavailable, "503")
		old.FoundDigest = before
		b.node("n1", present(one, digest), present(two, moved))
		b.node("n2", present(one, digest), old)
		b.node("n3", present(one, digest), old)
		b.run(20*time.Minute, web)
		series := gathered(t, drifts)
		if got := series["orlop_tag_drift_nodes "+two]; got != 2 {
			t.Errorf("%s drifts on %v nodes: %v", two, got, series)
		}
		if got, there := series["orlop_tag_drift_nodes "+one]; got != 0 || !there {
			t.Errorf("%s: %v", one, series)
		}
		states := gathered(t, cacheNodes)
		if name := fmt.Sprintf("orlop_cache_nodes %s %s ", web.Name, web.Namespace); states[name+"ready"] != 1 || states[name+"failed"] != 2 {
			t.Errorf("the cache's nodes: %v", states)
		}
		if err := b.api.Delete(t.Context(), b.cache(web)); err != nil {
			t.Fatal(err)
		}
		b.run(time.Minute, web)
		left := append(slices.Collect(maps.Keys(gathered(t, drifts))), slices.Collect(maps.Keys(gathered(t, cacheNodes)))...)
		if diff := cmp.Diff([]string{"orlop_tag_drift_omitted_refs"}, left); diff != "" {
			t.Errorf("once the cache is gone (-want +got):\n%s", diff)
		}
	})
}
