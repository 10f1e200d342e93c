// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"orlop.dev/orlop/internal/plan"
	"orlop.dev/orlop/internal/podimage"
	"orlop.dev/orlop/internal/session"
)

// needs knows which images the pods bound to each node name: one watch of the pods of all namespaces.
//
// How current a watch is cannot be read off it: a quiet cluster and a watch that hangs look alike. So a mark is sent
// round: a change of one of our own pods, made at a known time. When the watch shows the mark, it has shown all that was
// before it, and the needs are as of that time.
type needs struct {
	fleet *Fleet
	only  string          // the one node that is meant, or empty
	short map[string]bool // the nodes whose runtime decides itself which registry a short name means

	stores *kept // nil: Orlop is not installed there

	mu      sync.Mutex
	nodes   map[string]*nodeNeeds
	where   map[string]string // pod, node
	synced  chan struct{}
	failed  chan struct{}        // closed when the right to see them is missing
	err     error                // the last until they are synced
	created map[string]time.Time // our pods, and when each was asked for
	marks   map[int]time.Time    // the marks under way, and when each was sent
	last    int
	alive   map[string]bool // our pods that are there
	asOf    time.Time
}

// nodeNeeds is what the pods bound to one node name.
type nodeNeeds struct {
	pods    map[string][]plan.Need
	caches  []plan.Need
	version int           // counts the changes
	more    chan struct{} // closed when a pod has come, or a cache wants something else
}

// told is what a node was told as last.
type told struct {
	version int
	asOf    time.Time
}

// unfinished are the pods that still need their images.
const unfinished = "status.phase!=" + string(corev1.PodSucceeded) + ",status.phase!=" + string(corev1.PodFailed)

func newNeeds(f *Fleet, nodes []Node) *needs {
	n := &needs{
		fleet: f, nodes: map[string]*nodeNeeds{}, where: map[string]string{},
		synced: make(chan struct{}), failed: make(chan struct{}), created: map[string]time.Time{},
		marks: map[int]time.Time{}, alive: map[string]bool{}, short: map[string]bool{},
	}
	for _, node := range nodes {
		n.short[node.Name] = plan.PicksRegistry(node.Runtime)
	}
	if len(nodes) == 1 {
		n.only = nodes[0].Name
	}
	return n
}

// markEvery is how often a mark is sent: several times within plan.NeedsMaxAge, so that one may get lost.
const markEvery = 15 * time.Second

// watch follows the pods, and sends marks, until the context ends.
func (n *needs) watch(ctx context.Context) {
	var all sync.WaitGroup
	all.Go(func() { n.watchPods(ctx) })
	if n.stores != nil {
		all.Go(func() { n.watchStores(ctx) })
	}
	all.Go(func() {
		tick := time.NewTicker(markEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				n.mark(ctx)
			case <-ctx.Done():
				return
			}
		}
	})
	all.Wait()
}

func (n *needs) watchPods(ctx context.Context) {
	pods := n.fleet.client.CoreV1().Pods(corev1.NamespaceAll)
	chosen := unfinished
	if n.only != "" {
		chosen += ",spec.nodeName=" + n.only
	}
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.FieldSelector = chosen
			list, err := pods.List(ctx, o)
			n.refused(err)
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.FieldSelector = chosen
			w, err := pods.Watch(ctx, o)
			n.refused(err)
			return w, err
		},
	}
	mirror(ctx, lw, n.fleet, &corev1.Pod{}, keeper[*corev1.Pod]{n.set, n.unset, n.replace})
}

// refused notes why the pods cannot be listed. Only a missing right is final: a 401 is cured by a new token.
func (n *needs) refused(err error) {
	if err == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if apierrors.IsForbidden(err) && !apierrors.IsForbidden(n.err) {
		close(n.failed)
	}
	if !apierrors.IsForbidden(n.err) {
		n.err = err
	}
}

// ready waits until the pods are known.
func (n *needs) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	select {
	case <-n.synced:
		return n.storesReady(ctx)
	case <-n.failed:
	case <-ctx.Done():
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	why := cmp.Or(n.err, ctx.Err())
	if errors.Is(ctx.Err(), context.Canceled) {
		why = ctx.Err()
	}
	return fmt.Errorf("listing the pods of all namespaces, which is needed to know what may go: %w", why)
}

// node is the entry of a node, made when first asked for. The lock is held.
func (n *needs) node(name string) *nodeNeeds {
	node := n.nodes[name]
	if node == nil {
		node = &nodeNeeds{pods: map[string][]plan.Need{}, more: make(chan struct{})}
		n.nodes[name] = node
	}
	return node
}

