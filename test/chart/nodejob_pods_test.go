// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package chart

import (
	"maps"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
)

const theController = "system:serviceaccount:" + namespace + ":orlop-controller"

// podsAs are the pods of the default namespace, for somebody.
func podsAs(t *testing.T, user string) dynamic.ResourceInterface {
	t.Helper()
	return as(t, user).Resource(schema.GroupVersionResource{Version: "v1", Resource: "pods"}).Namespace("default")
}

// podWith is a pod on no node, with these labels and annotations.
func podWith(name string, labels, annotations map[string]any) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": name, "namespace": "default", "labels": labels, "annotations": annotations},
		"spec": map[string]any{
			"nodeSelector": map[string]any{"no": "such"}, "containers": []any{map[string]any{"name": "a", "image": "a"}},
		},
	}}
}

// Who may make pods does not thereby say what became of a NodeJob, nor take its pods from the controller's sight.
func TestWhoSaysThatAPodIsOfANodeJob(t *testing.T) {
	withRights(t)
	if out, err := apply(t, `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: test-pods, labels: {app.kubernetes.io/part-of: orlop}}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: makes-pods}, {kind: ServiceAccount, name: orlop-controller, namespace: `+namespace+`}]
`, "--server-side"); err != nil {
		t.Fatal(out)
	}
	marks := map[string]struct{ label, annotation string }{
		"role": {label: "orlop.dev/role"}, "uid": {label: "orlop.dev/nodejob-uid"}, "node": {annotation: "orlop.dev/node"}, "run": {annotation: "orlop.dev/run"},
	}
	labels, annotations := map[string]any{"a": "b"}, map[string]any{"c": "d"}
	for _, mark := range marks {
		if mark.label != "" {
			labels[mark.label] = "nodejob"
		} else {
			annotations[mark.annotation] = "0"
		}
	}
	refused := func(t *testing.T, err error) bool {
		t.Helper()
		return apierrors.IsForbidden(err) && strings.Contains(err.Error(), "is said by "+theController+" alone, not by makes-pods")
	}
	await(t, "the policy is in force", func() bool {
		_, err := podsAs(t, "makes-pods").Create(t.Context(), podWith("tried", labels, annotations), trial)
		return refused(t, err)
	})
	for name, pod := range map[string]*unstructured.Unstructured{"marked": podWith("marked", labels, annotations), "plain": podWith("plain", map[string]any{"a": "b"}, nil)} {
		if _, err := podsAs(t, theController).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { remove(t, "pod", "-n", "default", name, "--grace-period=0", "--force") })
	}
	edit := func(user, pod, patch string) error {
		_, err := podsAs(t, user).Patch(t.Context(), pod, types.MergePatchType, []byte(patch), trialEdit)
		return err
	}
	for name, mark := range marks {
		t.Run(name, func(t *testing.T) {
			key, field := mark.label+mark.annotation, "labels"
			one, none := map[string]any{key: "nodejob"}, map[string]any{}
			l, a := one, none
			if mark.annotation != "" {
				field, l, a = "annotations", none, one
			}
			if _, err := podsAs(t, "makes-pods").Create(t.Context(), podWith("tried", l, a), trial); !refused(t, err) {
				t.Errorf("a pod that bears it: %v", err)
			}
			for what, c := range map[string]struct{ pod, value string }{"set": {"plain", `"nodejob"`}, "changed": {"marked", `"other"`}, "taken off": {"marked", "null"}} {
				patch := `{"metadata":{"` + field + `":{"` + key + `":` + c.value + `}}}`
				if err := edit("makes-pods", c.pod, patch); !refused(t, err) {
					t.Errorf("%s: %v", what, err)
				}
				if err := edit(theController, c.pod, patch); err != nil {
					t.Errorf("%s by the controller: %v", what, err)
				}
			}
		})
	}
	for what, patch := range map[string]string{
		"another label": `{"metadata":{"labels":{"a":"c"}}}`, "another annotation": `{"metadata":{"annotations":{"x":"y"}}}`, "a finalizer": `{"metadata":{"finalizers":["example.com/held"]}}`,
		"no owner": `{"metadata":{"ownerReferences":null}}`,
	} {
		for _, pod := range []string{"marked", "plain"} {
			if err := edit("makes-pods", pod, patch); err != nil {
				t.Errorf("%s on the pod that is %s: %v", what, pod, err)
			}
		}
	}
	agent := maps.Clone(labels)
	agent["orlop.dev/role"] = "agent"
	delete(agent, "orlop.dev/nodejob-uid")
	if _, err := podsAs(t, "makes-pods").Create(t.Context(), podWith("agent", agent, nil), trial); err != nil {
		t.Errorf("a pod with another role: %v", err)
	}
	status := `{"status":{"phase":"Failed"}}`
	if _, err := podsAs(t, "makes-pods").Patch(t.Context(), "marked", types.MergePatchType, []byte(status), trialEdit, "status"); err != nil {
		t.Errorf("what a kubelet says: %v", err)
	}
	if status := kubectl(t, "get", "validatingadmissionpolicy", "orlop-nodejob-pods", "-o", "jsonpath={.status.typeChecking}"); strings.Contains(status, "warning") {
		t.Errorf("the policy's expressions: %s", status)
	}
}
