// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package operator is what a person's program sees and asks of an installed Orlop: its objects, its agents, its
// controller. It is a plain REST client; nothing is cached.
package operator

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"orlop.dev/orlop/api/v1alpha1"
)

// The labels by which the parts of an install are found, and where it is unless somebody chose otherwise.
const (
	LabelName      = "app.kubernetes.io/name"
	LabelComponent = "app.kubernetes.io/component"
	LabelPartOf    = "app.kubernetes.io/part-of"
	LabelVersion   = "app.kubernetes.io/version"

	Product          = "orlop"
	DefaultNamespace = "orlop-system"
)

// The resources of the kinds.
const (
	caches      = "imagecaches"
	stores      = "imagestores"
	inventories = "imageinventories"
)

// The client's own rate limits: client-go's defaults (5 and 10) would stretch a read of many nodes over seconds.
const (
	clientQPS   = 100
	clientBurst = 200
)

// Client reaches one cluster.
type Client struct {
	core   kubernetes.Interface
	orlop  rest.Interface
	config *rest.Config
	params runtime.ParameterCodec
}

// New prepares a connection. Nothing is asked of the cluster yet.
func New(config *rest.Config) (*Client, error) {
	config = rest.CopyConfig(config)
	config.QPS, config.Burst = clientQPS, clientBurst
	core, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("preparing the connection: %w", err)
	}
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, fmt.Errorf("preparing the connection: %w", err)
	}
	ours := rest.CopyConfig(config)
	ours.GroupVersion, ours.APIPath = &v1alpha1.GroupVersion, "/apis"
	ours.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	ours.ContentType, ours.AcceptContentTypes = runtime.ContentTypeJSON, runtime.ContentTypeJSON // Custom resources have no protobuf.
	orlop, err := rest.RESTClientFor(ours)
	if err != nil {
		return nil, fmt.Errorf("preparing the connection: %w", err)
	}
	return &Client{core: core, orlop: orlop, config: config, params: runtime.NewParameterCodec(scheme)}, nil
}

// Core is the connection to the cluster's own objects.
func (c *Client) Core() kubernetes.Interface { return c.core }

// Served reports whether the cluster knows Orlop's kinds. Only a plain "not found" is a no.
func (c *Client) Served(ctx context.Context) (bool, error) {
	err := c.orlop.Get().AbsPath("/apis", v1alpha1.GroupVersion.Group, v1alpha1.GroupVersion.Version).Do(ctx).Error()
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("asking whether Orlop is installed: %w", err)
	}
	return true, nil
}

const (
	// pageSize bounds one answer: an inventory has some 40 KB.
	pageSize = 200
	// byName is up to how many objects are asked for one by one instead of in a list of all.
	byName = 10
)

// Inventories are those of the nodes, by name; a node without one is not in the map.
func (c *Client) Inventories(ctx context.Context, nodes []string) (map[string]*v1alpha1.ImageInventory, error) {
	return read(ctx, c, inventories, nodes, func() *v1alpha1.ImageInventory { return &v1alpha1.ImageInventory{} },
		func() *v1alpha1.ImageInventoryList { return &v1alpha1.ImageInventoryList{} },
		func(l *v1alpha1.ImageInventoryList) ([]v1alpha1.ImageInventory, string) { return l.Items, l.Continue })
}

// Stores are those of the nodes, by name; nil nodes are all.
func (c *Client) Stores(ctx context.Context, nodes []string) (map[string]*v1alpha1.ImageStore, error) {
	return read(ctx, c, stores, nodes, func() *v1alpha1.ImageStore { return &v1alpha1.ImageStore{} },
		func() *v1alpha1.ImageStoreList { return &v1alpha1.ImageStoreList{} },
		func(l *v1alpha1.ImageStoreList) ([]v1alpha1.ImageStore, string) { return l.Items, l.Continue })
}

// read gets few objects by name, and many by pages of a list.
func read[T, L any, PT interface {
	*T
	runtime.Object
	metav1.Object
}, PL interface {
	*L
	runtime.Object
}](ctx context.Context, c *Client, resource string, names []string, one func() PT, list func() PL, items func(PL) ([]T, string)) (map[string]PT, error) {
	found := map[string]PT{}
	if names != nil && len(names) <= byName {
		return found, c.readByName(resource, names, func(name string, request *rest.Request) (func(), error) {
			obj := one()
			err := request.Do(ctx).Into(obj)
			return func() { found[name] = obj }, err
		})
	}
	wanted := map[string]bool{}
	for _, name := range names {
		wanted[name] = true
	}
	options := metav1.ListOptions{Limit: pageSize}
	for {
		page := list()
		if err := c.orlop.Get().Resource(resource).VersionedParams(&options, c.params).Do(ctx).Into(page); err != nil {
			return nil, fmt.Errorf("listing the %s: %w", resource, err)
		}
		all, more := items(page)
		for i := range all {
			if obj := PT(&all[i]); names == nil || wanted[obj.GetName()] {
				found[obj.GetName()] = obj
			}
		}
		if more == "" {
			return found, nil
		}
		options.Continue = more
	}
}

