// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package nodecronjob

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
func write(ctx context.Context, to client.Client, cron *v1alpha1.NodeCronJob, s *status) error {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(s)
	if err != nil {
		return fmt.Errorf("converting the status of NodeCronJob %s/%s: %w", cron.Namespace, cron.Name, err)
	}
	u := &unstructured.Unstructured{Object: map[string]any{"status": content}}
	u.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind))
	u.SetNamespace(cron.Namespace)
	u.SetName(cron.Name)
	u.SetUID(cron.UID)
	if err := to.Status().Apply(ctx, client.ApplyConfigurationFromUnstructured(u), fieldOwner, client.ForceOwnership); err != nil {
		return fmt.Errorf("writing the status of NodeCronJob %s/%s: %w", cron.Namespace, cron.Name, err)
	}
	return nil
}
