// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package apiserver is agent.API over a real API server: a REST client that knows our kinds and no others, so that the agent
// stays small.
package apiserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/agent"
)

const (
	stores      = "imagestores"
	inventories = "imageinventories"
	// fieldOwner owns the status of both kinds.
	fieldOwner = "orlop-agent"
	// minWatch is how long a watch lasts at least; up to twice as long, so that those of many nodes do not end together.
	minWatch = 5 * time.Minute
	// listTimeout bounds one list.
	listTimeout = 30 * time.Second
	// firstPause and maxPause are between attempts: many agents come back at once when an API server does.
	firstPause = 500 * time.Millisecond
	maxPause   = 30 * time.Second

	// shortWatch is how long a watch lasts at least that is worth beginning anew at once, though it told nothing.
	shortWatch = 5 * time.Second

	// replay is how long it takes at most until what was missed has come.
	replay = 10 * time.Second
)

// Client is one agent's.
type Client struct {
	rest   rest.Interface
	params runtime.ParameterCodec
	log    *slog.Logger
}

var _ agent.API = (*Client)(nil)

// New makes a client. Clients of one configuration share their connections.
func New(cfg *rest.Config, log *slog.Logger) (*Client, error) {
	scheme := runtime.NewScheme()
	scheme.AddKnownTypes(v1alpha1.GroupVersion,
		&v1alpha1.ImageStore{}, &v1alpha1.ImageStoreList{}, &v1alpha1.ImageInventory{}, &v1alpha1.ImageInventoryList{})
	metav1.AddToGroupVersion(scheme, v1alpha1.GroupVersion)
	cfg = rest.CopyConfig(cfg)
	cfg.APIPath = "/apis"
	cfg.GroupVersion = &v1alpha1.GroupVersion
	cfg.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	cfg.ContentType = runtime.ContentTypeJSON
	client, err := rest.RESTClientFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("preparing a client of the API server: %w", err)
	}
	return &Client{rest: client, params: runtime.NewParameterCodec(scheme), log: log}, nil
}

// Watch follows the store of one name.
func (c *Client) Watch(ctx context.Context, node string, seen func(store *v1alpha1.ImageStore, late bool)) {
	w := &follower{Client: c, node: node, seen: seen, pause: firstPause}
	for ctx.Err() == nil {
		w.told = false
		asked := time.Now()
		span, err := w.follow(ctx)
		lasted := time.Since(asked)
		w.broken = err != nil || lasted < span
		if err == nil && !w.told && lasted < shortWatch {
			err = errTooShort
		}
		switch {
		case ctx.Err() != nil:
		case err == nil:
			w.pause = firstPause
		default:
			c.log.Warn("watching the ImageStore", "node", node, "error", err)
			w.wait(ctx)
		}
	}
}

// follower is one watch, with where it stands.
type follower struct {
	*Client
	node    string
	seen    func(store *v1alpha1.ImageStore, late bool)
	version string // empty: list first
	pause   time.Duration
	told    bool // this watch has told something
	// broken: the watch before this one ended before its time, and nobody knows when it had last worked.
	broken bool
	began  time.Time // when the API server took this watch
}

// late reports whether what comes may have come about while there was no watch: all of that comes at the beginning.
func (w *follower) late() bool { return w.broken && time.Since(w.began) < replay }

// errSilent is of a connection that nobody answers on any more.
var errSilent = errors.New("the watch did not end in its time")

// errTooShort is of an API server that takes watches and ends them, as one does that shuts down, or a proxy before it.
var errTooShort = errors.New("the watch ended at once, and told nothing")

func (w *follower) wait(ctx context.Context) {
	timer := time.NewTimer(time.Duration(float64(w.pause) * (0.5 + rand.Float64())))
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
	w.pause = min(2*w.pause, maxPause)
}

func (w *follower) options() *metav1.ListOptions {
	return &metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", w.node).String()}
}

// follow lists if it must, and watches until the watch ends, which after span is nothing unusual.
func (w *follower) follow(ctx context.Context) (span time.Duration, err error) {
	span = (minWatch + rand.N(minWatch)).Truncate(time.Second)
	if w.version == "" {
		if err := w.list(ctx); err != nil {
			return span, err
		}
	}
	options := w.options()
	options.Watch, options.AllowWatchBookmarks, options.ResourceVersion = true, true, w.version
	options.TimeoutSeconds = new(int64(span / time.Second))
	events, err := w.rest.Get().Resource(stores).VersionedParams(options, w.params).Watch(ctx)
	if err != nil {
		return span, w.anew(err)
	}
	w.began = time.Now()
	defer events.Stop()
	// A connection that nobody answers on any more ends by itself only after minutes.
	ended := time.NewTimer(span + listTimeout)
	defer ended.Stop()
	for {
		select {
		case <-ctx.Done():
			return span, ctx.Err()
		case <-ended.C:
			return span, errSilent
		case event, more := <-events.ResultChan():
			if !more {
				return span, nil
			}
			if err := w.take(event); err != nil {
				return span, w.anew(err)
			}
			w.pause, w.told = firstPause, true
		}
	}
}

