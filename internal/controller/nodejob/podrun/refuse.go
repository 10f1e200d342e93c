// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package podrun

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"orlop.dev/orlop/api/v1alpha1"
)

// Refused is the API server's no to a pod: it would say it again, until a person changes something; or, if Passing, until other pods end,
// or an account has come.
type Refused struct {
	Node    string
	Passing bool
	// Text is the API server's, without the pod's name, so that it is the same for every node.
	Text string
}

func (r *Refused) Error() string { return r.Text }

// passing are words of refusals that pass by themselves: others' pods end, and an account comes with its namespace.
var passing = []string{"exceeded quota", "status unknown for quota", "error looking up service account", "is being terminated", "timed out"}

// isRefusal reports whether the API server has judged the pod, and would say the same of the same pod again, at least for a while.
func isRefusal(err error) (refused, passes bool) {
	switch {
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err), apierrors.IsRequestEntityTooLargeError(err):
		return true, false
	case !apierrors.IsForbidden(err), apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return false, false
	}
	return true, slices.ContainsFunc(passing, func(words string) bool { return strings.Contains(err.Error(), words) })
}

// text leaves out the pod's name, which nobody has seen.
func text(err error, pod string) string {
	said := err.Error()
	for _, start := range []string{fmt.Sprintf("pods %q is forbidden: ", pod), fmt.Sprintf("Pod %q is invalid: ", pod), fmt.Sprintf("pods %q is invalid: ", pod)} {
		said = strings.TrimPrefix(said, start)
	}
	return strings.ReplaceAll(said, pod, "of the template")
}

// held reports whether the pod has our finalizer.
func held(pod *corev1.Pod) bool { return slices.Contains(pod.Finalizers, v1alpha1.FinalizerNodeJob) }

// release takes our finalizer away, and only from this very pod.
func release(ctx context.Context, c client.Client, pod *corev1.Pod) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": pod.UID, "$deleteFromPrimitiveList/finalizers": []string{v1alpha1.FinalizerNodeJob},
	}})
	if err != nil {
		return fmt.Errorf("writing the patch of a finalizer: %w", err)
	}
	target := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name}}
	err = c.Patch(ctx, target, client.RawPatch(types.StrategicMergePatchType, patch))
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("releasing pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return nil
}

// mark gives labels to this very pod.
func mark(ctx context.Context, c client.Client, pod *corev1.Pod, labels map[string]string) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": pod.UID, "labels": labels}})
	if err != nil {
		return fmt.Errorf("writing the patch of labels: %w", err)
	}
	target := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name}}
	err = c.Patch(ctx, target, client.RawPatch(types.StrategicMergePatchType, patch))
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("labelling pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return nil
}
