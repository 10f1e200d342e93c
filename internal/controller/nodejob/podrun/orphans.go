// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package podrun

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"orlop.dev/orlop/api/v1alpha1"
)

// Orphans lets go of pods whose NodeJob is gone, whenever that happened: nobody waits any more for what becomes of them, and the
// garbage collector could not take them away.
type Orphans struct {
	Client client.Client
	Live   client.Reader
}

// SetupWithManager has the manager start it.
func (o *Orphans) SetupWithManager(mgr ctrl.Manager) error {
	going := predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool { return e.Object.GetDeletionTimestamp() != nil },
		UpdateFunc: func(e event.UpdateEvent) bool { return e.ObjectNew.GetDeletionTimestamp() != nil },
	}
	err := ctrl.NewControllerManagedBy(mgr).Named("nodejob-pods").
		For(&corev1.Pod{}, builder.WithPredicates(predicate.NewPredicateFuncs(ours))).
		Watches(&v1alpha1.NodeJob{}, handler.EnqueueRequestsFromMapFunc(o.pods), builder.WithPredicates(going)).
		Complete(reconcile.AsReconciler(mgr.GetClient(), o))
	if err != nil {
		return fmt.Errorf("building the controller of pods of NodeJobs: %w", err)
	}
	return nil
}

func ours(object client.Object) bool {
	pod, ok := object.(*corev1.Pod)
	return ok && pod.Labels[v1alpha1.LabelRole] == v1alpha1.RoleNodeJob && held(pod)
}

// pods are those of a NodeJob that goes.
func (o *Orphans) pods(ctx context.Context, job client.Object) []reconcile.Request {
	var pods corev1.PodList
	err := o.Client.List(ctx, &pods, client.InNamespace(job.GetNamespace()), client.MatchingFields{ByJob: string(job.GetUID())}, client.UnsafeDisableDeepCopy)
	if err != nil {
		log.FromContext(ctx).Error(err, "listing the pods of a NodeJob that is gone", "nodejob", client.ObjectKeyFromObject(job))
		return nil
	}
	var requests []reconcile.Request
	for i := range pods.Items {
		if held(&pods.Items[i]) {
			requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&pods.Items[i])})
		}
	}
	return requests
}

// Reconcile lets go of the pod if its job is gone.
func (o *Orphans) Reconcile(ctx context.Context, pod *corev1.Pod) (reconcile.Result, error) {
	if !ours(pod) {
		return reconcile.Result{}, nil
	}
	if owner := ownerOf(pod); owner != nil {
		there, err := o.there(ctx, types.NamespacedName{Namespace: pod.Namespace, Name: owner.Name}, owner.UID)
		if there || err != nil {
			return reconcile.Result{}, err
		}
	}
	return reconcile.Result{}, release(ctx, o.Client, pod)
}

// there reports whether the job still is. The cache's yes will do; its no may be older than the job, or of another one with that name.
func (o *Orphans) there(ctx context.Context, key types.NamespacedName, uid types.UID) (bool, error) {
	for _, reader := range []client.Reader{o.Client, o.Live} {
		var job v1alpha1.NodeJob
		err := reader.Get(ctx, key, &job)
		switch {
		case apierrors.IsNotFound(err), meta.IsNoMatchError(err):
		case err != nil:
			return false, fmt.Errorf("looking for NodeJob %s: %w", key, err)
		case job.UID == uid && job.DeletionTimestamp == nil:
			return true, nil
		}
	}
	return false, nil
}
