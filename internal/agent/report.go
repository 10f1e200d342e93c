// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/engine"
)

const (
	// cacheGap is the least time between two writes while pulls for caches are under way; it doubles with each, up to maxCacheGap:
	// the longer a row of pulls is, the less is one write more worth. Who looks on sees more (progressGap).
	cacheGap    = 5 * time.Second
	maxCacheGap = 20 * time.Second
	// jobGap and maxJobGap are as much for jobs, which somebody waits for.
	jobGap    = 2500 * time.Millisecond
	maxJobGap = 5 * time.Second
	// newsGap is as much where there is news: of a failure, or of a cache that is whole here.
	newsGap = 2500 * time.Millisecond
	// answerGap is the least time between two writes that tell of jobs that are done, while there is more to do.
	answerGap = time.Second
	// restGap is the least time between two writes that tell of the end of work.
	restGap = 250 * time.Millisecond
	// startPatience is how long the first write waits for the runtime's answer, so that it can tell of it.
	startPatience = 2 * time.Second
	// writeTimeout bounds one write, firstWriteRetry and maxWriteRetry are the pauses after one that failed.
	writeTimeout    = 10 * time.Second
	firstWriteRetry = time.Second
	maxWriteRetry   = 30 * time.Second
	// maxRivalPause is the most between two writes by which two agents contradict each other.
	maxRivalPause = 5 * time.Minute
	// maxStatus keeps the object well below 400 KB with its spec beside; maxImages is as the schema has it.
	maxStatus = 200 << 10
	maxImages = 1000
)

// ErrGone is MayRead's answer when the store is not there, or may not be read any more.
var ErrGone = errors.New("the ImageStore is gone")

// reporter knows what the API has of our status.
type reporter struct {
	known   bool // a store was seen
	wrote   bool // by this process
	since   time.Time
	written []byte
	news    news   // as written
	asked   string // as written
	// generation and revision are those observed, as written.
	generation, revision int64

	version  uint64
	inFlight bool
	last     time.Time
	gap      time.Duration
	failures int
	retry    time.Time
	away     bool // the last write did not get through
	// rival counts how often another agent wrote over us, on a node that has two for once; rivalled is when it did last.
	rival    int
	rivalled time.Time
	// conditions keep the times of their transitions.
	conditions []metav1.Condition
}

// news is what somebody waits for while work is under way.
type news struct {
	failed int32  // images
	whole  int    // caches of which every image is here
	said   uint64 // the jobs' final answers
}

func newReporter(s *v1alpha1.ImageStore) reporter {
	r := reporter{known: true, since: time.Now(), gap: cacheGap, conditions: s.Status.Conditions}
	r.adopt(s)
	return r
}

func (r *reporter) adopt(s *v1alpha1.ImageStore) {
	if written, err := json.Marshal(s.Status); err == nil {
		r.written, r.news.failed, r.asked = written, s.Status.Failed, s.Status.NeedsAsked
		r.generation, r.revision = s.Status.ObservedGeneration, s.Status.ObservedRevision
	}
	r.version = max(r.version, versionOf(s.ResourceVersion))
}

// heard looks whether somebody else has changed our status since we wrote it; key is the id of ours.
func (r *reporter) heard(s *v1alpha1.ImageStore, key string) {
	if !r.inFlight && versionOf(s.ResourceVersion) > r.version {
		r.adopt(s)
		if r.wrote && s.Status.Key != nil && s.Status.Key.ID != key {
			r.rival++
			r.rivalled = time.Now()
		}
	}
	r.retry = time.Time{} // The API is there.
}

