// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagecache

import (
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

var (
	cacheNodes = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "orlop_cache_nodes", Help: "Nodes of an ImageCache by state: ready, failed, unavailable, pulling.",
	}, []string{"namespace", "name", "state"})
	registryChecks = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "orlop_registry_checks_total", Help: "Questions to registries by host and result: OK, or the reason of the refusal.",
	}, []string{"registry", "result"})
)

func init() { metrics.Registry.MustRegister(cacheNodes, registryChecks) }

func (s sum) measure(key types.NamespacedName) {
	for state, n := range map[string]int{"ready": s.ready, "failed": s.failed, "unavailable": s.unavailable, "pulling": s.desired - s.ready - s.failed - s.unavailable} {
		cacheNodes.WithLabelValues(key.Namespace, key.Name, state).Set(float64(n))
	}
}

func unmeasure(key types.NamespacedName) {
	cacheNodes.DeletePartialMatch(prometheus.Labels{"namespace": key.Namespace, "name": key.Name})
}
