// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package apply writes as the controller does: by server-side apply, what is its own.
package apply

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"orlop.dev/orlop/api/v1alpha1"
)

// Owner is the field manager of what the controller writes.
const Owner = "orlop-controller"

// Status makes the whole status of an object of ours what is given: of this very object, and of none made anew under its name.
func Status(ctx context.Context, to client.Client, kind string, object client.Object, status any) error {
	name := object.GetNamespace() + "/" + object.GetName()
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(status)
	if err != nil {
		return fmt.Errorf("converting the status of %s %s: %w", kind, name, err)
	}
	u := &unstructured.Unstructured{Object: map[string]any{"status": content}}
	u.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind))
	u.SetNamespace(object.GetNamespace())
	u.SetName(object.GetName())
	u.SetUID(object.GetUID())
	// No read of ours waits for such a write, and to let one wait takes another watch of all objects of this kind.
	if err := to.Status().Apply(ctx, client.ApplyConfigurationFromUnstructured(u), client.FieldOwner(Owner), client.ForceOwnership,
		client.DisableReadYourWritesConsistency); err != nil {
		return fmt.Errorf("writing the status of %s %s: %w", kind, name, err)
	}
	return nil
}
