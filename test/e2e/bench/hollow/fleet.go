// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package hollow is nodes without machines: Node objects that are kept Ready, and for each the real agent over an in-memory
// containerd, with an identity and a connection of its own, all in one process.
package hollow

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"orlop.dev/orlop/internal/agent"
	"orlop.dev/orlop/internal/engine/enginetest"
	"orlop.dev/orlop/internal/oci"
)

// Label is on each hollow node.
const Label = "orlop-bench-hollow"

// namePrefix begins the name of each hollow node.
const namePrefix = "hollow"

// Options say what a fleet is like. All are required but Held.
type Options struct {
	// API and Config are the administrator's.
	API    client.WithWatch
	Config *rest.Config
	// Namespace is where Orlop is installed: the DaemonSet there gives each node its agent's pod, which no machine runs.
	Namespace string
	Nodes     int
	// Held is how many images each node holds from the start.
	Held int
	// Images are those that can be pulled, and their digests in the registry that the controller asks.
	Images map[string]string
	// Pull is how long the pull of one image takes.
	Pull time.Duration
}

// Fleet is nodes and their agents.
type Fleet struct {
	Options
	nodes    []*node
	registry *enginetest.Registry
	end      context.CancelFunc
	jobs     sync.WaitGroup

	pulls    atomic.Int64
	lastPull atomic.Int64
	revived  atomic.Int64
	warnings warnings
}

// node is one hollow node.
type node struct {
	object  *corev1.Node
	agent   *agent.Agent
	runtime *enginetest.Containerd
}

// makers is how many requests make or take away nodes at once.
const makers = 16

// Start makes the nodes, and returns when each has an agent that is ready, in a pod that says so. The fleet lives until Close.
func Start(ctx context.Context, o Options) (*Fleet, error) {
	f := &Fleet{Options: o, registry: enginetest.NewRegistry(), nodes: make([]*node, o.Nodes)}
	if err := f.fillRegistry(); err != nil {
		return nil, err
	}
	living, end := context.WithCancel(context.WithoutCancel(ctx))
	f.end = end
	f.jobs.Go(func() {
		f.watch(living, &corev1.NodeList{}, func(object client.Object) { f.revive(living, object) }, client.HasLabels{Label})
	})
	group, making := errgroup.WithContext(ctx)
	group.SetLimit(makers)
	for i := range f.nodes {
		group.Go(func() (err error) {
			f.nodes[i], err = f.add(making, living, fmt.Sprintf("%s%04d", namePrefix, i))
			return err
		})
	}
	err := group.Wait()
	if err == nil {
		err = f.servePods(ctx, living)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close(context.WithoutCancel(ctx)))
	}
	return f, nil
}

// layerBytes is what a pull is slowed down by; nothing is moved.
const layerBytes = 1 << 20

func (f *Fleet) fillRegistry() error {
	for name, digest := range f.Images {
		ref, err := oci.Parse(name + "@" + digest)
		if err != nil {
			return err
		}
		f.registry.Push(ref.WithoutDigest(), enginetest.Content{Seed: name, Layers: []enginetest.Blob{{Seed: name, Size: layerBytes}}, Known: ref.Digest()})
	}
	return nil
}

// Pulls is how many pulls have ended well, on all nodes.
func (f *Fleet) Pulls() int64 { return f.pulls.Load() }

// Revived is how often a node was taken for dead, since this machine was too busy for its lease.
func (f *Fleet) Revived() int64 { return f.revived.Load() }

// LastPull is when the last of them ended.
func (f *Fleet) LastPull() time.Time { return time.Unix(0, f.lastPull.Load()) }

// Without counts the nodes that lack one of the images.
func (f *Fleet) Without(ctx context.Context, images map[string]string) (lacking int, err error) {
	for _, n := range f.nodes {
		list, err := n.runtime.List(ctx)
		if err != nil {
			return 0, err
		}
		has := map[string]bool{}
		for _, img := range list {
			for _, tag := range img.Tags {
				has[tag.String()] = true
			}
		}
		for name := range images {
			if !has[name] {
				lacking++
				break
			}
		}
	}
	return lacking, nil
}

// Close ends the agents, and takes the nodes away.
func (f *Fleet) Close(ctx context.Context) error {
	f.end()
	f.jobs.Wait()
	var group errgroup.Group
	group.SetLimit(makers)
	for _, n := range f.nodes {
		if n != nil {
			group.Go(func() error { return f.remove(ctx, n) })
		}
	}
	return errors.Join(group.Wait(), f.removePods(ctx))
}
