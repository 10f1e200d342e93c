// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/test/lab"
)

const (
	nodeRounds = 3
	nodeWithin = 2 * time.Second
	// forNewNodes is the label of nodes that the cache is for.
	forNewNodes = "orlop-bench-new"
)

// arrival is a new node that a cache is for.
type arrival struct {
	// started is from Ready to the start of the agent's container, present from there until every image was there.
	started, present time.Duration
}

// cacheNode compares what a new node needs for the images of a cache that is there with raw pulls on another new node.
func (b *bench) cacheNode(ctx context.Context) error {
	if err := b.operator(ctx); err != nil {
		return err
	}
	images, err := b.pushSet(ctx, "cache", cacheImages)
	if err != nil {
		return err
	}
	c := newCache(names(images))
	c.Spec.NodeSelector = map[string]string{forNewNodes: ""}
	if err := b.createAndSee(ctx, c); err != nil {
		return err
	}
	var floors, started, present []taken
	for round := range nodeRounds {
		a, floor, err := b.nodeRound(ctx, images, round)
		if err != nil {
			return fmt.Errorf("round %d: %w", round+1, err)
		}
		b.say("round %d: the agent starts %s after Ready, its images are there %s later; raw pulls %s", round+1, short(a.started), short(a.present), short(floor.Done))
		floors, started, present = append(floors, floor), append(started, taken{Done: a.started}), append(present, taken{Done: a.present})
	}
	b.report.rows = append(b.report.rows, row{what: "a new node, from Ready to the start of the agent's container, its image's pull included", value: spread(started)})
	b.report.after(comparison{what: fmt.Sprintf("and from there until the %d images of 20 MB of a cache are there", cacheImages), against: "raw CRI pulls on another new node"},
		present, floors, nodeWithin)
	return b.emptied(ctx)
}

// createAndSee creates a cache and waits until the controller has looked at it.
func (b *bench) createAndSee(ctx context.Context, c *v1alpha1.ImageCache) error {
	f, err := b.follow(ctx, &v1alpha1.ImageCacheList{}, c.Name)
	if err != nil {
		return err
	}
	defer f.stop()
	if err := b.api.Create(ctx, c); err != nil {
		return err
	}
	_, _, err = until(ctx, f, "the controller's look", func(c *v1alpha1.ImageCache) bool { return c.Status.ObservedGeneration == c.Generation })
	return err
}

func (b *bench) nodeRound(ctx context.Context, images map[string]string, round int) (a arrival, floor taken, err error) {
	for _, mine := range []bool{round%2 == 0, round%2 != 0} {
		if mine {
			a, err = b.arrive(ctx, fmt.Sprintf("cached%d", round), images)
		} else {
			floor, err = b.bareArrival(ctx, fmt.Sprintf("bare%d", round), images)
		}
		if err != nil {
			return a, floor, err
		}
	}
	return a, floor, nil
}

// arrive adds a node that the cache is for, sees what happens, and takes the node away.
func (b *bench) arrive(ctx context.Context, name string, images map[string]string) (a arrival, err error) {
	f, err := b.follow(ctx, &corev1.NodeList{}, name)
	if err != nil {
		return a, err
	}
	defer f.stop()
	if _, err := b.lab.AddNode(ctx, lab.NodeOptions{Name: name, DiskSize: diskSize, Labels: map[string]string{forNewNodes: ""}}); err != nil {
		return a, err
	}
	defer func() { err = errors.Join(err, b.lab.RemoveNode(ctx, name)) }()
	if err := b.equipNode(name); err != nil {
		return a, err
	}
	p, err := b.gather(ctx, []string{name}, order{Images: images})
	if err != nil {
		return a, err
	}
	if p.early() == len(images) {
		return a, p.leave(errors.New("every image was there before the watcher was"))
	}
	if _, err := p.begin(); err != nil {
		return a, err
	}
	seen, err := p.finish()
	if err != nil {
		return a, err
	}
	start, err := b.agentStart(ctx, name)
	if err != nil {
		return a, err
	}
	ready, _, err := until(ctx, f, "Ready", nodeReady)
	// The runtime tells the start by the wall clock: what the two clocks differ by is the same for all.
	offset := time.Now().Add(-monotonic())
	a.started, a.present = start.Sub(offset.Add(ready)), seen[name].Wall.Sub(start)
	return a, err
}

func nodeReady(n *corev1.Node) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// bareArrival adds a node that the cache is not for, has it pull by itself, and takes it away.
func (b *bench) bareArrival(ctx context.Context, name string, images map[string]string) (floor taken, err error) {
	if _, err := b.lab.AddNode(ctx, lab.NodeOptions{Name: name, DiskSize: diskSize}); err != nil {
		return floor, err
	}
	defer func() { err = errors.Join(err, b.lab.RemoveNode(ctx, name)) }()
	if err := b.equipNode(name); err != nil {
		return floor, err
	}
	// It has its agent before it pulls: the pull of that image is in neither number.
	err = eventually(ctx, "the agent runs on "+name, func() (bool, error) {
		_, err := b.agentStart(ctx, name)
		return err == nil, err
	})
	if err != nil {
		return floor, err
	}
	return b.floor(ctx, []string{name}, images)
}

// agentStart is when the runtime started the agent's container on a node, which it knows better than the pod's status.
func (b *bench) agentStart(ctx context.Context, node string) (time.Time, error) {
	var list struct {
		Containers []struct {
			ID     string            `json:"id"`
			Labels map[string]string `json:"labels"`
		} `json:"containers"`
	}
	out, err := b.lab.Crictl(ctx, node, "ps", "-o", "json")
	if err == nil {
		err = json.Unmarshal([]byte(out), &list)
	}
	if err != nil {
		return time.Time{}, err
	}
	for _, c := range list.Containers {
		if c.Labels["io.kubernetes.pod.namespace"] != system || !strings.HasPrefix(c.Labels["io.kubernetes.pod.name"], "orlop-agent-") {
			continue
		}
		var one struct {
			Status struct {
				StartedAt time.Time `json:"startedAt"`
			} `json:"status"`
		}
		out, err := b.lab.Crictl(ctx, node, "inspect", "-o", "json", c.ID)
		if err == nil {
			err = json.Unmarshal([]byte(out), &one)
		}
		return one.Status.StartedAt, err
	}
	return time.Time{}, fmt.Errorf("no agent runs on %s", node)
}