// versionOf orders the states of one object, as resource versions may since Kubernetes 1.35.
func versionOf(resourceVersion string) uint64 {
	n, err := strconv.ParseUint(resourceVersion, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// busy reports whether there is something left to do that will change what there is to say.
func (a *Agent) busy(made *decision) bool {
	return !a.idle() || len(made.pull)+len(made.queued)+len(made.pins) > 0
}

// tell writes the status if it differs from what the API has, as soon as it is time for it.
func (a *Agent) tell(ctx context.Context, now time.Time, made decision, next *earliest) {
	r := &a.report
	if r.inFlight {
		return
	}
	due := a.due(now, &made)
	if a.tellsProgress(now) {
		next.or(now.Add(progressGap)) // Progress wakes nobody.
	}
	if now.Before(due) && a.busy(&made) {
		next.or(due) // Whether there is something to write is found out then: with 500 images that is work.
		return
	}
	status, payload := a.statement(&made)
	if payload == nil || bytes.Equal(payload, r.written) {
		return
	}
	if now.Before(due) {
		next.or(due)
		return
	}
	r.gap = a.gap(due.Equal(now) || !a.busy(&made) || a.tellsProgress(now))
	r.inFlight = true
	told := news{status.Failed, a.whole(&made), a.work.said}
	store := &v1alpha1.ImageStore{Status: status}
	store.Name, store.UID = a.cfg.Node, a.uid()
	a.jobs.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, writeTimeout)
		defer cancel()
		version, err := a.cfg.API.ApplyStore(ctx, store)
		a.post(func() { a.told(store, payload, told, version, err) })
	})
}

// gap is the least time after a write; first: no row of writes has begun.
func (a *Agent) gap(first bool) time.Duration {
	least, most := cacheGap, maxCacheGap
	if len(a.work.tasks) > 0 {
		least, most = jobGap, maxJobGap
	}
	if first {
		return least
	}
	return min(2*a.report.gap, most)
}

// due is when the status is to be written: now where an act waits for its record.
func (a *Agent) due(now time.Time, made *decision) time.Time {
	r := &a.report
	due := r.last.Add(r.gap)
	switch {
	case !r.wrote && !a.view.fresh && a.view.err == nil:
		due = r.since.Add(startPatience)
	case !r.wrote || a.unrecorded(made) || a.asking.nonce != r.asked:
		due = now
	case a.work.said != r.news.said && (a.busy(made) || len(a.work.tasks) > 0):
		due = r.last.Add(answerGap)
	case a.work.said == r.news.said && !a.work.young(now).IsZero():
		due = later(due, a.work.young(now)) // It may be done by then.
	case a.rechecking(made):
		due = later(due, a.specSince.Add(newsGap)) // The answer tells that the spec was seen, too.
	case !a.busy(made):
		due = r.last.Add(restGap)
	case failed(made.images) > r.news.failed, a.whole(made) > r.news.whole:
		due = r.last.Add(newsGap)
	}
	if progress := r.last.Add(progressGap); a.tellsProgress(now) && progress.Before(due) {
		due = progress
	}
	if r.rival > 0 {
		due = later(due, r.last.Add(min(firstWriteRetry<<min(r.rival, 10), maxRivalPause)))
	}
	return later(due, r.retry)
}

func failed(images []v1alpha1.StoreImageStatus) (n int32) {
	for i := range images {
		if images[i].State == v1alpha1.ImageFailed {
			n++
		}
	}
	return n
}

// whole counts the caches of which every image is here.
func (a *Agent) whole(made *decision) (n int) {
	here := map[string]bool{}
	for i := range made.images {
		here[made.images[i].Image] = made.images[i].State == v1alpha1.ImagePresent
	}
	lacking := map[string]bool{}
	for i := range a.store.Spec.Images {
		e := &a.store.Spec.Images[i]
		if e.Released {
			continue // It is told of for those that wanted it.
		}
		for _, cache := range e.Caches {
			lacking[cache] = lacking[cache] || !here[e.Image]
		}
	}
	for _, lacks := range lacking {
		if !lacks {
			n++
		}
	}
	return n
}

// unrecorded reports whether an act waits for its record.
func (a *Agent) unrecorded(made *decision) bool {
	for i := range made.images {
		st := &made.images[i]
		has := a.recorded[st.Image]
		if st.Pulled && (!has.Pulled || has.Digest != st.Digest && st.State != v1alpha1.ImagePresent) || st.Pinned && !has.Pinned {
			return true
		}
	}
	return false
}

