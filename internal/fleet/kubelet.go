// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Collection is when a kubelet begins and ends to collect images, in percent of the disk.
type Collection struct {
	High, Low int
	// Known: the kubelet has told; else they are its defaults.
	Known bool
}

const (
	// The kubelet's defaults.
	defaultHigh = 85
	defaultLow  = 80

	// configTimeout bounds a question that a table can do without.
	configTimeout = 3 * time.Second
	// configParallel is how many kubelets are asked at once, through the API server.
	configParallel = 20
	// maxConfig is how many kubelets are asked at all: each is a request that passes through the API server.
	maxConfig = 200
)

// Collections asks the kubelets for their thresholds, as far as that is allowed and quick.
func (f *Fleet) Collections(ctx context.Context, nodes []Node) map[string]Collection {
	ctx, cancel := context.WithTimeout(ctx, configTimeout)
	defer cancel()
	var mu sync.Mutex
	var all sync.WaitGroup
	found := map[string]Collection{}
	for _, node := range nodes {
		found[node.Name] = Collection{High: defaultHigh, Low: defaultLow}
	}
	slots := make(chan struct{}, configParallel)
	for i, node := range nodes {
		if node.Trouble != nil || i >= maxConfig {
			continue
		}
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if c, err := f.collection(ctx, node.Name); err == nil {
				mu.Lock()
				defer mu.Unlock()
				found[node.Name] = c
			}
		})
	}
	all.Wait()
	return found
}

func (f *Fleet) collection(ctx context.Context, node string) (Collection, error) {
	raw, err := f.client.CoreV1().RESTClient().Get().Resource("nodes").Name(node).SubResource("proxy").Suffix("configz").DoRaw(ctx)
	if err != nil {
		return Collection{}, fmt.Errorf("asking the kubelet for its configuration: %w", err)
	}
	var answer struct {
		Config struct {
			High *int `json:"imageGCHighThresholdPercent"`
			Low  *int `json:"imageGCLowThresholdPercent"`
		} `json:"kubeletconfig"`
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return Collection{}, fmt.Errorf("reading the kubelet's configuration: %w", err)
	}
	if answer.Config.High == nil || answer.Config.Low == nil {
		return Collection{}, errors.New("the kubelet's configuration has no thresholds")
	}
	return Collection{High: *answer.Config.High, Low: *answer.Config.Low, Known: true}, nil
}
