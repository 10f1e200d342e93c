// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/test/lab"
)

const (
	mebibyte        = 1 << 20
	restCaches      = 10
	restCacheImages = 20

	restWatch      = 5 * time.Minute
	restQuickWatch = time.Minute
	// lookAtRest is how often memory is looked at: looking takes a process on the node, which must not be what is measured.
	lookAtRest = 15 * time.Second

	agentAnon     = 30 * mebibyte
	agentCPU      = 0.01
	controllerRSS = 60 * mebibyte
)

// agentRest measures an agent with many images, and a controller with some caches, that have nothing to do.
func (b *bench) agentRest(ctx context.Context) error {
	if err := b.operator(ctx); err != nil {
		return err
	}
	base, err := b.bare(ctx)
	if err != nil {
		return err
	}
	images, err := b.fillForRest(ctx)
	if err != nil {
		return err
	}
	if err := b.createMany(ctx, images); err != nil {
		return err
	}
	if err := b.hush(ctx); err != nil {
		return err
	}
	if err := b.watchRest(ctx); err != nil {
		return err
	}
	return errors.Join(b.emptied(ctx), b.clear(ctx, base))
}

// fillForRest brings many small images to the node, and waits until its inventory has them.
func (b *bench) fillForRest(ctx context.Context) ([]string, error) {
	b.say("pushing %d images rest", listImages)
	pushed, err := b.pushTo(ctx, lab.PlainHost+"/bench/rest", listImages, smallImage)
	if err != nil {
		return nil, err
	}
	images := names(pushed)
	b.say("pulling them")
	if _, err := b.clock(ctx, task{Argv: append([]string{"orlop-node", "pull", "--parallel", "8"}, images...)}); err != nil {
		return nil, err
	}
	return images, eventually(ctx, "the inventory has them", func() (bool, error) {
		var inventory v1alpha1.ImageInventory
		err := b.api.Get(ctx, client.ObjectKey{Name: b.node}, &inventory)
		return inventory.Status.ImageCount >= listImages, errors.Join(err, fmt.Errorf("it has %d", inventory.Status.ImageCount))
	})
}

// createMany makes several caches of images, and waits until each is Ready.
func (b *bench) createMany(ctx context.Context, images []string) error {
	b.say("creating %d caches", restCaches)
	for n := range restCaches {
		c := newCache(images[n*restCacheImages : (n+1)*restCacheImages])
		c.Name = fmt.Sprintf("rest%d", n)
		if err := b.api.Create(ctx, c); err != nil {
			return err
		}
	}
	return eventually(ctx, "all caches are Ready", func() (bool, error) {
		var caches v1alpha1.ImageCacheList
		if err := b.api.List(ctx, &caches, client.InNamespace(inNamespace)); err != nil {
			return false, err
		}
		ready := 0
		for i := range caches.Items {
			if isReady(&caches.Items[i]) {
				ready++
			}
		}
		return ready == restCaches, fmt.Errorf("%d are", ready)
	})
}

func (b *bench) watchRest(ctx context.Context) error {
	watch, said := restWatch, ""
	if b.quick {
		watch, said = restQuickWatch, ", shortened"
	}
	pod, err := b.controllerPod(ctx)
	if err != nil {
		return err
	}
	b.say("watching for %s", watch)
	mark, err := b.lab.AuditMark()
	if err != nil {
		return err
	}
	agent, controller := &resting{node: b.node, program: "orlop-node", argument: "agent"}, &resting{node: pod.Spec.NodeName, program: "orlop-controller"}
	for begun := time.Now(); ; {
		if err := errors.Join(b.look(ctx, agent), b.look(ctx, controller)); err != nil {
			return err
		}
		left := watch - time.Since(begun)
		if left <= 0 {
			break
		}
		if err := pause(ctx, min(left, lookAtRest)); err != nil {
			return err
		}
	}
	writes, err := b.lab.Writes(mark)
	if err != nil {
		return err
	}
	of := fmt.Sprintf(" over %s quiet minutes%s", shortMinutes(watch), said)
	b.report.fact(fmt.Sprintf("agent with %d images: RssAnon, the most%s", listImages, of), agent.anon, agentAnon)
	b.report.fact("agent: VmRSS, the most", agent.rss, 0)
	b.report.share("agent: of one core"+of, agent.share(), agentCPU)
	b.report.fact(fmt.Sprintf("controller with %d nodes and %d caches of %d images: VmRSS, the most%s", nodes, restCaches, restCacheImages, of), controller.rss, controllerRSS)
	b.report.fact("controller: RssAnon, the most", controller.anon, 0)
	b.report.share("controller: of one core", controller.share(), 0)
	_, rest := apart(writes)
	b.report.told("API writes meanwhile, without the lease", tallyOf(rest).String(), none)
	return nil
}

func shortMinutes(d time.Duration) string { return fmt.Sprintf("%g", d.Minutes()) }

// resting is a process that is looked at from time to time.
type resting struct {
	node, program, argument string

	anon, rss   int64
	first, last life
	begun, seen time.Time
}

func (b *bench) look(ctx context.Context, r *resting) error {
	now, err := b.process(ctx, r.node, r.program, r.argument)
	if err != nil {
		return err
	}
	if r.begun.IsZero() {
		r.begun, r.first = time.Now(), now
	}
	if now.PID != r.first.PID {
		return fmt.Errorf("%s on %s was started anew", r.program, r.node)
	}
	r.seen, r.last = time.Now(), now
	r.anon, r.rss = max(r.anon, now.Anon), max(r.rss, now.RSS)
	return nil
}

// share is what of one core it used, from the first look to the last.
func (r *resting) share() float64 {
	return (r.last.CPU - r.first.CPU).Seconds() / r.seen.Sub(r.begun).Seconds()
}
