// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"runtime"
	"slices"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"orlop.dev/orlop/internal/controller/imagecache"
	"orlop.dev/orlop/internal/controller/imagestore"
	"orlop.dev/orlop/internal/controller/nodecronjob"
	"orlop.dev/orlop/internal/controller/nodejob"
	"orlop.dev/orlop/internal/metric"
)

var (
	measures  = metric.NewSet(metrics.Registry)
	buildInfo = measures.Gauges("orlop_controller_build_info", "The version of the controller, and of Go.", "version", "goversion")
	crew      = &agentCount{}
)

var (
	agentPods = metric.Description{Name: "orlop_agents", Type: metric.Gauge, Labels: []string{"state"},
		Help: "Agents, one for each node that should have one, by state (ready, unready)."}
	agentPodsDesc = prometheus.NewDesc(agentPods.Name, agentPods.Help, agentPods.Labels, nil)
)

func init() { measures.Add(crew, agentPods) }

// Metrics are what the controller measures, apart from what its libraries do.
func Metrics() []metric.Description {
	return slices.Concat(measures.Descriptions(), imagecache.Metrics(), nodejob.Metrics(), nodecronjob.Metrics())
}

// agentCount counts the agents when it is asked, in the controller that leads.
type agentCount struct {
	agents atomic.Pointer[imagestore.Agents]
}

// lead counts until the context ends.
func (c *agentCount) lead(agents *imagestore.Agents) func(context.Context) error {
	return func(ctx context.Context) error {
		c.agents.Store(agents)
		<-ctx.Done()
		c.agents.Store(nil)
		return nil
	}
}

// Describe is part of prometheus.Collector.
func (c *agentCount) Describe(to chan<- *prometheus.Desc) { to <- agentPodsDesc }

// Collect is part of prometheus.Collector.
func (c *agentCount) Collect(to chan<- prometheus.Metric) {
	agents := c.agents.Load()
	if agents == nil {
		return
	}
	ready, unready, err := agents.Count(context.Background())
	if err != nil {
		to <- prometheus.NewInvalidMetric(agentPodsDesc, err)
		return
	}
	to <- prometheus.MustNewConstMetric(agentPodsDesc, prometheus.GaugeValue, float64(ready), "ready")
	to <- prometheus.MustNewConstMetric(agentPodsDesc, prometheus.GaugeValue, float64(unready), "unready")
}

func introduce(version string) { buildInfo.WithLabelValues(version, runtime.Version()).Set(1) }
