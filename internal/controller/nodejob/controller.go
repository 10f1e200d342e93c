// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package nodejob looks after NodeJobs: it decides which nodes are asked, and when, leaves that where the reconciler of ImageStores finds
// it, has pods of templates made, and sums up what the nodes answer.
package nodejob

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/action"
	"orlop.dev/orlop/internal/assign"
	"orlop.dev/orlop/internal/condition"
	"orlop.dev/orlop/internal/controller/apply"
	"orlop.dev/orlop/internal/controller/nodejob/podrun"
	"orlop.dev/orlop/internal/pullsecret"
)

const (
	// A sum is made no oftener than each leastPause, and takes no more than a twentieth of the time; mostPause bounds that.
	leastPause, mostPause, sumShare = 50 * time.Millisecond, time.Second, 20
	// settle is how long progress is gathered before it is written, and the least time between two such writes.
	settle = time.Second
	// Secrets are not watched: they are looked at again after this, sooner if something is wrong with one.
	lookGood, lookBad = time.Minute, 10 * time.Second
	// refusedFor is how long the API server's no to a pod is taken for an answer, unless the job is edited: what it follows from may change.
	refusedFor = 5 * time.Minute
	// firstAgain and mostAgain are the pauses after a no that passes by itself: a namespace's account comes within moments, room in a quota
	// when others' pods end.
	firstAgain, mostAgain = 250 * time.Millisecond, 30 * time.Second
)

// pods makes, finds and ends the pods of templates: podrun.Runner.
type pods interface {
	Observe(ctx context.Context, job *v1alpha1.NodeJob) (all map[string]podrun.Seen, untidy, err error)
	Start(ctx context.Context, job *v1alpha1.NodeJob, node *corev1.Node, run int32) error
	Release(ctx context.Context, pod *corev1.Pod) error
	Cancel(ctx context.Context, pod *corev1.Pod) error
}

// secrets are where credentials for pulls come from.
type secrets interface {
	For(ctx context.Context, h pullsecret.Holder) ([]pullsecret.Secret, []pullsecret.Problem)
}

// Config is what a Controller works with. All fields but NoTemplates are required.
type Config struct {
	// Client reads from informers in which it sees its own writes, and writes status.
	Client  client.Client
	Ledger  *assign.Ledger
	Pods    pods
	Secrets secrets
	// Agent reports whether the node's agent is there or about to be, and until when that is so if nothing happens.
	Agent func(ctx context.Context, node string) (expected bool, until time.Time, err error)
	// Refusal is why the node's store could not be written; empty: it could.
	Refusal func(node string) string
	// Wake has the stores of nodes looked at again.
	Wake     func(nodes ...string)
	Recorder events.EventRecorder
	// NoTemplates: the controller has no right to make pods.
	NoTemplates bool
}

// Controller reconciles NodeJobs. All that it remembers may be lost.
type Controller struct {
	cfg    Config
	memory *memory
	agents *agents
}

// New makes a Controller.
func New(cfg Config) *Controller {
	return &Controller{cfg: cfg, memory: newMemory(), agents: newAgents(cfg.Agent)}
}

// Reconcile decides what a job asks of each node now, writes its status if it is another, and does what follows.
func (c *Controller) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	var job v1alpha1.NodeJob
	switch err := c.cfg.Client.Get(ctx, req.NamespacedName, &job); {
	case apierrors.IsNotFound(err):
		return reconcile.Result{}, c.gone(ctx, req.NamespacedName)
	case err != nil:
		return reconcile.Result{}, fmt.Errorf("reading NodeJob %s: %w", req, err)
	}
	if job.DeletionTimestamp != nil {
		return reconcile.Result{}, c.going(ctx, &job)
	}
	w, earlier := c.memory.take(&job)
	if earlier != "" {
		c.cfg.Ledger.Forget(earlier)
	}
	p := pass{Controller: c, work: w, job: &job, now: time.Now()}
	return p.run(ctx)
}

// gone forgets a job, and what it asked of nodes.
func (c *Controller) gone(ctx context.Context, key types.NamespacedName) error {
	if uid := c.memory.drop(key); uid != "" {
		c.cfg.Ledger.Forget(uid)
	}
	unmeasure(key)
	nodes, err := c.standing(ctx, key.String())
	if err == nil && len(nodes) > 0 {
		c.cfg.Wake(nodes...)
	}
	return err
}

// going ends the pods of a job that waits for them to go.
func (c *Controller) going(ctx context.Context, job *v1alpha1.NodeJob) error {
	c.cfg.Ledger.Forget(string(job.UID))
	seen, untidy, err := c.cfg.Pods.Observe(ctx, job)
	err = errors.Join(untidy, err)
	for _, pod := range seen {
		err = errors.Join(err, c.cfg.Pods.Cancel(ctx, pod.Pod))
	}
	return err
}

// standing are the nodes whose stores have an entry of the job.
func (c *Controller) standing(ctx context.Context, job string) (nodes []string, err error) {
	var stores v1alpha1.ImageStoreList
	if err := c.cfg.Client.List(ctx, &stores, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("listing ImageStores: %w", err)
	}
	for i := range stores.Items {
		for j := range stores.Items[i].Spec.Jobs {
			if stores.Items[i].Spec.Jobs[j].Job == job {
				nodes = append(nodes, stores.Items[i].Name)
				break
			}
		}
	}
	return nodes, nil
}

