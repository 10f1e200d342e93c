// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"orlop.dev/orlop/api/v1alpha1"
)

func TestKeepWatching(t *testing.T) {
	forbidden := apierrors.NewForbidden(schema.GroupResource{Resource: "imagecaches"}, "web", errors.New("no"))
	for name, test := range map[string]struct {
		answer error
		want   int
	}{
		"as long as it lasts":     {nil, 4},
		"a server that is away":   {errors.New("connection refused"), 4},
		"who may not say so":      {forbidden, 1},
		"what is there no longer": {apierrors.NewNotFound(schema.GroupResource{Resource: "imagecaches"}, "web"), 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 3*renewWatch+time.Second)
				defer cancel()
				said := 0
				keepWatching(ctx, func(_ context.Context, key, value string) error {
					said++
					until, err := time.Parse(time.RFC3339, value)
					if left := time.Until(until); err != nil || key != v1alpha1.AnnotationWatchedUntil || left < renewWatch || left > v1alpha1.MaxWatch {
						t.Errorf("%s: %q is %s from now, %v", key, value, left, err)
					}
					return test.answer
				})
				if said != test.want {
					t.Errorf("said %d times, want %d", said, test.want)
				}
			})
		})
	}
}
