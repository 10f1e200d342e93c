// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package nodejob

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/action"
	"orlop.dev/orlop/internal/condition"
	"orlop.dev/orlop/internal/pullsecret"
)

// mostStarts is how many pods are made in one go: what happens meanwhile is looked at in between.
const mostStarts = 200

// picture is all that is seen of a job.
type picture struct {
	// job has the newest status that is known.
	job *v1alpha1.NodeJob
	// invalid is why nobody could carry it out.
	invalid error
	// members are sorted by name.
	members  []member
	problems []pullsecret.Problem
	// refused is why the API server does not take the pods of the template, shunned why it did not take that of a node; empty: that is long ago.
	refused string
	shunned map[string]string
	tally   *tally
	// watched is until when somebody looks on at a pull; zero: nobody does.
	watched time.Time
	now     time.Time
}

// verdict is what follows.
type verdict struct {
	status v1alpha1.NodeJobStatus
	// entries are all that the job asks, by node.
	entries map[string]v1alpha1.StoreJob
	starts  []start
	// settled are pods whose outcome stands in a store, orphaned those whose node is gone.
	settled, orphaned []*corev1.Pod
	// again is when to look again; zero: when something happens.
	again time.Time
	// open: nodes that come or go concern it. remove: its time is over.
	open, remove bool
}

// start is a pod to make.
type start struct {
	node *corev1.Node
	run  int32
}

// course is what the job does now.
type course int

const (
	goesOn    course = iota
	pauses           // what is under way goes on, and nothing more is begun
	suspended        // what is under way is ended, and it can go on
	completes
	fails
	stays // it has ended before, and is what it was
	late  // it is complete, and nodes that were away are still served
)

// decision is a verdict in the making.
type decision struct {
	*picture
	verdict
	before   *v1alpha1.NodeJobStatus
	readings []reading
	counted  []bool
	course   course
	why      word
	// pending are the nodes that could be asked now, as indexes.
	pending                            []int
	desired, active, succeeded, failed int
	failures, skipped                  []v1alpha1.NodeJobFailure
	// retried, reopened: a retry was asked for just now, and it goes on after its end.
	retried, reopened bool
}

// decide computes what a job asks of each node now, and what there is to say of it.
func decide(p picture) verdict {
	d := &decision{picture: &p, before: &p.job.Status}
	d.status = *p.job.Status.DeepCopy()
	d.status.ObservedGeneration = p.job.Generation
	d.status.Action = action.Of(&p.job.Spec)
	d.entries = make(map[string]v1alpha1.StoreJob, len(p.members))
	d.accept()
	d.readAll()
	if d.ended() {
		d.afterwards()
	} else {
		d.evaluate()
	}
	d.begin()
	d.settle()
	d.report()
	d.expire()
	return d.verdict
}

// accept takes note of what is asked of the job as a whole. That must stand in its status before any node is told.
func (d *decision) accept() {
	spec := &d.job.Spec
	wanted := condition.Cut(d.job.Annotations[v1alpha1.AnnotationRetry], maxRetry)
	if wanted != "" && wanted != d.before.Retry {
		d.status.Retry = wanted
		if !condition.Holds(d.before.Conditions, v1alpha1.ConditionComplete) {
			d.retried = true
			d.status.Run = d.highest() + 1
		}
	}
	d.status.Planned = d.status.Planned || spec.DryRun
}

// maxRetry is as the schema has it.
const maxRetry = 256

// highest is the highest run that any node was asked in.
func (d *decision) highest() int32 {
	run := d.before.Run
	for i := range d.members {
		m := &d.members[i]
		if m.asked != nil {
			run = max(run, m.asked.Run)
		}
		if m.pod != nil {
			run = max(run, m.pod.Run)
		}
	}
	return run
}

func (d *decision) readAll() {
	d.readings, d.counted = make([]reading, len(d.members)), make([]bool, len(d.members))
	for i := range d.members {
		m := &d.members[i]
		r := m.read(&d.job.Spec, d.status.Run)
		d.readings[i] = r
	}
}

func (d *decision) at(then time.Time) {
	if d.again.IsZero() || then.Before(d.again) {
		d.again = then
	}
}

