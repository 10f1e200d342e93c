// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"cmp"
	"net/http"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/plan"
)

// Metrics counts what an agent does. A nil one counts nothing.
type Metrics struct {
	registry                      *prometheus.Registry
	pulls, bytes, removals, freed *prometheus.CounterVec
	duration                      *prometheus.HistogramVec
	images, capacity, used        prometheus.Gauge
	inodesUsed, reclaimable       prometheus.Gauge
	imageBytes                    *prometheus.GaugeVec
}

// NewMetrics makes the metrics of an agent of this version.
func NewMetrics(version string) *Metrics {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		pulls:    counter("orlop_image_pulls_total", "Pulls that have ended.", "result", "reason", "registry"),
		bytes:    counter("orlop_image_pull_bytes_total", "Compressed bytes of the images that were pulled.", "registry"),
		removals: counter("orlop_image_removals_total", "Removals that have ended.", "result", "trigger"),
		freed:    counter("orlop_image_reclaimed_bytes_total", "Bytes of the images that were removed.", "trigger"),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "orlop_image_pull_duration_seconds", Help: "How long pulls took.", Buckets: prometheus.ExponentialBuckets(0.25, 2, 12),
		}, []string{"result"}),
		images:      gauge("orlop_node_images", "Images on this node."),
		imageBytes:  prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "orlop_node_image_bytes", Help: "Bytes of images by what holds them."}, []string{"state"}),
		capacity:    gauge("orlop_node_imagefs_capacity_bytes", "Size of the images' file system."),
		used:        gauge("orlop_node_imagefs_used_bytes", "Bytes used of it."),
		inodesUsed:  gauge("orlop_node_imagefs_inodes_used", "Inodes used of it."),
		reclaimable: gauge("orlop_node_reclaimable_bytes", "Bytes that would be freed if every image went that nothing needs."),
	}
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "orlop_agent_build_info", Help: "The agent's version."}, []string{"version", "goversion"})
	info.WithLabelValues(version, runtime.Version()).Set(1)
	m.registry.MustRegister(m.pulls, m.bytes, m.removals, m.freed, m.duration, m.images, m.imageBytes, m.capacity, m.used, m.inodesUsed, m.reclaimable, info)
	return m
}

// Handler serves the metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

func (m *Metrics) pulled(registry, reason string, bytes int64, took time.Duration) {
	if m == nil {
		return
	}
	result := "ok"
	if reason != "" {
		result = "failed"
	}
	m.pulls.WithLabelValues(result, reason, registry).Inc()
	m.duration.WithLabelValues(result).Observe(took.Seconds())
	m.bytes.WithLabelValues(registry).Add(float64(bytes))
}

// Why the agent removes.
const (
	triggerCache = "cache"
	triggerJob   = "job"
)

func (m *Metrics) removed(trigger, result string, bytes int64) {
	if m == nil {
		return
	}
	m.removals.WithLabelValues(cmp.Or(result, "failed"), trigger).Inc()
	m.freed.WithLabelValues(trigger).Add(float64(bytes))
}

func (m *Metrics) stock(disk plan.Disk, status v1alpha1.ImageInventoryStatus) {
	if m == nil {
		return
	}
	m.images.Set(float64(status.ImageCount))
	m.capacity.Set(float64(disk.Capacity))
	m.used.Set(float64(disk.Used))
	m.inodesUsed.Set(float64(disk.InodesUsed))
	m.reclaimable.Set(float64(status.ReclaimableBytes))
	states := map[string]int64{"in_use": 0, "pinned": 0, "unused": 0}
	for i := range status.Images {
		image := &status.Images[i]
		size := cmp.Or(image.DiskBytes, image.PullBytes)
		switch {
		case image.UserCount > 0:
			states["in_use"] += size
		case image.Pinned:
			states["pinned"] += size
		default:
			states["unused"] += size
		}
	}
	for state, bytes := range states {
		m.imageBytes.WithLabelValues(state).Set(float64(bytes))
	}
}

// Handler serves /healthz, /readyz and /metrics. It is healthy as long as it answers: what is wrong with the runtime a
// restart of the agent does not cure.
func (a *Agent) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !a.Ready() {
			http.Error(w, "the runtime has not answered, or the ImageStore of this node is not there", http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ok\n"))
	})
	if a.cfg.Metrics != nil {
		mux.Handle("GET /metrics", a.cfg.Metrics.Handler())
	}
	return mux
}
