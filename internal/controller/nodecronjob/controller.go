// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package nodecronjob makes NodeJobs when the schedules of NodeCronJobs say so.
package nodecronjob

import (
	"context"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/controller/calls"
)

const (
	kind = "NodeCronJob"
	// parallel is how many schedules are looked after at once.
	parallel = 4
	// mostWait is how late a change of the clock is noticed at most: timers do not follow it, schedules do.
	mostWait = time.Minute
	// ownerIndex finds the NodeJobs of a NodeCronJob by its uid.
	ownerIndex = "nodecronjob-uid"
)

type status = v1alpha1.NodeCronJobStatus

// Config is what a Controller works with. Client and Recorder are required.
type Config struct {
	Client   client.Client
	Recorder events.EventRecorder
	// NoTemplates: the controller has no right to make pods.
	NoTemplates bool
}

// Controller reconciles NodeCronJobs.
type Controller struct {
	cfg Config

	mu    sync.Mutex
	wrote map[types.NamespacedName]written
}

// written is the last status that was, and the version of the object that it was made of. The informer may not have seen it yet.
type written struct {
	uid    types.UID
	basis  string
	status status
}

// New makes a Controller; SetupWithManager starts it.
func New(cfg Config) *Controller {
	return &Controller{cfg: cfg, wrote: map[types.NamespacedName]written{}}
}

// SetupWithManager has the manager start the controller.
func (c *Controller) SetupWithManager(ctx context.Context, mgr ctrl.Manager) error {
	if err := mgr.GetFieldIndexer().IndexField(ctx, &v1alpha1.NodeJob{}, ownerIndex, owners); err != nil {
		return fmt.Errorf("indexing NodeJobs by their NodeCronJobs: %w", err)
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named("nodecronjob").
		For(&v1alpha1.NodeCronJob{}).
		Owns(&v1alpha1.NodeJob{}, builder.WithPredicates(predicate.Funcs{UpdateFunc: childChanged})).
		WithOptions(calls.Options(parallel)).
		Complete(c)
}

func owners(obj client.Object) []string {
	if owner := metav1.GetControllerOf(obj); owner != nil && owner.Kind == kind {
		return []string{string(owner.UID)}
	}
	return nil
}

// childChanged: a NodeJob under way changes each second, which means nothing here.
func childChanged(e event.UpdateEvent) bool {
	old, isJob := e.ObjectOld.(*v1alpha1.NodeJob)
	now, isJobToo := e.ObjectNew.(*v1alpha1.NodeJob)
	if !isJob || !isJobToo {
		return true
	}
	if succeeded(old) != succeeded(now) || failed(old) != failed(now) || old.DeletionTimestamp.IsZero() != now.DeletionTimestamp.IsZero() {
		return true
	}
	was, _ := freed(old)
	is, _ := freed(now)
	return finished(now) && (!ended(old).Equal(ended(now)) || (was == nil) != (is == nil) || was != nil && *was != *is)
}

// Reconcile makes the NodeJob that is due, sums up the others, writes the status if it is another, and deletes what is history.
func (c *Controller) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	var cron v1alpha1.NodeCronJob
	switch err := c.cfg.Client.Get(ctx, req.NamespacedName, &cron); {
	case apierrors.IsNotFound(err):
		c.forget(req.NamespacedName)
		unmeasure(req.NamespacedName)
		return reconcile.Result{}, nil
	case err != nil:
		return reconcile.Result{}, fmt.Errorf("reading NodeCronJob %s: %w", req, err)
	case !cron.DeletionTimestamp.IsZero():
		return reconcile.Result{}, nil
	}
	c.remember(&cron)
	all, err := c.children(ctx, &cron)
	if err != nil {
		return reconcile.Result{}, err
	}
	p := pass{Controller: c, cron: &cron, children: all, now: time.Now().Round(0), after: sum(&cron, all)}
	said, err := p.follow(ctx)
	if err != nil {
		return reconcile.Result{}, err
	}
	p.after.Conditions = said.conditions(&cron, p.now)
	if err := p.report(ctx); err != nil {
		return reconcile.Result{}, err
	}
	measure(req.NamespacedName, &p.after)
	// Only now that the status holds what they had to say.
	if err := p.tidy(ctx); err != nil {
		return reconcile.Result{}, err
	}
	return p.result(), nil
}

func (c *Controller) children(ctx context.Context, cron *v1alpha1.NodeCronJob) (children, error) {
	var list v1alpha1.NodeJobList
	err := c.cfg.Client.List(ctx, &list, client.InNamespace(cron.Namespace), client.MatchingFields{ownerIndex: string(cron.UID)}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil, fmt.Errorf("listing the NodeJobs of NodeCronJob %s/%s: %w", cron.Namespace, cron.Name, err)
	}
	all := make(children, len(list.Items))
	for i := range list.Items {
		all[i] = &list.Items[i]
	}
	return sorted(all), nil
}

// remember puts what this process has written into what the informer gave. A slot that was acted upon is never forgotten, though
// the informer be behind, and the slot's NodeJob gone already.
func (c *Controller) remember(cron *v1alpha1.NodeCronJob) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w, ok := c.wrote[client.ObjectKeyFromObject(cron)]
	switch {
	case !ok || w.uid != cron.UID:
	case w.basis == cron.ResourceVersion:
		cron.Status = *w.status.DeepCopy()
	default:
		cron.Status.LastScheduleTime = later(cron.Status.LastScheduleTime, w.status.LastScheduleTime)
	}
}

func (c *Controller) keep(cron *v1alpha1.NodeCronJob, s *status) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wrote[client.ObjectKeyFromObject(cron)] = written{uid: cron.UID, basis: cron.ResourceVersion, status: *s.DeepCopy()}
}

// acted notes a slot before its status is written, which may take some attempts.
func (c *Controller) acted(cron *v1alpha1.NodeCronJob, slot time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wrote[client.ObjectKeyFromObject(cron)] = written{uid: cron.UID, status: status{LastScheduleTime: new(metav1.NewTime(slot))}}
}

func (c *Controller) forget(key types.NamespacedName) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.wrote, key)
}