// list reads from what is agreed upon in etcd: the status is our record, and an old one would lose pulls.
func (w *follower) list(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	var list v1alpha1.ImageStoreList
	if err := w.rest.Get().Resource(stores).VersionedParams(w.options(), w.params).Do(ctx).Into(&list); err != nil {
		return err
	}
	w.version = list.ResourceVersion
	if len(list.Items) == 0 {
		w.seen(nil, true)
		return nil
	}
	w.seen(bare(&list.Items[0]), true)
	w.broken = false // What comes now has come about since.
	return nil
}

// anew makes the next attempt list first, where what was known is too old to go on from.
func (w *follower) anew(err error) error {
	if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) || apierrors.IsInternalError(err) {
		w.version = ""
	}
	return err
}

func (w *follower) take(event watch.Event) error {
	switch object := event.Object.(type) {
	case *v1alpha1.ImageStore:
		w.version = object.ResourceVersion
		switch event.Type {
		case watch.Deleted:
			w.seen(nil, w.late())
		case watch.Added, watch.Modified:
			w.seen(bare(object), w.late())
		case watch.Bookmark, watch.Error:
		}
	case *metav1.Status:
		return apierrors.FromObject(object)
	}
	return nil
}

// bare is without what nobody reads.
func bare(store *v1alpha1.ImageStore) *v1alpha1.ImageStore {
	store.ManagedFields, store.Annotations = nil, nil
	return store
}

// MayRead tells whether the store is there, and may be read.
func (c *Client) MayRead(ctx context.Context, node string) error {
	err := c.rest.Get().Resource(stores).Name(node).Do(ctx).Error()
	if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) {
		return errors.Join(agent.ErrGone, err)
	}
	return err
}

// Inventory reads the node's inventory.
func (c *Client) Inventory(ctx context.Context, node string) (*v1alpha1.ImageInventory, error) {
	inventory := &v1alpha1.ImageInventory{}
	err := c.rest.Get().Resource(inventories).Name(node).Do(ctx).Into(inventory)
	return inventory, err
}

// ApplyStore makes the status of the store that of the one given.
func (c *Client) ApplyStore(ctx context.Context, store *v1alpha1.ImageStore) (string, error) {
	return c.apply(ctx, stores, "ImageStore", store, store.Status)
}

// ApplyInventory makes the status of the inventory that of the one given.
func (c *Client) ApplyInventory(ctx context.Context, inventory *v1alpha1.ImageInventory) error {
	_, err := c.apply(ctx, inventories, "ImageInventory", inventory, inventory.Status)
	return err
}

// apply is server-side apply: the status is ours as a whole.
func (c *Client) apply(ctx context.Context, resource, kind string, object metav1.Object, status any) (version string, err error) {
	name := object.GetName()
	metadata := map[string]any{"name": name}
	if uid := object.GetUID(); uid != "" {
		metadata["uid"] = uid // One that was made anew under this name refuses it.
	}
	body, err := json.Marshal(map[string]any{
		"apiVersion": v1alpha1.GroupVersion.String(), "kind": kind, "metadata": metadata, "status": status,
	})
	if err != nil {
		return "", fmt.Errorf("writing %s %s: %w", kind, name, err)
	}
	var answered struct {
		Metadata struct {
			ResourceVersion string `json:"resourceVersion"`
		} `json:"metadata"`
	}
	answer, err := c.rest.Patch(types.ApplyYAMLPatchType).Resource(resource).Name(name).SubResource("status").
		Param("fieldManager", fieldOwner).Param("force", "true").
		// The answer may be as large as the question, and only its version is wanted.
		SetHeader("Accept", "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1").
		Body(body).Do(ctx).Raw()
	if err != nil {
		return "", err
	}
	if err := json.Unmarshal(answer, &answered); err != nil {
		return "", fmt.Errorf("reading the answer of the API server: %w", err)
	}
	return answered.Metadata.ResourceVersion, nil
}
