// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"orlop.dev/orlop/api/v1alpha1"
)

// dial makes the administrator's client. Caches are created by its requests and not by kubectl, whose start takes 50 ms and more.
func (b *bench) dial() error {
	config, err := clientcmd.BuildConfigFromFlags("", b.lab.Kubeconfig())
	if err != nil {
		return err
	}
	config.QPS = -1
	// What clients tell of their waits would go between the lines of progress.
	log.SetLogger(logr.Discard())
	klog.SetLogger(logr.Discard())
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return err
	}
	b.config, b.scheme = rest.CopyConfig(config), scheme
	b.api, err = client.NewWithWatch(config, client.Options{Scheme: scheme})
	return err
}

// follower keeps every state of an object, with the time at which it was told.
type follower struct {
	what string
	end  context.CancelFunc
	done chan struct{}

	mu     sync.Mutex
	states []state
	news   chan struct{}
}

type state struct {
	at     time.Duration
	object client.Object
}

// follow begins to watch the object of this name; list is an empty list of its kind.
func (b *bench) follow(ctx context.Context, list client.ObjectList, name string) (*follower, error) {
	ctx, end := context.WithCancel(ctx)
	again := func() (apiwatch.Interface, error) {
		return b.api.Watch(ctx, list, client.MatchingFields{"metadata.name": name})
	}
	w, err := again()
	if err != nil {
		end()
		return nil, fmt.Errorf("watching %s: %w", name, err)
	}
	f := &follower{what: name, end: end, done: make(chan struct{}), news: make(chan struct{})}
	go f.run(ctx, w, again)
	return f, nil
}

// run takes in what is told. The API server closes a watch whose reader was too busy: the next one begins with what there is.
func (f *follower) run(ctx context.Context, w apiwatch.Interface, again func() (apiwatch.Interface, error)) {
	defer close(f.done)
	for {
		for event := range w.ResultChan() {
			f.take(event)
		}
		w.Stop()
		var err error
		if w, err = again(); err != nil || ctx.Err() != nil {
			return
		}
	}
}

func (f *follower) take(event apiwatch.Event) {
	at := monotonic()
	object, ok := event.Object.(client.Object)
	if !ok || event.Type == apiwatch.Deleted {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.states = append(f.states, state{at, object})
	close(f.news)
	f.news = make(chan struct{})
}

func (f *follower) stop() {
	f.end()
	<-f.done
}

// patiently bounds what has no bound of its own.
func patiently(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, bounded := ctx.Deadline(); bounded {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, patience)
}

// until is the first time at which the condition held, as this machine was told.
func until[T client.Object](ctx context.Context, f *follower, what string, holds func(T) bool) (time.Duration, T, error) {
	ctx, cancel := patiently(ctx)
	defer cancel()
	var last T
	for next := 0; ; {
		f.mu.Lock()
		states, news := f.states[next:], f.news
		f.mu.Unlock()
		for _, s := range states {
			object, ok := s.object.(T)
			if !ok {
				continue
			}
			if last = object; holds(object) {
				return s.at, object, nil
			}
		}
		next += len(states)
		select {
		case <-news:
		case <-f.done:
			return 0, last, fmt.Errorf("waiting for %s of %s: the watch has ended", what, f.what)
		case <-ctx.Done():
			return 0, last, fmt.Errorf("waiting for %s of %s: %w; its status is %s", what, f.what, context.Cause(ctx), statusOf(last))
		}
	}
}

// statusOf is what an object says of itself, as far as a line holds it.
func statusOf(object any) string {
	const line = 1000
	var part struct {
		Status struct {
			Summary    string            `json:"summary"`
			Conditions []json.RawMessage `json:"conditions"`
			Failures   []json.RawMessage `json:"failures"`
		} `json:"status"`
	}
	text, err := json.Marshal(object)
	if err == nil {
		err = json.Unmarshal(text, &part)
	}
	if err != nil {
		return err.Error()
	}
	said := fmt.Sprintf("%s %s %s", part.Status.Summary, part.Status.Conditions, part.Status.Failures)
	return said[:min(len(said), line)]
}

// eventually asks until the condition holds; an error may pass.
func eventually(ctx context.Context, what string, holds func() (bool, error)) error {
	ctx, cancel := patiently(ctx)
	defer cancel()
	for {
		ok, err := holds()
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting until %s: %w", what, errors.Join(context.Cause(ctx), err))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func isReady(c *v1alpha1.ImageCache) bool {
	ready := meta.FindStatusCondition(c.Status.Conditions, v1alpha1.ConditionReady)
	return ready != nil && ready.Status == "True" && ready.ObservedGeneration == c.Generation
}

// imagesPatch is a merge patch that replaces the images of a cache.
func imagesPatch(images []v1alpha1.CachedImage) ([]byte, error) {
	return json.Marshal(map[string]any{"spec": map[string]any{"images": images}})
}

// annotatePatch is a merge patch that sets an annotation.
func annotatePatch(key, value string) ([]byte, error) {
	return json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{key: value}}})
}
