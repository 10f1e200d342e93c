// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"cmp"
	"net/http"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/metric"
	"orlop.dev/orlop/internal/plan"
)

// Metrics counts what an agent does. A nil one counts nothing.
type Metrics struct {
	*metric.Set
	registry                      *prometheus.Registry
	pulls, bytes, removals, freed *prometheus.CounterVec
	duration, calls               *prometheus.HistogramVec
	images, capacity, used        prometheus.Gauge
	inodesUsed, reclaimable       prometheus.Gauge
	imageBytes                    *prometheus.GaugeVec
	hosts                         metric.Values
}

const (
	// maxHosts is how many registries are told apart: who may write a NodeJob may name as many hosts as he likes.
	maxHosts = 50

	resultOK     = "ok"
	resultFailed = "failed"
)

var (
	// pullBuckets go from a quarter of a second to more than the half hour after which a pull is given up.
	pullBuckets = prometheus.ExponentialBuckets(0.25, 2, 14)
	// callBuckets are few: there are as many of each as there are methods.
	callBuckets = []float64{0.005, 0.025, 0.1, 0.5, 2.5, 10, 60}
)

// NewMetrics makes the metrics of an agent of this version.
func NewMetrics(version string) *Metrics {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	set := metric.NewSet(registry)
	m := &Metrics{
		Set: set, registry: registry, hosts: metric.Values{Limit: maxHosts},
		pulls: set.Counters("orlop_image_pulls_total",
			"Finished pulls, by result (ok, failed), the reason of a failure, and the registry's host; beyond 50 hosts, other.", "result", "reason", "registry"),
		duration:    set.Histograms("orlop_image_pull_duration_seconds", "How long pulls took, by result (ok, failed).", pullBuckets, "result"),
		bytes:       set.Counters("orlop_image_pull_bytes_total", "Compressed bytes of pulled images, by the registry's host.", "registry"),
		removals:    set.Counters("orlop_image_removals_total", "Finished removals, by result (ok, or the reason of a failure) and what asked for them (cache, job).", "result", "trigger"),
		freed:       set.Counters("orlop_image_reclaimed_bytes_total", "Bytes of removed images, by what asked for the removal (cache, job).", "trigger"),
		images:      set.Gauge("orlop_node_images", "Images on this node."),
		imageBytes:  set.Gauges("orlop_node_image_bytes", "Bytes of images by what holds them (in_use, pinned, unused). Shared layers count for each image.", "state"),
		capacity:    set.Gauge("orlop_node_imagefs_capacity_bytes", "Size of the image file system."),
		used:        set.Gauge("orlop_node_imagefs_used_bytes", "Bytes used on the image file system, by whatever is on it."),
		inodesUsed:  set.Gauge("orlop_node_imagefs_inodes_used", "Inodes used on the image file system."),
		reclaimable: set.Gauge("orlop_node_reclaimable_bytes", "Bytes that would be freed if every image went that nothing needs."),
		calls: set.Histograms("orlop_cri_requests_duration_seconds",
			"How long the container runtime took to answer the agent, by method and code: gRPC's for CRI and containerd's own API, HTTP's for Docker's API.",
			callBuckets, "method", "code"),
	}
	set.Gauges("orlop_agent_build_info", "The version of the agent, and of Go.", "version", "goversion").WithLabelValues(version, runtime.Version()).Set(1)
	for _, trigger := range []string{triggerCache, triggerJob} {
		m.removals.WithLabelValues(resultOK, trigger) // A counter that begins at 1 would hide the first removal from rate().
		m.freed.WithLabelValues(trigger)
	}
	return m
}

// Handler serves the metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// Called counts a call of the runtime.
func (m *Metrics) Called(method, code string, took time.Duration) {
	if m != nil {
		m.calls.WithLabelValues(method, code).Observe(took.Seconds())
	}
}

func (m *Metrics) pulled(registry, reason string, bytes int64, took time.Duration) {
	if m == nil {
		return
	}
	result := resultOK
	if reason != "" {
		result = resultFailed
	}
	registry = m.hosts.Of(registry)
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
	m.removals.WithLabelValues(cmp.Or(result, resultFailed), trigger).Inc()
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
