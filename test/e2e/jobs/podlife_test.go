// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package jobs

import (
	"strings"
	"testing"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/test/e2e/stage"
)

// pods are those of a job as kubectl shows them by a template, once each line.
func pods(t *testing.T, namespace, job, template string) []string {
	t.Helper()
	out := here.Kubectl(t, "get", "pods", "-n", namespace, "-l", v1alpha1.LabelNodeJob+"="+job, "-o", `jsonpath={range .items[*]}`+template+`{"\n"}{end}`)
	return strings.Fields(out)
}

// TestDeletedPodRunsAgain: that somebody deletes a pod says nothing of the node.
func TestDeletedPodRunsAgain(t *testing.T) {
	image := at("deleted/a:1")
	here.Push(t, image)
	const file = "deleted-pod"
	start(t, "deleted", fields{"nodeNames": []string{"node1", "node2"}, "template": notes(image, file, "8")})
	var first []string
	stage.Eventually(t, "both pods run", func() (bool, string) {
		first = pods(t, "default", "deleted", `{.metadata.name}/{.metadata.annotations.orlop\.dev/node}/{.status.phase}/{.metadata.uid}`)
		return len(first) == 2 && strings.Count(strings.Join(first, " "), "/Running/") == 2, strings.Join(first, " ")
	})
	for _, pod := range first {
		if part := strings.Split(pod, "/"); part[1] == "node1" {
			here.Kubectl(t, "delete", "pod", "-n", "default", part[0])
		}
	}
	job := complete(t, "deleted")
	if s := job.Status; s.Succeeded != 2 || s.Failed != 0 {
		t.Errorf("status %+v", s)
	}
	if one, two := lines(t, "node1", file), lines(t, "node2", file); one != 2 || two != 1 {
		t.Errorf("where the pod was deleted it ran %d times, elsewhere %d times", one, two)
	}
}

// TestTaintThatDrivesOut: that is the cluster's word on the node.
func TestTaintThatDrivesOut(t *testing.T) {
	image := at("driven/a:1")
	here.Push(t, image)
	node := here.Spare(t, nodes)
	start(t, "driven", fields{"nodeNames": []string{node}, "template": task(image, "sleep", "600")})
	until(t, "driven", "runs", func(v1alpha1.NodeJob) bool {
		return strings.Join(pods(t, "default", "driven", "{.status.phase}"), "") == "Running"
	})
	here.Kubectl(t, "taint", "node", node, "example.com/out=yes:NoExecute")
	t.Cleanup(func() {
		here.KubectlReads(t, "", "taint", "node", node, "example.com/out-").Want(t, 0)
		stage.Eventually(t, "the agent is back", func() (bool, string) {
			out := here.KubectlReads(t, "", "get", "pods", "-n", stage.System, "--field-selector", "spec.nodeName="+node, "-o", `jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}`).Want(t, 0).Out
			return out == "True", out
		})
	})
	job := failed(t, "driven")
	if o := outcome(t, node, job); o.Reason != "DeletionByTaintManager" || !strings.Contains(o.Message, "taint") {
		t.Errorf("the outcome is %+v", o)
	}
}

// TestImageThatIsNotThere is told while it is waited for, and is no failure yet.
func TestImageThatIsNotThere(t *testing.T) {
	start(t, "imageless", fields{"template": task(at("no/such:1"), "exit", "0")})
	job := until(t, "imageless", "tells why it does not get on", func(j v1alpha1.NodeJob) bool {
		return strings.Contains(j.Status.Message, "ImagePull")
	})
	if s := job.Status; s.Active != 3 || s.Failed != 0 {
		t.Errorf("status %+v", s)
	}
	here.Push(t, at("no/such:1"))
	complete(t, "imageless")
}

// inNamespace makes a namespace for a test, with labels and more objects.
func inNamespace(t *testing.T, name, labels, more string) {
	t.Helper()
	here.KubectlReads(t, `{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "`+name+`", "labels": {`+labels+`}}}`, "apply", "-f", "-").Want(t, 0)
	t.Cleanup(func() { here.KubectlReads(t, "", "delete", "namespace", name).Want(t, 0) }) // It hangs if a pod does.
	if more != "" {
		here.KubectlReads(t, more, "apply", "-n", name, "-f", "-").Want(t, 0)
	}
}

// jobIn makes a job in a namespace, which goes with that.
func jobIn(t *testing.T, namespace, name string, spec fields) {
	t.Helper()
	here.KubectlReads(t, strings.Replace(object("NodeJob", name, spec), `"namespace":"default"`, `"namespace":"`+namespace+`"`, 1), "create", "-f", "-").Want(t, 0)
}

func untilIn(t *testing.T, namespace, name, what string, is func(v1alpha1.NodeJob) bool) (job v1alpha1.NodeJob) {
	t.Helper()
	stage.Eventually(t, "the job "+name+" "+what, func() (bool, string) {
		job = stage.Get[v1alpha1.NodeJob](t, here, "nodejob", namespace, name)
		return is(job), job.Status.Phase + " " + job.Status.Summary + ": " + job.Status.Message
	})
	return job
}

// TestPodsThatAreRefused: what the API server will never take is told in its words; what it does not take for now is waited for.
func TestPodsThatAreRefused(t *testing.T) {
	image := at("refused/a:1")
	here.Push(t, image)
	inNamespace(t, "strict", `"pod-security.kubernetes.io/enforce": "restricted"`, "")
	jobIn(t, "strict", "refused", fields{"template": notes(image, "refused", "1")})
	job := untilIn(t, "strict", "refused", "is stalled", func(j v1alpha1.NodeJob) bool { return holds(j, v1alpha1.ConditionStalled) })
	for _, c := range job.Status.Conditions {
		if c.Type == v1alpha1.ConditionStalled && (c.Reason != v1alpha1.ReasonPodRefused || !strings.Contains(c.Message, `violates PodSecurity "restricted:latest"`)) {
			t.Errorf("why: %s: %s", c.Reason, c.Message)
		}
	}
	if made := pods(t, "strict", "refused", "{.metadata.name}"); len(made) != 0 {
		t.Errorf("made all the same: %v", made)
	}

	inNamespace(t, "narrow", "", `{"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "one"}, "spec": {"hard": {"pods": "1"}}}`)
	stage.Eventually(t, "the quota holds", func() (bool, string) {
		out := here.Kubectl(t, "get", "resourcequota", "one", "-n", "narrow", "-o", "jsonpath={.status.hard.pods}")
		return out == "1", out
	})
	jobIn(t, "narrow", "one-by-one", fields{"template": task(image, "sleep", "1")})
	job = untilIn(t, "narrow", "one-by-one", "is complete", func(j v1alpha1.NodeJob) bool { return holds(j, v1alpha1.ConditionComplete) })
	if s := job.Status; s.Succeeded != 3 {
		t.Errorf("status %+v", s)
	}
}
