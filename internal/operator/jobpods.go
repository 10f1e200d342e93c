// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"orlop.dev/orlop/api/v1alpha1"
)

// HeldPods are the pods of NodeJobs, in all namespaces, that have our finalizer: without a controller they could not be deleted.
func (c *Client) HeldPods(ctx context.Context) ([]types.NamespacedName, error) {
	pods, err := c.heldPods(ctx)
	var names []types.NamespacedName
	for i := range pods {
		names = append(names, types.NamespacedName{Namespace: pods[i].Namespace, Name: pods[i].Name})
	}
	return names, err
}

func (c *Client) heldPods(ctx context.Context) ([]metav1.ObjectMeta, error) {
	var held []metav1.ObjectMeta
	options := metav1.ListOptions{LabelSelector: v1alpha1.LabelRole + "=" + v1alpha1.RoleNodeJob, Limit: pageSize}
	for {
		list, err := c.core.CoreV1().Pods(metav1.NamespaceAll).List(ctx, options)
		if err != nil {
			return nil, fmt.Errorf("listing the pods of NodeJobs: %w", err)
		}
		for i := range list.Items {
			if slices.Contains(list.Items[i].Finalizers, v1alpha1.FinalizerNodeJob) {
				held = append(held, list.Items[i].ObjectMeta)
			}
		}
		if options.Continue = list.Continue; options.Continue == "" {
			return held, nil
		}
	}
}

// ReleasePods takes our finalizer from every pod. What runs goes on, what has ended stays, and nothing hangs when it is deleted. The
// controller must be gone, or it makes more.
func (c *Client) ReleasePods(ctx context.Context) (released int, err error) {
	pods, err := c.heldPods(ctx)
	if err != nil {
		return 0, err
	}
	errs := make([]error, len(pods))
	slots := make(chan struct{}, retireParallel)
	var all sync.WaitGroup
	for i := range pods {
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			errs[i] = c.releasePod(ctx, &pods[i])
		})
	}
	all.Wait()
	for _, one := range errs {
		if one == nil {
			released++
		}
	}
	return released, errors.Join(errs...)
}

func (c *Client) releasePod(ctx context.Context, pod *metav1.ObjectMeta) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": pod.UID, "$deleteFromPrimitiveList/finalizers": []string{v1alpha1.FinalizerNodeJob},
	}})
	if err != nil {
		return fmt.Errorf("writing the patch of a finalizer: %w", err)
	}
	_, err = c.core.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{FieldManager: retirer})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("releasing pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return nil
}

// controllerName is the Deployment's, in every install.
const controllerName = "orlop-controller"

// StopController lets no controller run any more, and waits until none does. One that is not there is no error; one that does not end
// before the context does, is.
func (c *Client) StopController(ctx context.Context, namespace string) error {
	_, err := c.core.AppsV1().Deployments(namespace).Patch(ctx, controllerName, types.MergePatchType, []byte(`{"spec":{"replicas":0}}`),
		metav1.PatchOptions{FieldManager: retirer}, "scale")
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("stopping the controller: %w", err)
	}
	if left := c.awaitEnd(ctx, namespace, LabelComponent+"=controller", runs); len(left) > 0 {
		return fmt.Errorf("stopping the controller: it still runs on %v", left)
	}
	return nil
}

func runs(pod *corev1.Pod) bool {
	return pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed
}
