// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagecache

import (
	"cmp"
	"maps"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"

	"orlop.dev/orlop/internal/metric"
)

// drift is on which nodes a tag of caches is another image than it should be, by cache. Several caches may want one tag on the same nodes.
type drift struct {
	mu     sync.Mutex
	limit  int
	caches map[types.NamespacedName]map[string][]string
}

var (
	driftNodes = metric.Description{Name: "orlop_tag_drift_nodes", Type: metric.Gauge, Labels: []string{"ref"},
		Help: "Nodes on which a tag that an ImageCache names means another image than in the registry. With more tags than --drift-series-limit, those with the most such nodes."}
	driftOmitted = metric.Description{Name: "orlop_tag_drift_omitted_refs", Type: metric.Gauge,
		Help: "Tags left out of orlop_tag_drift_nodes for lack of room."}
	driftNodesDesc   = prometheus.NewDesc(driftNodes.Name, driftNodes.Help, driftNodes.Labels, nil)
	driftOmittedDesc = prometheus.NewDesc(driftOmitted.Name, driftOmitted.Help, nil, nil)
)

func (d *drift) bound(limit int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.limit = limit
}

func (d *drift) set(cache types.NamespacedName, tags map[string][]string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.caches == nil {
		d.caches = map[types.NamespacedName]map[string][]string{}
	}
	d.caches[cache] = tags
}

func (d *drift) forget(cache types.NamespacedName) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.caches, cache)
}

// Describe is part of prometheus.Collector.
func (d *drift) Describe(to chan<- *prometheus.Desc) {
	to <- driftNodesDesc
	to <- driftOmittedDesc
}

// Collect is part of prometheus.Collector.
func (d *drift) Collect(to chan<- prometheus.Metric) {
	counts, limit := d.count()
	refs := slices.SortedFunc(maps.Keys(counts), func(a, b string) int { return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b)) })
	for _, ref := range refs[:min(len(refs), limit)] {
		to <- prometheus.MustNewConstMetric(driftNodesDesc, prometheus.GaugeValue, float64(counts[ref]), ref)
	}
	to <- prometheus.MustNewConstMetric(driftOmittedDesc, prometheus.GaugeValue, float64(max(0, len(refs)-limit)))
}

// count is on how many nodes each tag has drifted.
func (d *drift) count() (counts map[string]int, limit int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	on := map[string]map[string]bool{}
	counts = map[string]int{}
	for _, tags := range d.caches {
		for ref, nodes := range tags {
			if on[ref] == nil {
				on[ref] = map[string]bool{}
			}
			for _, node := range nodes {
				on[ref][node] = true
			}
			counts[ref] = len(on[ref])
		}
	}
	return counts, d.limit
}

// drift is on which nodes the tags are other images, where it is known what they should be.
func (s *sum) drift(images []fact) map[string][]string {
	tags := map[string][]string{}
	for i, f := range images {
		if f.Ref.Tag() != "" && f.Ref.Digest() == "" && f.want() != "" {
			tags[f.name] = s.images[i].drifted
		}
	}
	return tags
}
