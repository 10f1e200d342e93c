// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagecache

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"orlop.dev/orlop/api/v1alpha1"
)

// fieldOwner is what the controller writes as.
const fieldOwner = client.FieldOwner("orlop-controller")

// write applies a whole status, to this very object and to none made anew under its name.
func write(ctx context.Context, to client.Client, cache *v1alpha1.ImageCache, status *v1alpha1.ImageCacheStatus) error {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(status)
	if err != nil {
		return fmt.Errorf("converting the status of ImageCache %s/%s: %w", cache.Namespace, cache.Name, err)
	}
	u := &unstructured.Unstructured{Object: map[string]any{"status": content}}
	u.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("ImageCache"))
	u.SetNamespace(cache.Namespace)
	u.SetName(cache.Name)
	u.SetUID(cache.UID)
	if err := to.Status().Apply(ctx, client.ApplyConfigurationFromUnstructured(u), fieldOwner, client.ForceOwnership); err != nil {
		return fmt.Errorf("writing the status of ImageCache %s/%s: %w", cache.Namespace, cache.Name, err)
	}
	return nil
}
