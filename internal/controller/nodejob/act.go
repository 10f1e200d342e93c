// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package nodejob

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"

	"orlop.dev/orlop/internal/controller/nodejob/podrun"
)

// podsAtOnce is how many requests for pods of one job are under way at a time.
const podsAtOnce = 16

// act makes, lets go of and ends pods. What went wrong with one holds up no other.
func (p *pass) act(ctx context.Context, v verdict) error {
	errs := make([]error, len(v.starts)+len(v.settled)+len(v.orphaned))
	var group errgroup.Group
	group.SetLimit(podsAtOnce)
	at := 0
	each := func(do func() error) {
		slot := &errs[at]
		at++
		group.Go(func() error {
			*slot = do()
			return nil
		})
	}
	for _, pod := range v.orphaned {
		each(func() error { return p.cfg.Pods.Cancel(ctx, pod) })
	}
	for _, pod := range v.settled {
		each(func() error { return p.cfg.Pods.Release(ctx, pod) })
	}
	tried, err := p.try(ctx, v.starts)
	for _, s := range v.starts[tried:] {
		each(func() error { return p.cfg.Pods.Start(ctx, p.job, s.node, s.run) })
	}
	err = errors.Join(err, group.Wait())
	for i := range errs {
		errs[i] = p.began(errs[i])
	}
	return errors.Join(err, errors.Join(errs...))
}

// try starts pods one after the other until one is taken: what the API server does not take on two nodes, it would not take on the others.
func (p *pass) try(ctx context.Context, starts []start) (tried int, err error) {
	for i, s := range starts {
		began := p.cfg.Pods.Start(ctx, p.job, s.node, s.run)
		if began == nil {
			p.taken = p.now
			return i + 1, nil
		}
		if err := p.began(began); err != nil {
			return len(starts), err
		}
		if text, _ := p.refusals(); text != "" {
			return len(starts), nil
		}
	}
	return len(starts), nil
}

// began takes note of a refusal, which is no error: it is told in status.
func (p *pass) began(err error) error {
	refused, ok := errors.AsType[*podrun.Refused](err)
	if !ok {
		return err
	}
	if p.refused == nil {
		p.refused = map[string]refusal{}
	}
	no := refusal{text: refused.Text, at: p.now, generation: p.job.Generation, run: p.job.Status.Run}
	if was := p.refused[refused.Node]; was.generation == no.generation && was.run == no.run {
		no.tries = was.tries + 1
	}
	no.until = p.now.Add(refusedFor)
	if refused.Passing {
		no.until = p.now.Add(min(firstAgain<<min(no.tries, 10), mostAgain))
	}
	p.refused[refused.Node] = no
	p.summed = p.now.Add(-mostPause) // To be told now.
	p.at(p.now)
	return nil
}

// refusals are the API server's no to pods of the template: to all of them, if two nodes were refused with the same words and none was taken
// since, and by node. A text that is empty is worth nothing any more, but that its node comes last.
func (p *pass) refusals() (all string, nodes map[string]string) {
	nodes = make(map[string]string, len(p.refused))
	times := map[string]int{}
	for node, r := range p.refused {
		if r.generation != p.job.Generation || r.run != p.job.Status.Run {
			delete(p.refused, node)
			continue
		}
		if !p.now.Before(r.until) {
			nodes[node] = ""
			continue
		}
		p.at(r.until)
		nodes[node] = r.text
		if !r.at.After(p.taken) {
			continue
		}
		if times[r.text]++; times[r.text] > 1 {
			all = max(all, r.text)
		}
	}
	return all, nodes
}