// pass is one call of Reconcile.
type pass struct {
	*Controller
	*work
	job   *v1alpha1.NodeJob // its status is the newest that is known
	now   time.Time
	again time.Time
	// untidy is what went wrong beside the matter, and is told when all else is done.
	untidy error
}

// at has the job looked at again no later than then.
func (p *pass) at(then time.Time) {
	if !then.IsZero() && (p.again.IsZero() || then.Before(p.again)) {
		p.again = then
	}
}

func (p *pass) result() reconcile.Result {
	if p.again.IsZero() {
		return reconcile.Result{}
	}
	return reconcile.Result{RequeueAfter: max(time.Millisecond, p.again.Sub(p.now))}
}

func (p *pass) run(ctx context.Context) (reconcile.Result, error) {
	if p.summedJustNow() {
		return p.result(), nil
	}
	if err := p.follow(ctx); err != nil {
		// Else the next call would find it summed up just now, succeed, and end the pauses that grow with each failure.
		p.summed = time.Time{}
		return reconcile.Result{}, err
	}
	return p.result(), nil
}

// follow looks, decides, tells and acts.
func (p *pass) follow(ctx context.Context) error {
	began := time.Now()
	picture, err := p.look(ctx)
	if err != nil {
		return err
	}
	v := decide(picture)
	p.summed, p.summing = p.now, time.Since(began)
	p.generation = p.job.Generation
	p.memory.setOpen(p.work, v.open)
	p.at(v.again)
	measure(p.job, &v.status)
	if v.remove {
		p.again = time.Time{}
		return p.remove(ctx)
	}
	// What is asked of nodes follows from the status: a retry that is not in it would be begun again after a restart.
	if err := p.report(ctx, &v.status); err != nil {
		return err
	}
	p.assign(picture.members, v.entries)
	return errors.Join(p.act(ctx, v), p.untidy)
}

// assign leaves what is asked where the stores' reconciler finds it.
func (p *pass) assign(members []member, entries map[string]v1alpha1.StoreJob) {
	p.cfg.Ledger.Set(string(p.job.UID), p.job.CreationTimestamp.UTC().Format(time.RFC3339), entries)
	clear(p.uids)
	for i := range members {
		m := &members[i]
		if _, ok := entries[m.name]; ok && m.node != nil {
			p.uids[m.name] = m.node.UID
		}
	}
}

// summedJustNow: the last sum will do for a moment. Many nodes may answer in that time.
func (p *pass) summedJustNow() bool {
	pause := min(mostPause, max(leastPause, sumShare*p.summing))
	if ready := p.summed.Add(pause); ready.After(p.now) && p.generation == p.job.Generation && p.annotation == p.job.Annotations[v1alpha1.AnnotationRetry] {
		p.at(ready)
		return true
	}
	p.annotation = p.job.Annotations[v1alpha1.AnnotationRetry]
	return false
}

// report writes the status: at once what people wait for, mere progress gathered.
func (p *pass) report(ctx context.Context, status *v1alpha1.NodeJobStatus) error {
	before := &p.job.Status
	if same(before, status) {
		p.dirty = time.Time{}
		return nil
	}
	if p.dirty.IsZero() {
		p.dirty = p.now
	}
	if ready := later(p.dirty, p.wrote).Add(settle); ready.After(p.now) && !urgent(before, status) {
		p.at(ready)
		return nil
	}
	was := p.job.ResourceVersion
	if err := apply.Status(ctx, p.cfg.Client, "NodeJob", p.job, status); err != nil {
		if apierrors.IsForbidden(err) || apierrors.IsInvalid(err) {
			p.cfg.Recorder.Eventf(p.job, nil, corev1.EventTypeWarning, "StatusRefused", "Report", "%s", condition.Cut(err.Error(), maxNote))
		}
		return client.IgnoreNotFound(err)
	}
	log.FromContext(ctx).V(1).Info("Wrote status", "phase", status.Phase, "summary", status.Summary)
	p.dirty, p.wrote, p.basis, p.status = time.Time{}, p.now, was, status
	p.tell(p.job, transitions(before, status))
	return nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// remove deletes the job as it was seen: one that was given a retry meanwhile stays.
func (p *pass) remove(ctx context.Context) error {
	err := p.cfg.Client.Delete(ctx, p.job, client.Preconditions{UID: &p.job.UID, ResourceVersion: &p.job.ResourceVersion},
		client.PropagationPolicy("Background"))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("deleting NodeJob %s/%s, whose time is over: %w", p.job.Namespace, p.job.Name, err)
	}
	return nil
}

// check is what the API server lets through and nobody could carry out.
func (p *pass) check() error {
	if p.job.Spec.Template != nil && p.cfg.NoTemplates {
		return errors.New("spec.template is set, and Orlop was installed without the right to make pods (nodeJobs.template)")
	}
	return action.Check(&p.job.Spec, p.now)
}
