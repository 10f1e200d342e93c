// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"orlop.dev/orlop/test/lab"
)

const (
	nodes    = 3
	diskSize = 6 << 30 // three times what the largest set takes, so that the kubelet's collection stays away

	// pushers is how many images go to the registry at once.
	pushers = 8

	onNode    = "/usr/local/bin/"
	stopwatch = onNode + "orlop-bench"
)

// newBench starts the lab, and puts what is measured on the node.
func newBench(ctx context.Context, bin, attach string) (*bench, error) {
	b := &bench{bin: bin, node: "node1", start: time.Now()}
	if _, err := os.Stat(filepath.Join(bin, "orlop-node")); err != nil {
		return nil, fmt.Errorf("%w: make build makes it", err)
	}
	var err error
	if attach != "" {
		b.lab, err = lab.Attach(ctx, attach)
	} else {
		b.owned = true
		b.lab, err = lab.Start(ctx, lab.Options{
			Name: "bench", Nodes: nodes, Node: lab.NodeOptions{DiskSize: diskSize},
			Progress: func(e lab.Event) {
				if e.Done {
					b.say("%s", e.Text)
				}
			},
		})
	}
	if err != nil {
		return nil, err
	}
	if err := b.equip(); err != nil {
		return nil, errors.Join(err, b.close())
	}
	return b, nil
}

// equip puts the stopwatch on each node, and on one what is compared with crictl there.
func (b *bench) equip() error {
	for _, node := range b.workers() {
		if err := b.equipNode(node); err != nil {
			return err
		}
	}
	return b.lab.Put(b.node, filepath.Join(b.bin, "orlop-node"), onNode+"orlop-node")
}

func (b *bench) equipNode(node string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return b.lab.Put(node, self, stopwatch)
}

// push makes a set of images, several at once, and gives their names in order.
func (b *bench) push(ctx context.Context, count int, name string, spec lab.ImageSpec) ([]string, error) {
	b.say("pushing %d images %s", count, name)
	images, err := b.pushTo(ctx, "docker.io/bench/"+name, count, spec)
	return names(images), err
}

// pushTo makes images under names that begin so, and gives the digest of each.
func (b *bench) pushTo(ctx context.Context, prefix string, count int, spec lab.ImageSpec) (map[string]string, error) {
	var mu sync.Mutex
	digests := map[string]string{}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(pushers)
	for n := range count {
		name := fmt.Sprintf("%s-%03d:1", prefix, n)
		group.Go(func() error {
			digest, err := b.lab.PushImage(ctx, name, spec)
			mu.Lock()
			defer mu.Unlock()
			digests[name] = digest
			return err
		})
	}
	return digests, group.Wait()
}

// clock runs a command on the node that is measured, and measures it there.
func (b *bench) clock(ctx context.Context, t task) (taken, error) { return b.clockOn(ctx, b.node, t) }

func (b *bench) clockOn(ctx context.Context, node string, t task) (taken, error) {
	var result taken
	question, err := json.Marshal(t)
	if err != nil {
		return result, err
	}
	cmd, err := b.lab.Command(ctx, node, stopwatch, inNode, "clock")
	if err != nil {
		return result, err
	}
	cmd.Stdin, cmd.Stderr = strings.NewReader(string(question)), os.Stderr
	answer, err := cmd.Output()
	if err != nil {
		return result, fmt.Errorf("running %s on %s: %w", t.Argv[0], node, err)
	}
	return result, json.Unmarshal(answer, &result)
}

// clear takes away every image that is not in use, and waits until the node is back at base.
func (b *bench) clear(ctx context.Context, base stock) error {
	_, err := b.clock(ctx, task{Argv: crictlPrune, Until: &base})
	return err
}

// bare is the node's stock without any image that is not in use.
func (b *bench) bare(ctx context.Context) (stock, error) { return b.bareOn(ctx, b.node) }

func (b *bench) bareOn(ctx context.Context, node string) (stock, error) {
	if _, err := b.clockOn(ctx, node, task{Argv: crictlPrune}); err != nil {
		return stock{}, err
	}
	empty, err := b.clockOn(ctx, node, task{Argv: []string{"true"}})
	return empty.Stock, err
}
