// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package nodecronjob

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/action"
	"orlop.dev/orlop/internal/controller/apply"
)

// pass is one call of Reconcile.
type pass struct {
	*Controller
	cron     *v1alpha1.NodeCronJob
	children children
	after    status
	now      time.Time
}

// follow does what the schedule asks for now, and gives what is to be said of it.
func (p *pass) follow(ctx context.Context) (word, error) {
	spec := &p.cron.Spec
	s, err := parse(spec.Schedule, spec.TimeZone, p.now)
	if err != nil {
		return unusable(err), nil
	}
	if err := p.check(); err != nil {
		return unusable(fmt.Errorf("jobTemplate: %w", err)), nil
	}
	if spec.Suspend != nil && *spec.Suspend {
		return word{reason: v1alpha1.ReasonSuspended, message: "No runs start: spec.suspend is set"}, nil
	}
	var last *time.Time
	if at := p.after.LastScheduleTime; at != nil {
		last = &at.Time
	}
	m := s.at(p.now, p.cron.CreationTimestamp.Time, last, spec.StartingDeadlineSeconds)
	p.after.NextScheduleTime = new(metav1.NewTime(m.next))
	switch said, lasts := lasting(p.cron); {
	case m.anew:
		said = begunAnew(*p.after.LastScheduleTime)
		p.after.LastScheduleTime = new(metav1.NewTime(p.now.Truncate(time.Second)))
		return said, nil
	case !m.due.IsZero():
		return p.start(ctx, m.due)
	case !m.missed.IsZero():
		return missed(m.missed, *spec.StartingDeadlineSeconds), nil
	case lasts:
		return said, nil
	}
	return following(p.cron), nil
}

// check is what the API server lets through, and no NodeJob could carry out.
func (p *pass) check() error {
	job := &p.cron.Spec.JobTemplate.Spec
	if job.Template != nil && p.cfg.NoTemplates {
		return errors.New("spec.template is set, and Orlop was installed without the right to make pods (nodeJobs.template)")
	}
	return action.Check(job, p.now)
}

// start makes the NodeJob of a slot, unless another must end first. The NodeJob is made before the slot is written down: who is killed
// in between finds the NodeJob, by its name.
func (p *pass) start(ctx context.Context, slot time.Time) (word, error) {
	active := p.children.active()
	switch {
	case p.made(slot):
	case len(active) > 0 && p.cron.Spec.ConcurrencyPolicy == v1alpha1.ConcurrencyForbid:
		return stillRunning(slot, active), nil
	case p.cron.Spec.ConcurrencyPolicy == v1alpha1.ConcurrencyReplace:
		if err := p.replace(ctx, active); err != nil {
			return word{}, err
		}
	}
	said := following(p.cron)
	job := child(p.cron, slot)
	switch err := p.create(ctx, job, slot); {
	case err == nil:
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause), apierrors.IsNotFound(err):
		return said, nil // The schedule goes with its namespace.
	case refused(err):
		said = word{stalled: true, reason: v1alpha1.ReasonJobRefused, message: fmt.Sprintf("NodeJob %s was not taken: %s; the next run tries again", job.Name, err)}
	default:
		return said, err
	}
	p.after.LastScheduleTime = new(metav1.NewTime(slot))
	p.acted(p.cron, slot)
	return said, nil
}

// made: this very slot has its NodeJob, made before this process could write it down.
func (p *pass) made(slot time.Time) bool {
	for _, job := range p.children {
		if isFor(job, p.cron, slot) {
			return true
		}
	}
	return false
}

func (p *pass) create(ctx context.Context, job *v1alpha1.NodeJob, slot time.Time) error {
	if p.made(slot) {
		return nil
	}
	err := p.cfg.Client.Create(ctx, job)
	switch {
	case err == nil:
		log.FromContext(ctx).Info("Made a NodeJob", "nodejob", job.Name, "slot", slot)
		activate(&p.after, job)
		p.tellMade(p.cron, job)
	case apierrors.IsAlreadyExists(err):
		return p.exists(ctx, client.ObjectKeyFromObject(job), slot, err)
	}
	return err
}

// exists looks at what has the name of a slot's NodeJob.
func (p *pass) exists(ctx context.Context, key client.ObjectKey, slot time.Time, taken error) error {
	var found v1alpha1.NodeJob
	switch err := p.cfg.Client.Get(ctx, key, &found); {
	case apierrors.IsNotFound(err):
		return fmt.Errorf("NodeJob %s is there, and yet to be seen", key)
	case err != nil:
		return fmt.Errorf("reading NodeJob %s: %w", key, err)
	case !isFor(&found, p.cron, slot):
		return taken
	}
	return nil
}

// refused: to send the same again would be of no use.
func refused(err error) bool {
	return apierrors.IsForbidden(err) || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsRequestEntityTooLargeError(err) || apierrors.IsAlreadyExists(err)
}

// replace ends the runs under way. Those on their way out already need no second word.
func (p *pass) replace(ctx context.Context, active children) error {
	for _, job := range active {
		if !job.DeletionTimestamp.IsZero() {
			continue
		}
		if err := p.delete(ctx, job); err != nil {
			return err
		}
		p.tellReplaced(p.cron, job)
	}
	p.after.Active, p.after.ActiveCount = nil, 0
	return nil
}

func (p *pass) tidy(ctx context.Context) error {
	for _, job := range p.children.surplus(&p.cron.Spec) {
		if err := p.delete(ctx, job); err != nil {
			return err
		}
	}
	return nil
}

func (p *pass) delete(ctx context.Context, job *v1alpha1.NodeJob) error {
	err := p.cfg.Client.Delete(ctx, job, client.Preconditions{UID: &job.UID}, client.PropagationPolicy(metav1.DeletePropagationBackground))
	if client.IgnoreNotFound(err) != nil && !apierrors.IsConflict(err) { // Of another uid: it is gone.
		return fmt.Errorf("deleting NodeJob %s/%s: %w", job.Namespace, job.Name, err)
	}
	return nil
}

func (p *pass) report(ctx context.Context) error {
	if same(&p.cron.Status, &p.after) {
		return nil
	}
	switch err := apply.Status(ctx, p.cfg.Client, kind, p.cron, &p.after); {
	case apierrors.IsNotFound(err), apierrors.IsConflict(err):
		return nil // It is gone, or another now.
	case err != nil:
		return err
	}
	p.keep(p.cron, &p.after)
	p.tell(p.cron, &p.cron.Status, &p.after)
	return nil
}

func (p *pass) result() reconcile.Result {
	if p.after.NextScheduleTime == nil {
		return reconcile.Result{}
	}
	return reconcile.Result{RequeueAfter: min(mostWait, max(time.Millisecond, p.after.NextScheduleTime.Sub(p.now)))}
}
