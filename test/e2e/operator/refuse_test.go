// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/test/e2e/stage"
	"orlop.dev/orlop/test/lab"
)

// told waits until the cache's status, or an event about it, has the words.
func told(t *testing.T, name, words string) {
	t.Helper()
	stage.Eventually(t, "it is told that "+words, func() (bool, string) {
		status, _ := json.Marshal(cacheOf(t, name).Status)
		events := kubectl(t, "get", "events", "-n", "default", "--field-selector", "involvedObject.name="+name, "-o", "jsonpath={.items[*].message}")
		return strings.Contains(string(status), words) || strings.Contains(events, words), string(status) + events
	})
}

func TestAQuotaIsNamed(t *testing.T) {
	here.Apply(t, `{"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "no-caches", "namespace": "default"}, "spec": {"hard": {"count/imagecaches.orlop.dev": "0"}}}`)
	stage.Eventually(t, "the quota is in force", func() (bool, string) {
		out := kubectl(t, "get", "resourcequota", "no-caches", "-o", `jsonpath={.status.hard}`)
		return strings.Contains(out, "imagecaches"), out
	})
	got := here.Orlop(t, "cache", "create", "quota", "--image", at("quota/a:1"))
	if got.Code != 1 || !strings.Contains(got.Err, "no-caches") || !strings.Contains(got.Err, "exceeded quota") {
		t.Errorf("the command does not name the quota: %s", got)
	}
}

// TestAMissingRightIsNamed: somebody has narrowed the controller's role.
func TestAMissingRightIsNamed(t *testing.T) {
	role := "orlop-controller"
	before := kubectl(t, "get", "clusterrole", role, "-o", "json")
	var object map[string]any
	if err := json.Unmarshal([]byte(before), &object); err != nil {
		t.Fatal(err)
	}
	rules, _ := object["rules"].([]any)
	narrowed := slices.DeleteFunc(slices.Clone(rules), func(rule any) bool {
		resources, _ := rule.(map[string]any)["resources"].([]any)
		return slices.Contains(resources, any("secrets"))
	})
	if len(narrowed) == len(rules) {
		t.Fatalf("no rule of %s is about secrets", role)
	}
	patch := func(rules []any) {
		text, _ := json.Marshal(map[string]any{"rules": rules})
		here.KubectlReads(t, "", "patch", "clusterrole", role, "--type=merge", "-p", string(text)).Want(t, 0)
	}
	patch(narrowed)
	t.Cleanup(func() { patch(rules) })

	name := lab.PrivateHost + "/rights/a:1"
	here.Push(t, name)
	here.Apply(t, secret("rights", lab.PrivatePassword))
	kept(t, "rights", map[string]any{"images": images(name), "imagePullSecrets": []any{map[string]any{"name": "rights"}}})
	told(t, "rights", "forbidden")
	patch(rules)
	ready(t, "rights")
}

// TestAnAdmissionRefusalIsNamed: a policy of the cluster's own keeps the controller from one node's store.
func TestAnAdmissionRefusalIsNamed(t *testing.T) {
	here.Apply(t, `{"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": "hands-off"},
	  "spec": {"failurePolicy": "Fail", "matchConstraints": {"resourceRules": [{"apiGroups": ["orlop.dev"], "apiVersions": ["*"], "operations": ["CREATE", "UPDATE"], "resources": ["imagestores"]}]},
	    "validations": [{"expression": "object.metadata.name != 'node2'", "message": "hands off node2"}]}}`)
	here.Apply(t, `{"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": "hands-off"},
	  "spec": {"policyName": "hands-off", "validationActions": ["Deny"]}}`)
	stage.Eventually(t, "the policy is in force", func() (bool, string) {
		out := here.KubectlReads(t, "", "patch", "imagestore", "node2", "--type=merge", "-p", `{"metadata":{"labels":{"probe":"1"}}}`, "--dry-run=server")
		return strings.Contains(out.Err, "hands off"), out.String()
	})
	name := at("admission/a:1")
	here.Push(t, name)
	kept(t, "admission", map[string]any{"images": images(name)})
	onNodes(t, name, "node1", "node3")
	told(t, "admission", "hands off node2")
	here.KubectlReads(t, "", "delete", "validatingadmissionpolicybinding", "hands-off").Want(t, 0)
	onNodes(t, name, nodes...)
	ready(t, "admission")
}

// TestTwoControllersAreOne: a second replica does nothing until the first is gone, and then it does all.
func TestTwoControllersAreOne(t *testing.T) {
	kubectl(t, "scale", "deployment/orlop-controller", "-n", system, "--replicas=2")
	kubectl(t, "rollout", "status", "deployment/orlop-controller", "-n", system, "--timeout=60s")
	t.Cleanup(func() { here.KubectlReads(t, "", "scale", "deployment/orlop-controller", "-n", system, "--replicas=1") })
	first, second := at("two/a:1"), at("two/b:1")
	here.Push(t, first, second)
	cluster := here.Lab(t)
	mark, err := cluster.AuditMark()
	if err != nil {
		t.Fatal(err)
	}
	kept(t, "two", map[string]any{"images": images(first)})
	ready(t, "two")
	writes, err := cluster.Writes(mark)
	if err != nil {
		t.Fatal(err)
	}
	specs := 0
	var told []string
	for _, w := range writes {
		told = append(told, w.Time.Format("05.000 ")+w.String())
		if w.Object.Resource == "imagestores" && w.Object.Subresource == "" && w.Response.Code < 300 {
			specs++
		}
	}
	if specs != len(nodes) {
		t.Errorf("%d specs of stores were written, want one for each node:\n%s", specs, strings.Join(told, "\n"))
	}

	leader, _, _ := strings.Cut(kubectl(t, "get", "lease", "orlop-controller", "-n", system, "-o", "jsonpath={.spec.holderIdentity}"), "_")
	killPods(t, leader)
	cache(t, "two", map[string]any{"images": images(first, second)})
	stage.Within(t, 2*stage.Patience, "the other one has taken over", func() (bool, string) {
		c := cacheOf(t, "two")
		return c.Status.ObservedGeneration == c.Generation && condition(c, v1alpha1.ConditionReady).Status == metav1.ConditionTrue, c.Status.Summary
	})
	onNodes(t, second, nodes...)
}
