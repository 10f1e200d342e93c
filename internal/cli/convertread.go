// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"

	"orlop.dev/orlop/internal/convert"
)

const (
	// stdin is what errors call standard input.
	stdin = "stdin"
	// convertPage bounds one answer of the API server: ConfigMaps may have a megabyte each.
	convertPage = 100
)

// readFiles reads every file, and tells of all that cannot be read.
func (o *convertOptions) readFiles() (docs []*convert.Document, err error) {
	var errs []error
	for _, name := range o.files {
		paths, err := o.paths(name)
		errs = append(errs, err)
		for _, path := range paths {
			found, err := o.readFile(path)
			errs = append(errs, err)
			docs = append(docs, found...)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if len(docs) == 0 {
		return nil, fmt.Errorf("%s: there is no object in it", strings.Join(o.files, ", "))
	}
	return docs, nil
}

func (o *convertOptions) readFile(path string) ([]*convert.Document, error) {
	if path == "-" {
		return convert.Read(stdin, o.In)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // It is only read.
	return convert.Read(path, file)
}

// paths are the files that a name stands for: itself, or what kubectl takes of a folder.
func (o *convertOptions) paths(name string) (paths []string, err error) {
	if strings.HasPrefix(name, "http://") || strings.HasPrefix(name, "https://") {
		return nil, fmt.Errorf("%s: addresses are not read; curl -fsSL %s | %s convert -f -", name, name, o.program)
	}
	if name == "-" {
		return []string{name}, nil
	}
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{name}, nil
	}
	err = filepath.WalkDir(name, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != name && !o.recursive:
			return filepath.SkipDir
		case !entry.IsDir() && slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(path)):
			paths = append(paths, path)
		}
		return nil
	})
	return paths, err
}

// readCluster reads every kind that anything here converts, as far as it is served. What may not be read is told, and holds up
// nothing else.
func (o *convertOptions) readCluster(ctx context.Context, namespace string) (docs []*convert.Document, unread []error, err error) {
	config, err := o.connect()
	if err != nil {
		return nil, nil, err
	}
	finder, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, nil, fmt.Errorf("preparing the connection: %w", err)
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, nil, fmt.Errorf("preparing the connection: %w", err)
	}
	if o.all {
		namespace = metav1.NamespaceAll
	}
	resources, err := served(ctx, finder)
	if err != nil {
		return nil, nil, err
	}
	for _, resource := range resources {
		var from dynamic.ResourceInterface = client.Resource(resource.gvr)
		if resource.namespaced {
			from = client.Resource(resource.gvr).Namespace(namespace)
		}
		found, err := readLive(ctx, from)
		switch {
		case apierrors.IsForbidden(err):
			unread = append(unread, err)
		case apierrors.IsNotFound(err): // Taken away since.
		case err != nil:
			return nil, nil, fmt.Errorf("reading %s: %w", resource.gvr.GroupResource(), err)
		}
		docs = append(docs, found...)
	}
	if len(resources) > 0 && len(unread) == len(resources) {
		return nil, nil, unread[0]
	}
	return docs, unread, nil
}

type servedResource struct {
	gvr        schema.GroupVersionResource
	namespaced bool
}

// served are the resources of the kinds that are to be read, each in the first of its versions that the cluster has.
func served(ctx context.Context, finder discovery.DiscoveryInterface) (resources []servedResource, err error) {
	groups := map[schema.GroupVersion]*metav1.APIResourceList{}
	known := map[schema.GroupKind]bool{}
	for _, kind := range convert.Reads() {
		list, asked := groups[kind.GroupVersion()]
		if !asked {
			list, err = finder.ServerResourcesForGroupVersion(kind.GroupVersion().String())
			if err != nil && !apierrors.IsNotFound(err) {
				return nil, fmt.Errorf("asking what the cluster has of %s: %w", kind.GroupVersion(), err)
			}
			groups[kind.GroupVersion()] = list
		}
		if list == nil || known[kind.GroupKind()] {
			continue
		}
		i := slices.IndexFunc(list.APIResources, func(r metav1.APIResource) bool { return r.Kind == kind.Kind && !strings.Contains(r.Name, "/") })
		if i >= 0 {
			known[kind.GroupKind()] = true
			resources = append(resources, servedResource{kind.GroupVersion().WithResource(list.APIResources[i].Name), list.APIResources[i].Namespaced})
		}
	}
	return resources, ctx.Err()
}

// readLive reads page by page, and keeps what is to be converted.
func readLive(ctx context.Context, from dynamic.ResourceInterface) (docs []*convert.Document, err error) {
	options := metav1.ListOptions{Limit: convertPage}
	for {
		page, err := from.List(ctx, options)
		if err != nil {
			return nil, err
		}
		for i := range page.Items {
			object := &page.Items[i]
			if metav1.GetControllerOf(object) != nil || object.GetDeletionTimestamp() != nil { // Its maker is converted, or nobody wants it.
				continue
			}
			doc, err := convert.Live(object.Object)
			if err != nil {
				return nil, err
			}
			if doc.Claimed() {
				docs = append(docs, doc)
			}
		}
		if options.Continue = page.GetContinue(); options.Continue == "" {
			return docs, nil
		}
	}
}
