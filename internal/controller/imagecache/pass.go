// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagecache

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/controller/apply"
	"orlop.dev/orlop/internal/pullsecret"
)

// pass is one call of Reconcile.
type pass struct {
	*Controller
	*work
	cache   *v1alpha1.ImageCache // its status is the newest that is known, and what the request has made of it
	before  v1alpha1.ImageCacheStatus
	left    request
	dropped bool
	// unanswered: this process has yet to hear of a tag that another one asked for.
	unanswered bool
	now        time.Time
	again      time.Time // when to look again; zero: when something happens
}

// read makes of the object what is to be done for it.
func (p *pass) read() {
	key := types.NamespacedName{Namespace: p.cache.Namespace, Name: p.cache.Name}
	p.memory.mu.Lock()
	if w := p.memory.caches[key]; w != nil && w.status != nil && w.basis == p.cache.ResourceVersion {
		p.cache.Status = *w.status.DeepCopy() // The informer has not seen our own write yet.
	}
	p.memory.mu.Unlock()
	p.before = *p.cache.Status.DeepCopy()
	p.left = accept(&p.cache.Status, p.cache.Generation, requested(p.cache))
	var rivals []types.NamespacedName
	p.work, p.dropped, rivals = p.memory.put(p.cache)
	p.asker.wakeAll(rivals)
	if p.left.refresh != p.forcedFor {
		p.forced, p.forcedFor = p.now, p.left.refresh
	}
	if p.forcedFor == "" {
		p.forced = time.Time{}
	}
}

func (p *pass) run(ctx context.Context) (reconcile.Result, error) {
	secrets, problems := p.cfg.Secrets.For(ctx, pullsecret.Of(&p.demand))
	switch {
	case len(problems) > 0:
		p.at(p.now.Add(lookBad))
	case len(secrets) > 0:
		p.at(p.now.Add(lookGood))
	}

	known := facts(p.demand.Images, p.cfg.Catalog)
	unknown, unasked, err := p.ask(ctx, known)
	if err != nil {
		return reconcile.Result{}, err
	}
	if unknown > 0 && p.now.Sub(p.began) < grace {
		p.at(p.began.Add(grace))
		return p.result(), nil
	}
	if unknown > 0 {
		p.at(p.now.Add(grace))
	}
	known = p.facts(ctx, unasked)
	if p.summedJustNow(known) {
		return p.result(), nil
	}
	nodes, err := p.views(ctx)
	if err != nil {
		return reconcile.Result{}, err
	}
	p.total(known, nodes)
	adopted, followed := p.adopt(known), p.follow(known)
	if adopted || followed {
		known = p.facts(ctx, unasked)
		p.total(known, nodes)
	}
	status := compose(picture{cache: p.cache, demand: p.demand, invalid: p.invalid, problems: problems, facts: known, sum: p.sum, unanswered: p.unanswered}, p.now)
	p.watch(&status)
	if err := p.report(ctx, status); err != nil {
		return reconcile.Result{}, err
	}
	return p.result(), nil
}

// facts asks nodes where registries refuse, tells the nodes' reconciler what is known, and notes that a refresh was acted upon once
// all have answered.
func (p *pass) facts(ctx context.Context, unasked int) []fact {
	unanswered := p.recheck(facts(p.demand.Images, p.cfg.Catalog))
	if p.left.refresh != "" && unasked+unanswered == 0 {
		p.cache.Status.Refresh = p.left.refresh
	}
	known := facts(p.demand.Images, p.cfg.Catalog)
	p.signal(ctx, known)
	return known
}

// at has the cache looked at again no later than then.
func (p *pass) at(then time.Time) {
	if p.again.IsZero() || then.Before(p.again) {
		p.again = then
	}
}

func (p *pass) result() reconcile.Result {
	if p.again.IsZero() {
		return reconcile.Result{}
	}
	return reconcile.Result{RequeueAfter: max(time.Millisecond, p.again.Sub(p.now))}
}

// ask has registries asked for what is due. unknown are the images of which nothing is known and that are being asked for,
// unasked those that are yet to be answered since a refresh was asked for.
func (p *pass) ask(ctx context.Context, known []fact) (unknown, unasked int, err error) {
	var platforms []string
	for i, f := range known {
		busy, at := p.when(ctx, f, i < len(p.sum.images) && p.sum.images[i].gone)
		switch {
		case at.IsZero():
		case at.After(p.now):
			p.at(at)
		default:
			if platforms == nil {
				if platforms, err = p.platforms(ctx); err != nil {
					return 0, 0, err
				}
			}
			p.asker.ask(f.Ref, platforms, p.demand.Key)
			busy = true
		}
		if busy && f.want() == "" && f.entry.Refusal == nil {
			unknown++
		}
		p.unanswered = p.unanswered || busy && f.Always && f.want() != "" && f.entry.Asked.IsZero()
		if !p.forced.IsZero() && f.Ref.Digest() == "" && f.entry.Asked.Before(p.forced) {
			unasked++
		}
	}
	switch {
	case unknown == 0:
		p.began = time.Time{}
	case p.began.IsZero():
		p.began = p.now
	}
	return unknown, unasked, nil
}

