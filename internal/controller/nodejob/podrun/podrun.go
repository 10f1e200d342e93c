// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package podrun runs the pods of a NodeJob's template: one on each node that it is told, placed as a DaemonSet's are. It tells what became
// of each, and keeps it from going unseen by a finalizer, until it is told that the outcome is written down. Which nodes, and when, is
// the caller's affair. Nothing is remembered here: a pod's name follows from the job, the node and the run, and all else stands in it.
package podrun

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"orlop.dev/orlop/api/v1alpha1"
)

// Runner makes, reads and ends pods.
type Runner struct {
	// Client reads pods from the manager's cache, which IndexPods has prepared and Slim has thinned out.
	Client client.Client
	// Live reads from the API server.
	Live     client.Reader
	Recorder events.EventRecorder
}

// Seen is a job's pod on one node.
type Seen struct {
	// Pod is the cache's own: it is not to be changed.
	Pod *corev1.Pod
	Run int32
	// Outcome is nil while it is not finished.
	Outcome *v1alpha1.PodOutcome
	// Over: its containers have been started again oftener than they may. Outcome says so, and the pod is to be cancelled.
	Over bool
	// Reason and Message tell why a pod that is not finished does not get on, such as ErrImagePull or Unschedulable.
	Reason, Message string
}

// ByJob is the index of pods by the uid of their NodeJob.
const ByJob = "orlop.dev/nodejob-uid"

// IndexPods makes a cache find pods by their NodeJob.
func IndexPods(ctx context.Context, indexer client.FieldIndexer) error {
	if err := indexer.IndexField(ctx, &corev1.Pod{}, ByJob, JobOf); err != nil {
		return fmt.Errorf("indexing pods by NodeJob: %w", err)
	}
	return nil
}

// JobOf is the index's function.
func JobOf(object client.Object) []string {
	if owner := ownerOf(object); owner != nil {
		return []string{string(owner.UID)}
	}
	return nil
}

func ownerOf(object metav1.Object) *metav1.OwnerReference {
	owner := metav1.GetControllerOfNoCopy(object)
	if owner == nil || owner.Kind != kind || owner.APIVersion != v1alpha1.GroupVersion.String() {
		return nil
	}
	return owner
}

// Observe finds the job's pods, by node. One that was deleted before it ended is neither done nor failed: it is let go here, and is missing
// as soon as it has gone, so that it is started again. A pod that somebody deletes again and again is run again and
// again: who wants an end ends the job. What is left of earlier runs is let go, too. untidy tells what could not be let go, which the next
// call tries again; of pods that err is about nothing is known.
func (r *Runner) Observe(ctx context.Context, job *v1alpha1.NodeJob) (all map[string]Seen, untidy, err error) {
	if job.Spec.Template == nil {
		return nil, nil, nil
	}
	var pods corev1.PodList
	err = r.Client.List(ctx, &pods, client.InNamespace(job.Namespace), client.MatchingFields{ByJob: string(job.UID)}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil, nil, fmt.Errorf("listing the pods of NodeJob %s/%s: %w", job.Namespace, job.Name, err)
	}
	all = map[string]Seen{}
	var earlier []*corev1.Pod
	for i := range pods.Items {
		pod := &pods.Items[i]
		node, run, ok := isOf(job, pod)
		if !ok || pod.Labels[v1alpha1.LabelRole] != v1alpha1.RoleNodeJob {
			continue
		}
		other, twice := all[node]
		switch {
		case twice && other.Run > run:
			earlier = append(earlier, pod)
			continue
		case twice:
			earlier = append(earlier, other.Pod)
		}
		all[node] = Seen{Pod: pod, Run: run}
	}
	return all, r.tidy(ctx, job, all, earlier), nil
}

// tidy judges the pods, and lets go of those that do not count. What goes wrong with one holds up no other.
func (r *Runner) tidy(ctx context.Context, job *v1alpha1.NodeJob, all map[string]Seen, earlier []*corev1.Pod) error {
	var errs []error
	for _, pod := range earlier {
		errs = append(errs, r.Release(ctx, pod))
	}
	for node, seen := range all {
		if lost(job, seen.Pod) {
			if held(seen.Pod) {
				r.sayLost(job, seen.Pod, node)
			}
			errs = append(errs, r.Release(ctx, seen.Pod))
			// Until it has gone its name is taken.
			seen.Reason, seen.Message = reasonDeleted, "Somebody deleted the pod before it ended"
			all[node] = seen
			continue
		}
		seen.Outcome, seen.Over = judge(job, seen.Pod)
		if seen.Outcome == nil {
			seen.Reason, seen.Message = stuck(seen.Pod)
		}
		all[node] = seen
	}
	return errors.Join(errs...)
}

// Start makes the job's pod on the node. One that is there already is fine. The error is a *Refused if the API server does not take it.
func (r *Runner) Start(ctx context.Context, job *v1alpha1.NodeJob, node *corev1.Node, run int32) error {
	if job.Spec.Template == nil {
		return fmt.Errorf("making the pod of NodeJob %s/%s on node %s: it has no template", job.Namespace, job.Name, node.Name)
	}
	pod := podOf(job, node.Name, run)
	err := r.Client.Create(ctx, pod)
	switch {
	case err == nil:
		return nil
	case apierrors.IsAlreadyExists(err):
		return r.known(ctx, job, node.Name, client.ObjectKeyFromObject(pod))
	}
	if refused, passes := isRefusal(err); refused {
		no := &Refused{Node: node.Name, Passing: passes, Text: text(err, pod.Name)}
		r.sayRefused(job, no)
		return no
	}
	return fmt.Errorf("making the pod of NodeJob %s/%s on node %s: %w", job.Namespace, job.Name, node.Name, err)
}

// known makes sure that the pod which has the name is the job's own. One that lost its labels is in no cache, and nobody would see what becomes
// of it, nor take its finalizer away: it gets them back.
func (r *Runner) known(ctx context.Context, job *v1alpha1.NodeJob, node string, key types.NamespacedName) error {
	var pod corev1.Pod
	if err := r.Live.Get(ctx, key, &pod); err != nil {
		if apierrors.IsNotFound(err) {
			return fmt.Errorf("making pod %s: it is just going", key)
		}
		return fmt.Errorf("reading pod %s: %w", key, err)
	}
	if _, _, ok := isOf(job, &pod); !ok {
		return &Refused{Node: node, Text: fmt.Sprintf("the pod %s is there already, and is not this NodeJob's", key)}
	}
	if marks := marksOf(job); !has(pod.Labels, marks) {
		return mark(ctx, r.Client, &pod, marks)
	}
	return nil
}

// Release takes the finalizer from a pod whose outcome is written down, and ends it if it has not ended.
func (r *Runner) Release(ctx context.Context, pod *corev1.Pod) error {
	if !ended(pod) && pod.DeletionTimestamp == nil {
		return r.Cancel(ctx, pod)
	}
	if !held(pod) {
		return nil
	}
	return release(ctx, r.Client, pod)
}

// Cancel deletes the pod, and takes the finalizer from it.
func (r *Runner) Cancel(ctx context.Context, pod *corev1.Pod) error {
	if pod.DeletionTimestamp == nil {
		target := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name}}
		err := r.Client.Delete(ctx, target, client.Preconditions{UID: &pod.UID})
		if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
			return nil // It is gone, or another one by now.
		}
		if err != nil {
			return fmt.Errorf("deleting pod %s/%s: %w", pod.Namespace, pod.Name, err)
		}
	}
	if !held(pod) {
		return nil
	}
	return release(ctx, r.Client, pod)
}
