// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package jobrun

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/fleet"
	"orlop.dev/orlop/internal/operator"
	"orlop.dev/orlop/internal/session"
)

// run is one NodeJob under way.
type run struct {
	cfg Config
	job fleet.Job
	// namespace and name are the NodeJob's.
	namespace, name string

	mu       sync.Mutex
	made     *v1alpha1.NodeJob // as it was seen last
	since    int64             // its generation from which on what is said counts
	dry      bool              // what is awaited are plans
	outcomes []fleet.Outcome
	visits   map[string]*visit
	moved    chan struct{} // told when a node has answered, or the job has changed
	broken   error         // why the job, or what the nodes answer, cannot be followed

	// inventories are read once, for what answers leave out.
	inventories map[string]*v1alpha1.ImageInventory
	disks       map[string][2]int32 // how full they were, before and after
}

// visit is what is known of one node.
type visit struct {
	out     *fleet.Outcome
	over    bool // nothing more comes in this phase
	running bool
	told    map[string]bool
	at      v1alpha1.JobProgress
}

func newRun(cfg Config, job fleet.Job, made *v1alpha1.NodeJob, nodes []fleet.Node) *run {
	r := &run{cfg: cfg, job: job, namespace: made.Namespace, name: made.Name, made: made, outcomes: make([]fleet.Outcome, len(nodes)), visits: map[string]*visit{}, moved: make(chan struct{}, 1)}
	for i, node := range nodes {
		r.outcomes[i].Node = node
		r.visits[node.Name] = &visit{out: &r.outcomes[i], told: map[string]bool{}}
	}
	return r
}

// Bounds on what is waited for.
const (
	// lateAfter is how long the question waits for further plans, when at least half of the nodes have shown theirs.
	lateAfter = 30 * time.Second
	// lastWordTimeout is how long a job that was told to end may take to.
	lastWordTimeout = 20 * time.Second
	// confirmTimeout bounds how long plans wait for a yes.
	confirmTimeout = 10 * time.Minute
)

// timeout is what the whole job has, where as many nodes as may work at once.
func (r *run) timeout() time.Duration {
	turns := 1
	if n := r.cfg.MaxParallel; n > 0 {
		turns = max(1, (len(r.outcomes)+n-1)/n)
	}
	return r.job.Timeout * time.Duration(turns)
}

// act follows the job to its end. An interruption leaves it going, and a second one cancels it.
func (r *run) act(ctx context.Context) ([]fleet.Outcome, error) {
	if r.cfg.Leave {
		return nil, ErrLeft
	}
	r.begin(false)
	out, err := r.phase(ctx, false)
	if ctx.Err() == nil {
		return out, err
	}
	if r.cfg.Again != nil && r.cfg.Again(r.seen()) {
		r.discard(ctx)
		return nil, ErrCancelled
	}
	return nil, ErrLeft
}

// begin opens the nodes that something is still to come of.
func (r *run) begin(dry bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dry, r.since = dry, r.made.Generation
	for _, v := range r.visits {
		if !dry && v.out.Trouble == nil && v.out.State != fleet.StateSkipped {
			v.over, v.running = false, false
			v.out.Proceeded = r.job.Removes
		}
	}
}

// phase follows the job until every node has answered, or cannot. Nodes that cannot be asked at all are no part of it.
func (r *run) phase(ctx context.Context, dry bool) ([]fleet.Outcome, error) {
	r.begin(dry)
	following, stop := context.WithCancel(ctx)
	var watchers sync.WaitGroup
	defer watchers.Wait()
	defer stop()
	r.follow(following, &watchers)
	if err := r.await(ctx); err != nil {
		return nil, err
	}
	stop()
	watchers.Wait()
	if ctx.Err() != nil && !r.dry {
		return nil, ctx.Err()
	}
	r.close(ctx)
	return r.outcomes, nil
}

// follow watches the job and the stores of its nodes. Progress in bytes is told while the job's annotation says that somebody looks.
func (r *run) follow(ctx context.Context, watchers *sync.WaitGroup) {
	note := func(err error) {
		if apierrors.IsNotFound(err) { // It went before it was seen.
			err = operator.ErrDeleted
		}
		if err != nil && ctx.Err() == nil {
			r.mu.Lock()
			r.broken = cmp.Or(r.broken, err)
			r.mu.Unlock()
			r.move()
		}
	}
	var names []string
	for _, o := range r.outcomes {
		names = append(names, o.Node.Name)
	}
	watchers.Go(func() {
		note(r.cfg.Client.FollowJob(ctx, r.namespace, r.name, func(job *v1alpha1.NodeJob) bool { r.seeJob(job); return false }))
	})
	watchers.Go(func() { note(r.cfg.Client.FollowStores(ctx, names, r.seeStore)) })
	if r.job.Verb == string(session.VerbPull) && r.job.Heard != nil {
		watchers.Go(func() { r.cfg.Client.KeepWatchingJob(ctx, r.namespace, r.name) })
	}
}