// of are the needs of a node now.
func (n *needs) of(name string) (plan.Needs, told) {
	n.mu.Lock()
	defer n.mu.Unlock()
	node := n.node(name)
	now := plan.Needs{Known: true, AsOf: n.asOf}
	for _, pod := range slices.Sorted(maps.Keys(node.pods)) {
		now.Items = append(now.Items, node.pods[pod]...)
	}
	now.Items = append(now.Items, node.caches...)
	return now, told{node.version, n.asOf}
}

// more is closed when a pod has come to a node. That one has gone can wait.
func (n *needs) more(name string) <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.node(name).more
}

// news is what a node must be told beyond what it was told as last, if there is anything.
func (n *needs) news(name string, last told) (u session.Update, now told) {
	needs, now := n.of(name)
	switch {
	case now.version != last.version:
		u.Needs = &needs
	case now.asOf.After(last.asOf):
		u.AsOf = now.asOf
	}
	return u, now
}

// creating notes that one of our pods is about to be created: when the watch shows it, that is a mark.
func (n *needs) creating(pod string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.created[pod] = time.Now()
}

// mark sends a mark round. Without the right to, the needs age, and the nodes spare what they are not sure of.
func (n *needs) mark(ctx context.Context) {
	n.mu.Lock()
	pod := ""
	for name := range n.alive {
		pod = name
	}
	number := n.last + 1
	if pod != "" {
		n.last = number
		n.marks[number] = time.Now()
	}
	n.mu.Unlock()
	if pod == "" {
		return
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{annotationMark: strconv.Itoa(number)}}})
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, markEvery)
	defer cancel()
	_, _ = n.fleet.client.CoreV1().Pods(n.fleet.cfg.Namespace).Patch(ctx, pod, types.MergePatchType, patch, metav1.PatchOptions{})
}

func (n *needs) set(pod *corev1.Pod) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if node, changed := n.put(pod); changed {
		node.tell()
	}
}

// tell lets a node know that it has news. The lock of its needs is held.
func (node *nodeNeeds) tell() {
	node.version++
	close(node.more)
	node.more = make(chan struct{})
}

// put takes one pod in. The lock is held.
func (n *needs) put(pod *corev1.Pod) (node *nodeNeeds, changed bool) {
	key := pod.Namespace + "/" + pod.Name
	if pod.Labels[LabelRun] == n.fleet.run {
		n.seenMark(pod)
	}
	if pod.Spec.NodeName == "" {
		return nil, false
	}
	n.where[key] = pod.Spec.NodeName
	node = n.node(pod.Spec.NodeName)
	before := node.pods[key]
	node.pods[key] = needsOf(pod, n.short[pod.Spec.NodeName])
	return node, !slices.Equal(before, node.pods[key])
}

// seenMark moves the time of the needs on to the newest mark that the pod shows. No node is woken for it: each looks
// several times a minute. The lock is held.
func (n *needs) seenMark(pod *corev1.Pod) {
	n.alive[pod.Name] = true
	newest := n.created[pod.Name]
	if number, err := strconv.Atoi(pod.Annotations[annotationMark]); err == nil && n.marks[number].After(newest) {
		newest = n.marks[number]
		maps.DeleteFunc(n.marks, func(old int, _ time.Time) bool { return old < number })
	}
	if newest.After(n.asOf) && !n.storesUnseen() {
		n.asOf = newest
	}
}

func (n *needs) unset(pod *corev1.Pod) {
	n.mu.Lock()
	defer n.mu.Unlock()
	key := pod.Namespace + "/" + pod.Name
	if pod.Labels[LabelRun] == n.fleet.run {
		delete(n.alive, pod.Name)
	}
	if name := n.where[key]; name != "" {
		node := n.node(name)
		delete(node.pods, key)
		delete(n.where, key)
		node.version++
	}
}

func (n *needs) replace(pods []*corev1.Pod) {
	n.mu.Lock()
	defer n.mu.Unlock()
	before := map[*nodeNeeds]map[string][]plan.Need{}
	for _, node := range n.nodes {
		before[node], node.pods = node.pods, map[string][]plan.Need{}
	}
	clear(n.where)
	clear(n.alive)
	for _, pod := range pods {
		n.put(pod)
	}
	for _, node := range n.nodes {
		if !maps.EqualFunc(before[node], node.pods, slices.Equal) {
			node.tell()
		}
	}
	select {
	case <-n.synced:
	default:
		close(n.synced)
	}
}

// needsOf are the images that a pod names, whether it has started or not.
func needsOf(pod *corev1.Pod, short bool) []plan.Need {
	return plan.NeedsOf(pod.Namespace+"/"+pod.Name, podimage.Names(pod), short)
}
