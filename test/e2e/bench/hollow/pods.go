// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package hollow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// agents are the labels of the agents' pods.
var agents = client.MatchingLabels{"app.kubernetes.io/name": "orlop", "app.kubernetes.io/component": "agent"}

// podsWithin is how long it may take until each node has its agent's pod: the scheduler binds fifty in a second.
const podsWithin = 5 * time.Minute

// servePods is the kubelets' part: pods of agents on hollow nodes become Ready when their agents are, and go when they
// are to. It returns when all are Ready, and goes on until living ends.
func (f *Fleet) servePods(ctx, living context.Context) error {
	byName := map[string]*node{}
	for _, n := range f.nodes {
		byName[n.object.Name] = n
	}
	ready := make(chan string)
	begun := map[types.UID]bool{}
	f.jobs.Go(func() {
		f.watch(living, &corev1.PodList{}, func(object client.Object) {
			if pod, ok := object.(*corev1.Pod); ok && byName[pod.Spec.NodeName] != nil {
				f.serve(living, pod, byName[pod.Spec.NodeName], begun, ready)
			}
		}, client.InNamespace(f.Namespace), agents)
	})
	ctx, cancel := context.WithTimeout(ctx, podsWithin)
	defer cancel()
	for waiting := len(byName); waiting > 0; waiting-- {
		select {
		case <-ctx.Done():
			count, first := f.Warnings()
			return fmt.Errorf("%d of %d hollow nodes have no agent's pod that is Ready: %w (%d warnings: %s)", waiting, len(byName), context.Cause(ctx), count, first)
		case <-ready:
		}
	}
	return nil
}

// watch sees every object, and every change of one, until living ends. The API server closes watches whose reader was too
// busy: the next one begins with all that there is.
func (f *Fleet) watch(living context.Context, list client.ObjectList, see func(client.Object), options ...client.ListOption) {
	for living.Err() == nil {
		w, err := f.API.Watch(living, list, options...)
		if err != nil {
			f.note("watching", err)
			select {
			case <-living.Done():
			case <-time.After(lookEvery):
			}
			continue
		}
		for event := range w.ResultChan() {
			if object, ok := event.Object.(client.Object); ok && event.Type != watch.Deleted {
				see(object)
			}
		}
		w.Stop()
	}
}

// serve does what a pod asks of its kubelet at this moment. It is not called twice at once.
func (f *Fleet) serve(living context.Context, pod *corev1.Pod, n *node, begun map[types.UID]bool, ready chan<- string) {
	first := !begun[pod.UID]
	switch {
	case pod.DeletionTimestamp != nil:
		f.note("letting the pod of "+pod.Spec.NodeName+" go", client.IgnoreNotFound(f.API.Delete(living, pod, client.GracePeriodSeconds(0))))
	case first || wasReady(pod): // The node was silent for too long, and its pods were said to be lost.
		begun[pod.UID] = true
		f.jobs.Go(func() {
			if f.makeReady(living, pod, n) && first {
				select {
				case ready <- pod.Spec.NodeName:
				case <-living.Done():
				}
			}
		})
	}
}

// wasReady reports whether somebody has said that the pod is not Ready any more.
func wasReady(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return pod.Status.Phase == corev1.PodRunning && c.Status != corev1.ConditionTrue
		}
	}
	return false
}

// lookEvery is how often an agent is asked whether it is ready.
const lookEvery = 50 * time.Millisecond

func (f *Fleet) makeReady(living context.Context, pod *corev1.Pod, n *node) bool {
	for !n.agent.Ready() {
		select {
		case <-living.Done():
			return false
		case <-time.After(lookEvery):
		}
	}
	now := metav1.Now()
	conditions := []corev1.PodCondition{}
	for _, kind := range []corev1.PodConditionType{corev1.PodInitialized, corev1.ContainersReady, corev1.PodReady} {
		conditions = append(conditions, corev1.PodCondition{Type: kind, Status: corev1.ConditionTrue, LastTransitionTime: now})
	}
	patch, err := json.Marshal(map[string]any{"status": corev1.PodStatus{Phase: corev1.PodRunning, StartTime: &now, Conditions: conditions}})
	if err == nil {
		err = f.API.Status().Patch(living, pod, client.RawPatch(types.StrategicMergePatchType, patch))
	}
	f.note("making the pod of "+n.object.Name+" Ready", err)
	return err == nil
}

func (f *Fleet) note(what string, err error) {
	if err != nil && !errors.Is(err, context.Canceled) {
		f.warnings.add(what + ": " + err.Error())
	}
}

// removePods takes the agents' pods on nodes that are gone, which no kubelet does.
func (f *Fleet) removePods(ctx context.Context) error {
	var pods corev1.PodList
	if err := f.API.List(ctx, &pods, client.InNamespace(f.Namespace), agents); err != nil {
		return err
	}
	var problems []error
	for i := range pods.Items {
		if strings.HasPrefix(pods.Items[i].Spec.NodeName, namePrefix) {
			problems = append(problems, client.IgnoreNotFound(f.API.Delete(ctx, &pods.Items[i], client.GracePeriodSeconds(0))))
		}
	}
	return errors.Join(problems...)
}