// await returns when the phase is over: by answers, by the job's end, by time, or because it is interrupted.
func (r *run) await(ctx context.Context) error {
	deadline, quiet, unheard := time.NewTimer(r.timeout()), time.NewTimer(lateAfter), time.NewTimer(unheardAfter)
	defer deadline.Stop()
	defer quiet.Stop()
	defer unheard.Stop()
	ended := false
	for {
		over, broken := r.over()
		if errors.Is(broken, operator.ErrDeleted) {
			return nil // Which close tells of each node.
		}
		if over || broken != nil {
			return broken
		}
		planned := r.mostPlanned()
		select {
		case <-r.moved:
			quiet.Reset(lateAfter)
		case <-quiet.C:
			if planned {
				return nil
			}
		case <-unheard.C:
			r.unheard()
		case <-deadline.C:
			if r.lastCall(ctx, ended) {
				return nil
			}
			ended = true
			deadline.Reset(lastWordTimeout)
		case <-ctx.Done():
			r.interrupted()
			return nil
		}
	}
}

// lastCall is what happens when the time is over: the job is ended, and the nodes have a moment to say how far they are. It reports whether
// nothing more is to be waited for, as when ended says that this was so before.
func (r *run) lastCall(ctx context.Context, ended bool) bool {
	seen := r.noticed()
	if seen && !ended && !r.dry {
		r.expire(ctx)
		return false
	}
	r.timedOut()
	if !seen { // A controller that comes later would do it when nobody expects it any more.
		r.discard(ctx)
	}
	return true
}

func (r *run) move() {
	select {
	case r.moved <- struct{}{}:
	default:
	}
}

// over reports whether nothing more comes: every node that can be asked has answered, or the job has ended.
func (r *run) over() (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	open := 0
	for _, v := range r.visits {
		if !v.over && v.out.Node.Trouble == nil {
			open++
		}
	}
	if len(r.visits) > 0 && open == 0 && r.anyAsked() {
		return true, nil
	}
	return r.ended() != nil, r.broken
}

// anyAsked reports whether some node can be asked; with none, only the job's own end tells. The lock is held.
func (r *run) anyAsked() bool {
	return slices.ContainsFunc(r.outcomes, func(o fleet.Outcome) bool { return o.Node.Trouble == nil })
}

// ended is the condition that ends the job as it is now; nil: it goes on. The lock is held.
func (r *run) ended() (condition *ending) {
	if r.made.Status.ObservedGeneration < r.since || r.made.Spec.DryRun != r.dry {
		return nil
	}
	for _, kind := range []string{v1alpha1.ConditionFailed, v1alpha1.ConditionComplete, v1alpha1.ConditionStalled} {
		if c := meta.FindStatusCondition(r.made.Status.Conditions, kind); c != nil && string(c.Status) == string(corev1.ConditionTrue) {
			return &ending{kind: kind, reason: c.Reason, message: c.Message}
		}
	}
	return nil
}

// ending is how a job has ended.
type ending struct{ kind, reason, message string }

// unheard tells of a job that no controller has looked at.
func (r *run) unheard() {
	if r.cfg.Unheard != nil && !r.noticed() {
		r.cfg.Unheard(r.seen())
	}
}

// seen is the job as it was seen last.
func (r *run) seen() *v1alpha1.NodeJob {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.made
}

func (r *run) noticed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.made.Status.ObservedGeneration >= r.since
}

// mostPlanned reports whether at least half of the nodes that can be asked have shown a plan, for a question.
func (r *run) mostPlanned() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.dry || r.job.Confirm == nil {
		return false
	}
	planned, open := 0, 0
	for _, v := range r.visits {
		switch {
		case v.out.Plan != nil:
			planned++
		case !v.over && v.out.Node.Trouble == nil:
			open++
		}
	}
	return planned > 0 && planned >= open
}

// expire ends the job as its own deadline would: what is under way is ended, and the nodes answer what was done.
func (r *run) expire(ctx context.Context) {
	r.mu.Lock()
	begun := r.made.CreationTimestamp
	if r.made.Status.StartTime != nil {
		begun = *r.made.Status.StartTime
	}
	r.mu.Unlock()
	patch := map[string]any{"spec": map[string]any{"activeDeadlineSeconds": max(1, int64(time.Since(begun.Time).Seconds()))}}
	_, _ = r.cfg.Client.PatchJob(ctx, r.namespace, r.name, patch) // Without it, the nodes are told to have run out of time all the same.
}

func (r *run) tellEnd(o *fleet.Outcome) {
	if r.job.Ended != nil {
		r.job.Ended(*o)
	}
}
