// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package nodecronjob

import (
	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

var (
	lastRun = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "orlop_cronjob_last_run_timestamp_seconds", Help: "The time of the schedule that a NodeCronJob acted upon last.",
	}, []string{"namespace", "name"})
	lastSuccess = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "orlop_cronjob_last_success_timestamp_seconds", Help: "When a run of a NodeCronJob last ended well.",
	}, []string{"namespace", "name"})
)

func init() { metrics.Registry.MustRegister(lastRun, lastSuccess) }

func measure(key types.NamespacedName, s *status) {
	for gauge, at := range map[*prometheus.GaugeVec]*metav1.Time{lastRun: s.LastScheduleTime, lastSuccess: s.LastSuccessfulTime} {
		if at == nil {
			gauge.DeleteLabelValues(key.Namespace, key.Name) // What was made anew under a name has run never yet.
			continue
		}
		gauge.WithLabelValues(key.Namespace, key.Name).Set(float64(at.Unix()))
	}
}

func unmeasure(key types.NamespacedName) { measure(key, &status{}) }
