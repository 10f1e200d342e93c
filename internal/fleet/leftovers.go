// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Leftover is a pod of ours that is still there.
type Leftover struct {
	Pod     string    `json:"pod"`
	Node    string    `json:"node"`
	Verb    string    `json:"verb"`
	Run     string    `json:"run"`
	User    string    `json:"user,omitempty"`
	Phase   string    `json:"phase"`
	Created time.Time `json:"created"`
	// Alive: it runs, or may come to. Someone's command may still be at work. Its deadline is for its kubelet to see to:
	// this machine's clock may be wrong.
	Alive bool `json:"alive"`

	manner manner
}

// Leftovers are the pods of all runs, or of one.
func (f *Fleet) Leftovers(ctx context.Context, run string) ([]Leftover, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	list, err := f.client.CoreV1().Pods(f.cfg.Namespace).List(ctx, metav1.ListOptions{LabelSelector: ours(run)})
	if err != nil {
		return nil, fmt.Errorf("listing our pods in %s: %w", f.cfg.Namespace, err)
	}
	var found []Leftover
	for i := range list.Items {
		found = append(found, leftover(&list.Items[i]))
	}
	if err := f.buryWithNodes(ctx, found); err != nil {
		return nil, err
	}
	slices.SortFunc(found, func(a, b Leftover) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.Run, b.Run), cmp.Compare(a.Node, b.Node))
	})
	return found, nil
}

// ours selects our pods, of one run if it is not empty.
func ours(run string) string {
	selector := LabelManagedBy + "=" + manager
	if run != "" {
		selector += "," + LabelRun + "=" + run
	}
	return selector
}

func leftover(pod *corev1.Pod) Leftover {
	l := Leftover{
		Pod: pod.Name, Node: pod.Spec.NodeName, Verb: pod.Labels[LabelComponent], Run: pod.Labels[LabelRun], User: pod.Annotations[AnnotationUser],
		Phase: string(pod.Status.Phase), Created: pod.CreationTimestamp.Time,
		Alive: pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed,
	}
	if grace := pod.Spec.TerminationGracePeriodSeconds; l.Alive && pod.Status.Phase == corev1.PodRunning && grace != nil && *grace > int64(briefGrace.Seconds()) {
		l.manner = inItsTime
	} else if l.Alive {
		l.manner = soon
	}
	return l
}

// buryWithNodes finds the pods that run by their last word, on nodes that do not exist any more.
func (f *Fleet) buryWithNodes(ctx context.Context, found []Leftover) error {
	if !slices.ContainsFunc(found, func(l Leftover) bool { return l.Alive }) {
		return nil
	}
	nodes, err := f.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if apierrors.IsForbidden(err) {
		return nil // Then they count as alive, and go when their run is named.
	}
	if err != nil {
		return fmt.Errorf("listing the nodes: %w", err)
	}
	there := map[string]bool{}
	for i := range nodes.Items {
		there[nodes.Items[i].Name] = true
	}
	for i := range found {
		if !there[found[i].Node] {
			found[i].Alive, found[i].manner = false, atOnce
		}
	}
	return nil
}

// Discard removes pods, and returns when they are gone. Left tells of those that would not go, Finishing of those that
// go later.
func (f *Fleet) Discard(ctx context.Context, pods []Leftover) {
	watching, stop := context.WithCancel(ctx)
	l := newLookout(f, ours(""))
	var watcher sync.WaitGroup
	defer watcher.Wait()
	defer stop()
	watcher.Go(func() { l.watch(watching) })
	c := newCleaner(f, l)
	for _, pod := range pods {
		c.remove(ctx, pod.Pod, pod.Node, pod.manner)
	}
	c.wait()
}
