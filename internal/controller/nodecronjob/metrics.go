// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package nodecronjob

import (
	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"orlop.dev/orlop/internal/metric"
)

var (
	measures = metric.NewSet(metrics.Registry)
	lastRun  = measures.Gauges("orlop_cronjob_last_run_timestamp_seconds",
		"The scheduled time that a NodeCronJob last acted upon.", "namespace", "name")
	lastSuccess = measures.Gauges("orlop_cronjob_last_success_timestamp_seconds",
		"When a run of a NodeCronJob last succeeded.", "namespace", "name")
	nextRun = measures.Gauges("orlop_cronjob_next_run_timestamp_seconds",
		"When a NodeCronJob is due next; not set while it is suspended.", "namespace", "name")
)

// Metrics are what this package measures.
func Metrics() []metric.Description { return measures.Descriptions() }

func measure(key types.NamespacedName, s *status) {
	for gauge, at := range map[*prometheus.GaugeVec]*metav1.Time{lastRun: s.LastScheduleTime, lastSuccess: s.LastSuccessfulTime, nextRun: s.NextScheduleTime} {
		if at == nil {
			gauge.DeleteLabelValues(key.Namespace, key.Name) // What was made anew under a name has run never yet.
			continue
		}
		gauge.WithLabelValues(key.Namespace, key.Name).Set(float64(at.Unix()))
	}
}

func unmeasure(key types.NamespacedName) { measure(key, &status{}) }
