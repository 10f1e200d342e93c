// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"cmp"
	"context"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// lookout keeps the newest of what the API server says of the pods of one run: one watch of the pods, and one of the
// events about them, whatever the number of nodes.
type lookout struct {
	fleet    *Fleet
	selector string

	mu      sync.Mutex
	pods    map[string]*sighting
	watched bool  // a watch of them has been let begin
	refused error // what the last request for them met with; nil: it went well
}

// sighting is what is known of one pod.
type sighting struct {
	pod         *corev1.Pod
	gone        bool
	started     bool   // an event says that its container runs; its status follows up to a second later
	mountFailed bool   // an event says that its socket is not there
	warning     string // the newest warning about it
	changed     chan struct{}
}

// newLookout looks out for the pods that a label selector chooses; empty: those of this run.
func newLookout(f *Fleet, selector string) *lookout {
	return &lookout{fleet: f, selector: cmp.Or(selector, LabelRun+"="+f.run), pods: map[string]*sighting{}}
}

// watch follows the run's pods until the context ends.
func (l *lookout) watch(ctx context.Context) {
	var both sync.WaitGroup
	both.Go(func() { l.watchPods(ctx) })
	both.Go(func() { l.watchEvents(ctx) })
	both.Wait()
}

func (l *lookout) watchPods(ctx context.Context) {
	pods := l.fleet.client.CoreV1().Pods(l.fleet.cfg.Namespace)
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.LabelSelector = l.selector
			list, err := pods.List(ctx, o)
			l.note(err, false)
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.LabelSelector = l.selector
			w, err := pods.Watch(ctx, o)
			l.note(err, true)
			return w, err
		},
	}
	mirror(ctx, lw, l.fleet, &corev1.Pod{}, keeper[*corev1.Pod]{l.seen, l.lost, l.replaced})
}

// note keeps how a request for the pods ended.
func (l *lookout) note(err error, watch bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil && !watch && !l.watched {
		return // Who may list may not watch all the same.
	}
	l.watched = l.watched || err == nil
	l.refused = err
	for _, s := range l.pods {
		s.tell()
	}
}

// sight is the error that keeps the pods from being seen now, if there is one. denied: waiting does not cure it, since
// the right is missing. A 401 is cured by a new token, and who could watch once will again.
func (l *lookout) sight() (denied bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.watched && apierrors.IsForbidden(l.refused), l.refused
}

// mirror keeps a store like what is on the server until the context ends.
func mirror(ctx context.Context, lw *cache.ListWatch, f *Fleet, kind any, store cache.ReflectorStore) {
	source := cache.ToListWatcherWithWatchListSemantics(lw, f.client)
	cache.NewReflectorWithOptions(source, kind, store, cache.ReflectorOptions{}).RunWithContext(ctx)
}

// keeper makes three functions what a reflector writes to.
type keeper[T any] struct {
	set     func(T)
	remove  func(T)
	replace func([]T)
}

func (s keeper[T]) Add(obj any) error    { s.set(obj.(T)); return nil }
func (s keeper[T]) Update(obj any) error { s.set(obj.(T)); return nil }
func (s keeper[T]) Delete(obj any) error { s.remove(obj.(T)); return nil }
func (s keeper[T]) Resync() error        { return nil }
func (s keeper[T]) Replace(list []any, _ string) error {
	all := make([]T, 0, len(list))
	for _, obj := range list {
		all = append(all, obj.(T))
	}
	s.replace(all)
	return nil
}

// at is the entry of a pod, made when first asked for. The lock is held.
func (l *lookout) at(name string) *sighting {
	s := l.pods[name]
	if s == nil {
		s = &sighting{changed: make(chan struct{}, 1)}
		l.pods[name] = s
	}
	return s
}

func (s *sighting) tell() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// look is what is known of a pod now; changed is told when there is more.
func (l *lookout) look(name string) (now sighting, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.at(name)
	return *s, s.changed
}

func (l *lookout) seen(pod *corev1.Pod) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.at(pod.Name)
	s.pod, s.gone = pod, false
	s.tell()
}

func (l *lookout) lost(pod *corev1.Pod) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.at(pod.Name)
	s.gone = true
	s.tell()
}

// replaced takes a whole list: what was seen before and is not on it has gone.
func (l *lookout) replaced(pods []*corev1.Pod) {
	l.mu.Lock()
	defer l.mu.Unlock()
	there := map[string]*corev1.Pod{}
	for _, pod := range pods {
		there[pod.Name] = pod
		l.at(pod.Name)
	}
	for name, s := range l.pods {
		if pod := there[name]; pod != nil {
			s.pod, s.gone = pod, false
		} else if s.pod != nil {
			s.gone = true
		}
		s.tell()
	}
}

// rewatch is how long to wait before the events are watched again, where the server does not let us.
const rewatch = 2 * time.Second

// watchEvents needs no list: an event from before a break that is told twice does no harm, one that is missed costs
// time only. Without the right to it, a wrong socket shows as silence.
func (l *lookout) watchEvents(ctx context.Context) {
	for ctx.Err() == nil {
		w, err := l.fleet.client.CoreV1().Events(l.fleet.cfg.Namespace).Watch(ctx, metav1.ListOptions{FieldSelector: "involvedObject.kind=Pod"})
		if err == nil {
			l.hear(ctx, w)
		}
		select {
		case <-time.After(rewatch):
		case <-ctx.Done():
		}
	}
}

// hear follows one watch to its end.
func (l *lookout) hear(ctx context.Context, w watch.Interface) {
	defer w.Stop()
	for {
		select {
		case e, more := <-w.ResultChan():
			if !more {
				return
			}
			if event, ok := e.Object.(*corev1.Event); ok {
				l.heard(event)
			}
		case <-ctx.Done():
			return
		}
	}
}

// wrongType is what a kubelet says of a hostPath of type Socket at whose path there is no socket.
const wrongType = "hostPath type check failed"

func (l *lookout) heard(event *corev1.Event) {
	name := event.InvolvedObject.Name
	if !strings.Contains(name, l.fleet.run) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.at(name)
	switch {
	case event.Reason == "Started":
		s.started = true
	case event.Reason == "FailedMount" && strings.Contains(event.Message, wrongType):
		s.mountFailed = true
	}
	if event.Type == corev1.EventTypeWarning {
		s.warning = event.Reason + ": " + event.Message
	}
	s.tell()
}