// readByName gets some objects at once. get gives what keeps the object, which is called for those that exist.
func (c *Client) readByName(resource string, names []string, get func(string, *rest.Request) (func(), error)) error {
	keeps, errs := make([]func(), len(names)), make([]error, len(names))
	var all sync.WaitGroup
	for i, name := range names {
		all.Go(func() { keeps[i], errs[i] = get(name, c.orlop.Get().Resource(resource).Name(name)) })
	}
	all.Wait()
	for i, name := range names {
		switch {
		case errs[i] == nil:
			keeps[i]()
		case !apierrors.IsNotFound(errs[i]):
			return fmt.Errorf("getting %s %s: %w", resource, name, errs[i])
		}
	}
	return nil
}

// StoreWatch lists and watches the ImageStores: of the one node, or of all.
func (c *Client) StoreWatch(node string) *cache.ListWatch {
	chosen := ""
	if node != "" {
		chosen = fields.OneTermEqualSelector("metadata.name", node).String()
	}
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.FieldSelector = chosen
			list := &v1alpha1.ImageStoreList{}
			return list, c.orlop.Get().Resource(stores).VersionedParams(&o, c.params).Do(ctx).Into(list)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.FieldSelector, o.Watch = chosen, true
			return c.orlop.Get().Resource(stores).VersionedParams(&o, c.params).Watch(ctx)
		},
	}
}

// Caches are the ImageCaches of a namespace; empty is all.
func (c *Client) Caches(ctx context.Context, namespace string) ([]v1alpha1.ImageCache, error) {
	var found []v1alpha1.ImageCache
	options := metav1.ListOptions{Limit: pageSize}
	for {
		list := &v1alpha1.ImageCacheList{}
		if err := c.orlop.Get().NamespaceIfScoped(namespace, namespace != "").Resource(caches).VersionedParams(&options, c.params).Do(ctx).Into(list); err != nil {
			return nil, fmt.Errorf("listing the ImageCaches: %w", err)
		}
		found = append(found, list.Items...)
		if options.Continue = list.Continue; options.Continue == "" {
			return found, nil
		}
	}
}

// Cache is one ImageCache.
func (c *Client) Cache(ctx context.Context, namespace, name string) (*v1alpha1.ImageCache, error) {
	found := &v1alpha1.ImageCache{}
	if err := c.orlop.Get().Namespace(namespace).Resource(caches).Name(name).Do(ctx).Into(found); err != nil {
		return nil, fmt.Errorf("getting ImageCache %s/%s: %w", namespace, name, err)
	}
	found.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("ImageCache"))
	return found, nil
}

// CreateCache creates an ImageCache, and gives it as the API server has it; dryRun: it only says whether it would.
func (c *Client) CreateCache(ctx context.Context, wanted *v1alpha1.ImageCache, dryRun bool) (*v1alpha1.ImageCache, error) {
	options := metav1.CreateOptions{FieldManager: manager}
	if dryRun {
		options.DryRun = []string{metav1.DryRunAll}
	}
	made := &v1alpha1.ImageCache{}
	err := c.orlop.Post().Namespace(wanted.Namespace).Resource(caches).VersionedParams(&options, c.params).Body(wanted).Do(ctx).Into(made)
	if err != nil {
		return nil, fmt.Errorf("creating ImageCache %s/%s: %w", wanted.Namespace, wanted.Name, err)
	}
	made.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("ImageCache"))
	return made, nil
}

// manager is our name in managed fields.
const manager = "kubectl-orlop"

// AnnotateCache sets one annotation of an ImageCache.
func (c *Client) AnnotateCache(ctx context.Context, namespace, name, key, value string) (*v1alpha1.ImageCache, error) {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{key: value}}})
	if err != nil {
		return nil, fmt.Errorf("annotating ImageCache %s/%s: %w", namespace, name, err)
	}
	found := &v1alpha1.ImageCache{}
	if err := c.orlop.Patch(types.MergePatchType).Namespace(namespace).Resource(caches).Name(name).
		VersionedParams(&metav1.PatchOptions{FieldManager: manager}, c.params).Body(patch).Do(ctx).Into(found); err != nil {
		return nil, fmt.Errorf("annotating ImageCache %s/%s: %w", namespace, name, err)
	}
	return found, nil
}
