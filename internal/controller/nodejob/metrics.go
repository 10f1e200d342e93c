// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package nodejob

import (
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/metric"
)

var (
	measures = metric.NewSet(metrics.Registry)
	jobNodes = measures.Gauges("orlop_nodejob_nodes",
		"Nodes of a NodeJob by state (active, succeeded, failed, skipped).", "namespace", "name", "state")
	jobFreed = measures.Gauges("orlop_nodejob_freed_bytes",
		"How much a NodeJob freed on all nodes together; for a dry run, how much it would free.", "namespace", "name")
)

// Metrics are what this package measures.
func Metrics() []metric.Description { return measures.Descriptions() }

func measure(job *v1alpha1.NodeJob, s *v1alpha1.NodeJobStatus) {
	for state, n := range map[string]int32{"active": s.Active, "succeeded": s.Succeeded, "failed": s.Failed, "skipped": s.Skipped} {
		jobNodes.WithLabelValues(job.Namespace, job.Name, state).Set(float64(n))
	}
	if s.FreedBytes != nil {
		jobFreed.WithLabelValues(job.Namespace, job.Name).Set(float64(*s.FreedBytes))
	}
}

func unmeasure(key types.NamespacedName) {
	labels := prometheus.Labels{"namespace": key.Namespace, "name": key.Name}
	jobNodes.DeletePartialMatch(labels)
	jobFreed.DeletePartialMatch(labels)
}
