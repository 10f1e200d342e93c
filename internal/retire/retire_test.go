// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package retire_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/retire"
)

// answering is an API of three nodes, of which those named answer as soon as they are asked.
func answering(t *testing.T, refuse error, nodes ...string) client.WithWatch {
	t.Helper()
	s := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(s); err != nil {
		t.Fatal(err)
	}
	var objects []client.Object
	for _, name := range []string{"n1", "n2", "n3"} {
		objects = append(objects,
			&v1alpha1.ImageStore{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.ImageStoreSpec{Runtime: "containerd://2.4.2"}},
			&v1alpha1.ImageInventory{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	return fake.NewClientBuilder().WithScheme(s).WithObjects(objects...).WithInterceptorFuncs(interceptor.Funcs{
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			if refuse != nil {
				return refuse
			}
			if err := c.Patch(ctx, o, p, opts...); err != nil {
				return err
			}
			store := &v1alpha1.ImageStore{}
			if err := c.Get(ctx, client.ObjectKeyFromObject(o), store); err != nil {
				return err
			}
			if !store.Spec.Retire || store.Spec.Runtime == "" {
				return errors.New("it was asked for something else")
			}
			for _, name := range nodes {
				if name == store.Name {
					store.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionRetired, Status: metav1.ConditionTrue}}
				}
			}
			return c.Update(ctx, store)
		},
	}).Build()
}

func TestRun(t *testing.T) {
	for name, tc := range map[string]struct {
		nodes []string
		want  retire.Result
		takes time.Duration
	}{
		"all answer":  {[]string{"n1", "n2", "n3"}, retire.Result{Answered: []string{"n1", "n2", "n3"}}, 0},
		"one is away": {[]string{"n1", "n3"}, retire.Result{Answered: []string{"n1", "n3"}, Silent: []string{"n2"}}, 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api, began := answering(t, nil, tc.nodes...), time.Now()
				got, err := retire.Run(t.Context(), api, 30*time.Second)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tc.want, got); diff != "" || time.Since(began) != tc.takes {
					t.Errorf("after %v: %s", time.Since(began), diff)
				}
				var stores v1alpha1.ImageStoreList
				var inventories v1alpha1.ImageInventoryList
				if err := errors.Join(api.List(t.Context(), &stores), api.List(t.Context(), &inventories)); err != nil {
					t.Fatal(err)
				}
				if left := len(stores.Items) + len(inventories.Items); left != 0 {
					t.Errorf("%d objects are left", left)
				}
				if got, err := retire.Run(t.Context(), api, time.Hour); err != nil || !cmp.Equal(got, retire.Result{}) {
					t.Errorf("once more: %+v, %v", got, err)
				}
			})
		})
	}
}

func TestWhatIsNotAllowedLeavesEverything(t *testing.T) {
	api := answering(t, apierrors.NewForbidden(schema.GroupResource{Resource: "imagestores"}, "n1", errors.New("no right")))
	if _, err := retire.Run(t.Context(), api, time.Second); !apierrors.IsForbidden(err) {
		t.Errorf("error %v", err)
	}
	var stores v1alpha1.ImageStoreList
	if err := api.List(t.Context(), &stores); err != nil || len(stores.Items) != 3 {
		t.Errorf("%d stores are left, %v", len(stores.Items), err)
	}
}
