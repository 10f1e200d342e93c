// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagecache

import (
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"orlop.dev/orlop/internal/metric"
)

// maxHosts is how many registries are told apart: who may write an ImageCache may name as many hosts as he likes.
const maxHosts = 50

var (
	measures   = metric.NewSet(metrics.Registry)
	cacheNodes = measures.Gauges("orlop_cache_nodes",
		"Nodes of an ImageCache by state (ready, pulling, failed, unavailable).", "namespace", "name", "state")
	registryChecks = measures.Counters("orlop_registry_checks_total",
		"Requests to registries, by host and result (OK, or the reason of the refusal); beyond 50 hosts, other.", "registry", "result")
	hosts  = metric.Values{Limit: maxHosts}
	drifts = &drift{}
)

func init() { measures.Add(drifts, driftNodes, driftOmitted) }

// Metrics are what this package measures.
func Metrics() []metric.Description { return measures.Descriptions() }

func (s *sum) measure(key types.NamespacedName) {
	for state, n := range map[string]int{"ready": s.ready, "failed": s.failed, "unavailable": s.unavailable, "pulling": s.desired - s.ready - s.failed - s.unavailable} {
		cacheNodes.WithLabelValues(key.Namespace, key.Name, state).Set(float64(n))
	}
}

func unmeasure(key types.NamespacedName) {
	cacheNodes.DeletePartialMatch(prometheus.Labels{"namespace": key.Namespace, "name": key.Name})
	drifts.forget(key)
}