// when is at what time an image is to be asked for, zero for never, and whether it is being asked for.
func (p *pass) when(ctx context.Context, f fact, missing bool) (busy bool, at time.Time) {
	busy, next := p.asker.state(f.Ref)
	if p.demand.Suspended && p.forced.IsZero() && (f.want() != "" || f.entry.Refusal != nil) {
		return busy, time.Time{}
	}
	o := occasion{now: p.now, refresh: jittered(p.demand.Refresh, p.cache.UID), forced: p.forced, next: next, missing: missing}
	if r := f.entry.Refusal; r != nil && next.After(p.now) && refusedLogin(issue{told: told{reason: r.Reason}}) {
		p.at(p.now.Add(lookBad))
		p.cfg.Secrets.Doubt(pullsecret.Of(&p.demand))
		if !busy && p.asker.otherCredentials(ctx, f.Ref) {
			o.next = time.Time{}
		}
	}
	return busy, due(f.Image, f.entry, o)
}

// platforms are those of the nodes that are selected.
func (p *pass) platforms(ctx context.Context) ([]string, error) {
	nodes, err := p.views(ctx)
	found := []string{}
	for _, v := range nodes {
		platform := platformOf(v.node)
		if platform != "/" && !slices.Contains(found, platform) && p.demand.Selects(v.node) {
			found = append(found, platform)
		}
	}
	return found, err
}

func platformOf(node *corev1.Node) string {
	return node.Status.NodeInfo.OperatingSystem + "/" + node.Status.NodeInfo.Architecture
}

// summedJustNow: the last sum will do for a moment. Many nodes may answer in that time.
func (p *pass) summedJustNow(known []fact) bool {
	pause := min(mostPause, max(leastPause, sumShare*p.summing))
	if ready := p.summed.Add(pause); ready.After(p.now) && p.before.ObservedGeneration == p.cache.Generation && len(p.sum.images) == len(known) {
		p.at(ready)
		return true
	}
	return false
}

func (p *pass) total(known []fact, nodes []view) {
	began := time.Now()
	p.sum = total(p.demand, known, nodes, earlierOf(&p.before, p.cache.Generation), p.memory.fixing(p.demand.Images))
	p.summed, p.summing = p.now, time.Since(began)
	if p.sum.unsure {
		p.at(p.now.Add(settle))
	}
	p.sum.measure(p.demand.Key)
	drifts.set(p.demand.Key, p.sum.drift(known))
}

// adopt takes the digests that nodes got by themselves where registries refused us.
func (p *pass) adopt(known []fact) (moved bool) {
	for i, f := range known {
		if f.refused() == nil {
			continue
		}
		if found := p.sum.images[i].common(); found != "" && adopt(p.cfg.Catalog, f.Ref, found) {
			moved = true
		}
	}
	return moved
}

// signal tells the nodes' reconciler, if what it works with is another than it was.
func (p *pass) signal(ctx context.Context, known []fact) {
	var now strings.Builder
	for _, f := range known {
		fmt.Fprintf(&now, "%s %s %t %d %s\n", f.name, f.want(), f.refused() != nil, len(f.entry.Sizes), f.entry.ToRecheck())
	}
	if now.String() == p.signalled {
		return
	}
	p.signalled = now.String()
	send(ctx, p.cfg.Changed, p.demand.Key)
}

// report writes the status: at once what people wait for, mere progress gathered.
func (p *pass) report(ctx context.Context, status v1alpha1.ImageCacheStatus) error {
	if same(&p.before, &status) {
		p.dirty = time.Time{}
		return nil
	}
	if p.dirty.IsZero() {
		p.dirty = p.now
	}
	if ready := later(p.dirty, p.wrote).Add(settle); ready.After(p.now) && !urgent(&p.before, &status) {
		p.at(ready)
		return nil
	}
	was := p.cache.ResourceVersion
	if err := apply.Status(ctx, p.cfg.Client, "ImageCache", p.cache, &status); err != nil {
		if apierrors.IsForbidden(err) || apierrors.IsInvalid(err) {
			p.cfg.Recorder.Eventf(p.cache, nil, corev1.EventTypeWarning, "StatusRefused", "Report", "%s", err)
		}
		return client.IgnoreNotFound(err)
	}
	log.FromContext(ctx).V(1).Info("Wrote status", "summary", status.Summary)
	p.dirty, p.wrote, p.basis, p.status = time.Time{}, p.now, was, &status
	p.tell(p.cache, transitions(&p.before, &status))
	return nil
}
