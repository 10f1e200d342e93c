// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"orlop.dev/orlop/api/v1alpha1"
)

func jobPod(namespace, name, role string, finalizers ...string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: namespace, Name: name, UID: "uid", Finalizers: finalizers, Labels: map[string]string{v1alpha1.LabelRole: role},
	}}
}

func finalizersOf(t *testing.T, c *Client) map[string][]string {
	t.Helper()
	list, err := c.core.CoreV1().Pods("").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]string{}
	for i := range list.Items {
		all[list.Items[i].Namespace+"/"+list.Items[i].Name] = slices.Clip(list.Items[i].Finalizers)
	}
	return all
}

func TestReleasePods(t *testing.T) {
	core := fake.NewClientset(
		jobPod("ops", "held", v1alpha1.RoleNodeJob, "example.com/theirs", v1alpha1.FinalizerNodeJob), jobPod("shop", "held-too", v1alpha1.RoleNodeJob, v1alpha1.FinalizerNodeJob),
		jobPod("ops", "released", v1alpha1.RoleNodeJob), jobPod("ops", "refused", v1alpha1.RoleNodeJob, v1alpha1.FinalizerNodeJob),
		jobPod("orlop-system", "agent", v1alpha1.RoleAgent, "example.com/theirs"),
	)
	errRefused := errors.New("refused")
	core.PrependReactor("patch", "pods", func(action clienttesting.Action) (bool, runtime.Object, error) {
		patch, ok := action.(clienttesting.PatchAction)
		return ok && patch.GetName() == "refused", nil, errRefused
	})
	c := &Client{core: core}
	released, err := c.ReleasePods(t.Context())
	if released != 2 || !errors.Is(err, errRefused) {
		t.Errorf("released %d: %v", released, err)
	}
	want := map[string][]string{
		"ops/held": {"example.com/theirs"}, "shop/held-too": nil, "ops/released": nil, "ops/refused": {v1alpha1.FinalizerNodeJob}, "orlop-system/agent": {"example.com/theirs"},
	}
	if diff := cmp.Diff(want, finalizersOf(t, c), cmp.Transformer("empty", func(s []string) []string { return append([]string{}, s...) })); diff != "" {
		t.Error(diff)
	}
	left, err := c.HeldPods(t.Context())
	if err != nil || len(left) != 1 || left[0].String() != "ops/refused" {
		t.Errorf("left %v, %v", left, err)
	}
}

func TestStopController(t *testing.T) {
	controller := func(phase corev1.PodPhase) *corev1.Pod {
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "orlop-system", Name: "c", Labels: map[string]string{LabelName: Product, LabelComponent: "controller"}},
			Spec:       corev1.PodSpec{NodeName: "node1"}, Status: corev1.PodStatus{Phase: phase},
		}
	}
	for name, c := range map[string]struct {
		pods []runtime.Object
		ends bool
		fail bool
	}{
		"none runs":       {},
		"it has ended":    {pods: []runtime.Object{controller(corev1.PodFailed)}},
		"it ends":         {pods: []runtime.Object{controller(corev1.PodRunning)}, ends: true},
		"it does not end": {pods: []runtime.Object{controller(corev1.PodRunning)}, fail: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				core := fake.NewClientset(c.pods...)
				core.PrependReactor("patch", "deployments", func(action clienttesting.Action) (bool, runtime.Object, error) {
					if patch, ok := action.(clienttesting.PatchAction); !ok || action.GetSubresource() != "scale" || string(patch.GetPatch()) != `{"spec":{"replicas":0}}` {
						t.Errorf("asked for %v", action)
					}
					return true, nil, nil
				})
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if c.ends {
					stop := time.AfterFunc(3*time.Second, func() {
						if err := core.CoreV1().Pods("orlop-system").Delete(ctx, "c", metav1.DeleteOptions{}); err != nil {
							t.Error(err)
						}
					})
					defer stop.Stop()
				}
				err := (&Client{core: core}).StopController(ctx, "orlop-system")
				if (err != nil) != c.fail {
					t.Errorf("the error is %v", err)
				}
			})
		})
	}
}
