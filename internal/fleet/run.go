// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"orlop.dev/orlop/internal/session"
)

// Job is what all nodes of a run are asked. Verb, Timeout and Ask are required. The functions are called from one
// goroutine at a time.
type Job struct {
	// Verb names the command, in the pods' names and labels.
	Verb string
	// Timeout is what each node has, from its pod's creation to its answer; the time for a yes comes on top.
	Timeout time.Duration
	// Ask makes the request for one node.
	Ask func(Node) session.Request
	// Removes: it takes images away, so that what pods need is sent along and kept current.
	Removes bool
	// Stores lists and watches the ImageStores, so that what caches keep is sent along too; nil: Orlop is not installed.
	Stores *cache.ListWatch
	// Heard is told what a node says, Ended how it ended with one.
	Heard func(Node, session.Message)
	Ended func(Outcome)
	// Confirm is asked once, when every node has shown its plan or has ended, or when those that have not are no longer
	// waited for. Nil is a yes.
	Confirm func(context.Context, []Outcome) bool
}

// confirmTimeout bounds how long plans wait for a yes: they age, and a pod on every node waits with them.
const confirmTimeout = 10 * time.Minute

// life is the longest that a pod of the job may have to live.
func (j Job) life() time.Duration {
	if j.Removes {
		return 2*j.Timeout + confirmTimeout
	}
	return j.Timeout
}

// grace is what a pod of the job gets to end.
func (j Job) grace() time.Duration {
	if j.Removes {
		return removalGrace
	}
	return briefGrace
}

// run is one job under way.
type run struct {
	fleet   *Fleet
	job     Job
	lookout *lookout
	needs   *needs // nil: not needed
	slots   chan struct{}
	clean   *cleaner

	mu       sync.Mutex
	outcomes []Outcome
	open     int           // nodes that have neither shown a plan nor ended
	planned  int           // nodes that have shown a plan, and wait
	moved    chan struct{} // told when these have changed
	asked    chan struct{} // closed when the question is put: who has shown no plan by then is late
	decided  chan struct{}
	yes      bool
}

// Run asks the nodes, and returns when each has ended and its pod is gone: one outcome for each, in their order. The
// error says why none was asked.
func (f *Fleet) Run(ctx context.Context, nodes []Node, job Job) ([]Outcome, error) {
	if err := f.markFull(ctx, nodes); err != nil {
		return nil, err
	}
	r := &run{
		fleet: f, job: job, lookout: newLookout(f, ""), slots: make(chan struct{}, f.cfg.MaxParallel),
		open:  len(nodes),
		moved: make(chan struct{}, 1), asked: make(chan struct{}), decided: make(chan struct{}),
	}
	for _, node := range nodes {
		r.outcomes = append(r.outcomes, Outcome{Node: node})
	}
	r.clean = newCleaner(f, r.lookout)
	watching, stop := context.WithCancel(context.WithoutCancel(ctx))
	var watchers sync.WaitGroup
	defer watchers.Wait()
	defer stop()
	watchers.Go(func() { r.lookout.watch(watching) })
	if job.Removes {
		r.needs = newNeeds(f, nodes)
		r.needs.stores = newKept(job.Stores)
		watchers.Go(func() { r.needs.watch(watching) })
		if err := r.needs.ready(ctx); err != nil {
			return nil, err
		}
	}
	r.visitAll(ctx, nodes)
	r.clean.wait()
	return r.outcomes, nil
}

func (r *run) visitAll(ctx context.Context, nodes []Node) {
	var all sync.WaitGroup
	if r.job.Confirm == nil {
		r.yes = true
		close(r.decided)
	} else {
		all.Go(func() {
			r.awaitPlans()
			r.decide(ctx)
		})
	}
	for i := range nodes {
		v := &visit{run: r, out: &r.outcomes[i]}
		all.Go(func() {
			v.do(ctx)
			r.ended(v)
		})
	}
	all.Wait()
}

func (r *run) heard(v *visit, m session.Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case m.Started != nil:
		v.out.Started, v.out.Socket = m.Started, v.socket
	case m.Plan != nil && !r.hasPlan(v):
		return
	case m.Plan != nil:
		v.out.Plan = m.Plan
	case m.Step != nil:
		v.out.Steps = append(v.out.Steps, *m.Step)
	case m.Result != nil:
		if m.Result.Inventory != nil {
			r.fleet.withoutOurs(m.Result.Inventory)
		}
		v.out.Result = m.Result
	}
	if r.job.Heard != nil {
		r.job.Heard(v.out.Node, m)
	}
}

func (r *run) ended(v *visit) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hasEnded(v)
	if r.job.Ended != nil {
		r.job.Ended(*v.out)
	}
}

// markFull finds which nodes under pressure have no place for one pod more: a critical pod would take another's.
func (f *Fleet) markFull(ctx context.Context, nodes []Node) error {
	pressed := map[string]*Node{}
	for i := range nodes {
		if len(nodes[i].Pressure) > 0 && nodes[i].Trouble == nil {
			pressed[nodes[i].Name] = &nodes[i]
		}
	}
	if len(pressed) == 0 {
		return nil
	}
	options := metav1.ListOptions{FieldSelector: unfinished}
	if len(pressed) == 1 {
		for name := range pressed {
			options.FieldSelector += ",spec.nodeName=" + name
		}
	}
	pods, err := f.client.CoreV1().Pods(corev1.NamespaceAll).List(ctx, options)
	if err != nil {
		return fmt.Errorf("counting the pods of nodes under pressure: %w", err)
	}
	count := map[string]int64{}
	for i := range pods.Items {
		count[pods.Items[i].Spec.NodeName]++
	}
	for name, node := range pressed {
		node.full = count[name] >= node.maxPods
	}
	return nil
}