// evaluate finds the course of a job that has not ended. The cases are in the order in which they count.
func (d *decision) evaluate() {
	spec := &d.job.Spec
	d.status.Skipped = 0
	d.count(func(*member) bool { return true })
	d.open = true
	switch {
	case spec.Suspend:
		d.status.StartTime = nil
	case d.status.StartTime == nil:
		d.status.StartTime = d.time()
	}
	policy, never := spec.FailurePolicy.Type, spec.CompletionPolicy.Type == v1alpha1.CompleteNever
	switch {
	case d.invalid != nil:
		d.end(fails, word{v1alpha1.ReasonInvalid, sentence(d.invalid.Error())})
	case d.failed > 0 && policy == v1alpha1.FailFast:
		d.end(fails, word{reason: v1alpha1.ReasonNodeFailed})
	case spec.Suspend:
		d.course = suspended
	case len(d.pending) == 0 && d.active == 0 && !never && d.failed > 0:
		d.end(fails, word{reason: v1alpha1.ReasonNodesFailed})
	case len(d.pending) == 0 && d.active == 0 && !never:
		d.end(completes, word{reason: d.done()})
	case d.overdue():
		d.end(fails, word{reason: v1alpha1.ReasonDeadlineExceeded})
	case d.failed > 0 && policy == v1alpha1.FailPause:
		d.course = pauses
	default:
		d.course = goesOn
	}
}

// time is now as the API server keeps it.
func (d *decision) time() *metav1.Time {
	now := metav1.NewTime(d.now.Truncate(time.Second))
	return &now
}

// deadline is when the job must have ended; zero: never.
func (d *decision) deadline() time.Time {
	if d.job.Spec.ActiveDeadlineSeconds == nil || d.status.StartTime == nil {
		return time.Time{}
	}
	return d.status.StartTime.Add(time.Duration(*d.job.Spec.ActiveDeadlineSeconds) * time.Second)
}

func (d *decision) overdue() bool {
	end := d.deadline()
	if end.IsZero() {
		return false
	}
	if d.now.Before(end) {
		d.at(end)
		return false
	}
	return true
}

// begin asks the nodes whose turn it is.
func (d *decision) begin() {
	if d.course != goesOn && d.course != late {
		return
	}
	free := d.limit() - d.active
	// Nodes that have not tried yet come before those that failed, and those that were refused last.
	slices.SortStableFunc(d.pending, func(a, b int) int {
		return cmp.Or(cmp.Compare(d.rank(a), d.rank(b)), cmp.Compare(d.readings[a].run, d.readings[b].run))
	})
	left := d.pending[:0:0]
	for _, i := range d.pending {
		m, r := &d.members[i], &d.readings[i]
		pod := d.job.Spec.Template != nil
		if free <= 0 || pod && (d.refused != "" || d.shunned[m.name] != "" || m.busy()) {
			left = append(left, i)
			continue
		}
		if pod && len(d.starts) == mostStarts {
			left = append(left, i)
			d.at(d.now)
			continue
		}
		if pod {
			d.starts = append(d.starts, start{m.node, r.run})
		} else {
			asked := d.entry(r, false)
			m.asked = &asked
		}
		r.stage = stageActive
		d.active++
		free--
	}
	d.pending = left
	d.stop()
}

// rank is higher for a node whose pod was refused.
func (d *decision) rank(i int) int {
	if _, refused := d.shunned[d.members[i].name]; refused {
		return 1
	}
	return 0
}

// stop tells why the job does not get on if all that is left are nodes whose pod was refused.
func (d *decision) stop() {
	if d.refused != "" || d.active > 0 || len(d.pending) == 0 {
		return
	}
	if slices.ContainsFunc(d.pending, func(i int) bool { return d.shunned[d.members[i].name] == "" }) {
		return
	}
	name := d.members[d.pending[0]].name
	d.refused = "on node " + name + ": " + d.shunned[name]
}

// limit is on how many nodes at once.
func (d *decision) limit() int {
	n := d.job.Spec.Parallelism
	if n == nil {
		return d.desired
	}
	most, err := intstr.GetScaledValueFromIntOrPercent(n, d.desired, true)
	if err != nil {
		return d.desired // The API server lets nothing else through.
	}
	return most
}
