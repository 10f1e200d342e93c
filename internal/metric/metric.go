// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package metric makes a program's metrics, and remembers what they are, for their reference.
package metric

import (
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Description is what there is to say of one metric.
type Description struct {
	Name, Type, Help string
	Labels           []string
}

// The types of metrics.
const (
	Gauge     = "gauge"
	Counter   = "counter"
	Histogram = "histogram"
)

// Set registers metrics as it makes them. It is to be filled before it is read.
type Set struct {
	registry  prometheus.Registerer
	described []Description
}

// NewSet makes a set whose metrics a registry serves.
func NewSet(registry prometheus.Registerer) *Set { return &Set{registry: registry} }

// Descriptions are those of all metrics, in the order in which they were made.
func (s *Set) Descriptions() []Description { return slices.Clone(s.described) }

// Add registers a collector that makes its own series, those described here.
func (s *Set) Add(c prometheus.Collector, described ...Description) {
	s.described = append(s.described, described...)
	s.registry.MustRegister(c)
}

// Gauges makes a gauge for each value of the labels.
func (s *Set) Gauges(name, help string, labels ...string) *prometheus.GaugeVec {
	v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
	s.Add(v, Description{name, Gauge, help, labels})
	return v
}

// Gauge makes a gauge without labels.
func (s *Set) Gauge(name, help string) prometheus.Gauge {
	return s.Gauges(name, help).WithLabelValues()
}

// Counters makes a counter for each value of the labels.
func (s *Set) Counters(name, help string, labels ...string) *prometheus.CounterVec {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	s.Add(v, Description{name, Counter, help, labels})
	return v
}

const (
	// Where native histograms are scraped, their buckets are a tenth apart, and this many: some KB for each series.
	nativeFactor     = 1.1
	nativeBuckets    = 100
	nativeResetEvery = time.Hour
)

// Histograms makes a histogram for each value of the labels: a native one for those who scrape such, and for the others one with
// these buckets, of which each is a series.
func (s *Set) Histograms(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	v := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: name, Help: help, Buckets: buckets,
		NativeHistogramBucketFactor: nativeFactor, NativeHistogramMaxBucketNumber: nativeBuckets, NativeHistogramMinResetDuration: nativeResetEvery,
	}, labels)
	s.Add(v, Description{name, Histogram, help, labels})
	return v
}

// Other stands for the values of a label that found no room.
const Other = "other"

// Values bounds the values of a label that others choose, such as the hosts of registries: each makes series that never go.
type Values struct {
	// Limit is how many are told apart.
	Limit int

	mu    sync.Mutex
	known map[string]bool
}

// Of is the value, or Other if there are enough already.
func (v *Values) Of(value string) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case v.known[value]:
		return value
	case len(v.known) >= v.Limit:
		return Other
	case v.known == nil:
		v.known = map[string]bool{}
	}
	v.known[value] = true
	return value
}