// told takes in how a write ended.
func (a *Agent) told(store *v1alpha1.ImageStore, payload []byte, told news, version string, err error) {
	if store.UID != a.uid() {
		return // The reporter is another's by now.
	}
	r, now := &a.report, time.Now()
	r.inFlight = false
	if err != nil {
		r.away = true
		wait := min(firstWriteRetry<<min(r.failures, 10), maxWriteRetry)
		r.failures++
		r.retry = now.Add(wait)
		a.cfg.Log.Warn("writing the ImageStore's status", "node", a.cfg.Node, "error", err)
		return
	}
	r.generation, r.revision = store.Status.ObservedGeneration, store.Status.ObservedRevision
	r.written, r.news, r.asked, r.last, r.wrote = payload, told, store.Status.NeedsAsked, now, true
	r.version = max(r.version, versionOf(version))
	r.away, r.failures, r.retry = false, 0, time.Time{}
	r.heard(a.store, a.key.ID()) // It may have come after this write, and before its answer.
	if now.Sub(r.rivalled) > 2*maxRivalPause {
		r.rival = 0
	}
	a.recorded = byName(store.Status.Images)
	a.work.kept(store.Status.Jobs)
}

// statement is the status and its JSON; nil: it cannot be written. That nothing but the generation has changed, for what does not concern the
// agent, is not said.
func (a *Agent) statement(made *decision) (v1alpha1.ImageStoreStatus, []byte) {
	r := &a.report
	if r.revision == a.store.Spec.Revision {
		status := a.status(made, r.generation)
		if payload, err := json.Marshal(status); err == nil && bytes.Equal(payload, r.written) {
			return status, payload
		}
	}
	status := a.status(made, a.store.Generation)
	payload, err := json.Marshal(status)
	if err != nil {
		a.cfg.Log.Error("writing the status as JSON", "node", a.cfg.Node, "error", err)
		return status, nil
	}
	return status, payload
}

// status is all that there is to say now of the spec of this generation.
func (a *Agent) status(made *decision, generation int64) v1alpha1.ImageStoreStatus {
	_, canPin := engine.As[engine.Pinner](a.rt.last)
	status := v1alpha1.ImageStoreStatus{
		ObservedGeneration: generation,
		ObservedRevision:   a.store.Spec.Revision,
		NodeUID:            a.cfg.NodeUID,
		AgentVersion:       a.cfg.Version,
		Runtime:            a.runtimeName(),
		CanPin:             canPin,
		Key:                &v1alpha1.SealingKey{ID: a.key.ID(), Public: a.key.Public()},
		NeedsAsked:         a.asking.nonce,
		Images:             slices.Clone(made.images),
		Jobs:               a.work.statuses(&a.store.Spec, time.Now(), a.watched.is(time.Now())),
	}
	released := map[string]bool{}
	for i := range a.store.Spec.Images {
		released[a.store.Spec.Images[i].Image] = a.store.Spec.Images[i].Released
	}
	wanted, present := 0, 0
	for i := range status.Images {
		if gone, listed := released[status.Images[i].Image]; gone || !listed {
			continue
		}
		wanted++
		if status.Images[i].State == v1alpha1.ImagePresent {
			present++
		}
	}
	status.Failed = failed(status.Images)
	status.Summary = fmt.Sprintf("%d/%d", present, wanted)
	a.addProgress(status.Images, time.Now())
	a.setConditions(made, generation)
	status.Conditions = a.report.conditions
	bound(&status)
	return status
}

func (a *Agent) setConditions(made *decision, generation int64) {
	ready := metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonReady, ObservedGeneration: generation}
	if !a.view.fresh {
		ready.Status, ready.Reason, ready.Message = metav1.ConditionFalse, string(engine.RuntimeUnavailable), "The container runtime has not answered yet"
		if a.view.err != nil {
			ready.Message = cut(a.view.err.Error())
		}
	}
	retired := metav1.Condition{Type: v1alpha1.ConditionRetired, Status: metav1.ConditionTrue, Reason: "LetGo", ObservedGeneration: generation}
	conditions := append([]metav1.Condition(nil), a.report.conditions...)
	meta.SetStatusCondition(&conditions, ready)
	if a.store.Spec.Retire && made.retired {
		meta.SetStatusCondition(&conditions, retired)
	} else if !a.store.Spec.Retire {
		meta.RemoveStatusCondition(&conditions, v1alpha1.ConditionRetired)
	}
	for i := range conditions {
		conditions[i].LastTransitionTime = metav1.NewTime(conditions[i].LastTransitionTime.Truncate(time.Second))
	}
	a.report.conditions = conditions
}
