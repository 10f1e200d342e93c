// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package jobs

import (
	"bufio"
	"strings"
	"testing"
	"time"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/test/e2e/stage"
	"orlop.dev/orlop/test/lab"
)

// TestMaintenance runs a pod on every node, with an image of its own and a folder of the host: one node is stopped, one cordoned,
// and a fourth joins in the middle. Each runs it once.
func TestMaintenance(t *testing.T) {
	cluster := here.Lab(t)
	image := at("maintenance/sweep:1")
	here.Push(t, image)
	stopped := here.Spare(t, nodes)
	var up []string
	for _, node := range nodes {
		if node != stopped {
			up = append(up, node)
		}
	}
	if err := cluster.StopNode(t.Context(), stopped); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cluster.StartNode(detached(t), stopped); err != nil {
			t.Error(err)
		}
		if err := cluster.AwaitReady(detached(t), stopped); err != nil {
			t.Error(err)
		}
	})
	stage.Within(t, 2*stage.Patience, stopped+" is not ready", func() (bool, string) { return !nodeReady(t, stopped), "" })
	here.Kubectl(t, "cordon", up[0])
	t.Cleanup(func() { here.KubectlReads(t, "", "uncordon", up[0]).Want(t, 0) })

	const file = "maintenance-sweep"
	start(t, "maintenance", fields{"completionPolicy": fields{"type": "Never"}, "template": notes(image, file, "3")})
	until(t, "maintenance", "runs on both nodes that are there", func(j v1alpha1.NodeJob) bool {
		return j.Status.Active+j.Status.Succeeded == 2 && j.Status.Skipped == 1
	})
	if _, err := cluster.AddNode(t.Context(), lab.NodeOptions{Name: "node4"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cluster.RemoveNode(detached(t), "node4"); err != nil {
			t.Error(err)
		}
		here.KubectlReads(t, "", "delete", "node", "node4", "--ignore-not-found").Want(t, 0)
	})
	job := until(t, "maintenance", "has served the fourth", func(j v1alpha1.NodeJob) bool { return j.Status.Succeeded == 3 })
	if s := job.Status; s.Desired != 4 || s.Skipped != 1 || len(s.SkippedNodes) != 1 || s.SkippedNodes[0].Node != stopped || s.SkippedNodes[0].Reason != v1alpha1.ReasonNodeNotReady {
		t.Errorf("status %+v", s)
	}
	if err := cluster.StartNode(t.Context(), stopped); err != nil {
		t.Fatal(err)
	}
	job = until(t, "maintenance", "has served the one that is back", func(j v1alpha1.NodeJob) bool { return j.Status.Succeeded == 4 })
	once(t, file, append(up, stopped, "node4")...)
	for _, node := range append(up, stopped, "node4") {
		if o := outcome(t, node, job); o.State != v1alpha1.JobSucceeded {
			t.Errorf("the outcome on %s is %+v", node, o)
		}
	}
	// Pods that have ended may go: the outcome stands in the store, and nothing runs again.
	here.Kubectl(t, "delete", "pods", "-n", "default", "-l", v1alpha1.LabelNodeJob+"=maintenance")
	here.Kubectl(t, "uncordon", up[0])
	here.Kubectl(t, "taint", "node", up[1], "example.com/full=yes:NoSchedule")
	t.Cleanup(func() { here.KubectlReads(t, "", "taint", "node", up[1], "example.com/full-").Want(t, 0) })
	start(t, "after", fields{"template": task(image, "exit", "0")})
	after := complete(t, "after") // By then, the controller has seen all that.
	if after.Status.Desired != 3 {
		t.Errorf("with a taint on one node, %d are chosen, want 3 of 4", after.Status.Desired)
	}
	once(t, file, append(up, stopped, "node4")...)
	if s := jobOf(t, "maintenance").Status; s.Succeeded != 4 {
		t.Errorf("a taint and deleted pods changed what is done: %+v", s)
	}
}

func nodeReady(t *testing.T, node string) bool {
	t.Helper()
	return here.KubectlReads(t, "", "get", "node", node, "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`).Want(t, 0).Out == "True"
}

// TestFailurePolicies: one node cannot do it, and each policy does what it says, and can be gone on from.
func TestFailurePolicies(t *testing.T) {
	image := at("policy/a:1")
	here.Push(t, image)
	// It fails on node1 until a file is there.
	flaky := func() fields {
		mount := []fields{{"name": "host", "mountPath": "/host"}}
		return fields{"spec": fields{
			"restartPolicy": "Never", "terminationGracePeriodSeconds": 0,
			"volumes":    []fields{{"name": "host", "hostPath": fields{"path": "/var/log", "type": "Directory"}}},
			"containers": []fields{{"name": "task", "image": image, "args": []string{"need", "/host/policy-flaky"}, "volumeMounts": mount}},
		}}
	}
	file := "/var/log/policy-flaky"
	written(t, "node2", file)
	written(t, "node3", file)

	start(t, "continues", fields{"template": flaky()})
	job := failed(t, "continues")
	if s := job.Status; s.Succeeded != 2 || s.Failed != 1 || s.Failures[0].Node != "node1" || s.Failures[0].Reason != v1alpha1.ReasonPodFailed {
		t.Errorf("Continue: %+v", s)
	}
	start(t, "stops", fields{"parallelism": 1, "failurePolicy": fields{"type": "FailFast"}, "template": flaky()})
	job = failed(t, "stops")
	if s := job.Status; s.Failed != 1 || s.Succeeded != 0 || s.Active != 0 {
		t.Errorf("FailFast: %+v", s)
	}
	start(t, "pauses", fields{"parallelism": 1, "failurePolicy": fields{"type": "Pause"}, "template": flaky()})
	job = until(t, "pauses", "pauses", func(j v1alpha1.NodeJob) bool { return j.Status.Phase == "Paused" })
	if s := job.Status; s.Failed != 1 || s.Succeeded != 0 || !holds(job, v1alpha1.ConditionSuspended) {
		t.Errorf("Pause: %+v", s)
	}

	// Without a cure, a policy that goes on serves the others.
	patch(t, "pauses", fields{"failurePolicy": fields{"type": "Continue"}})
	if s := failed(t, "pauses").Status; s.Succeeded != 2 || s.Failed != 1 {
		t.Errorf("after Pause became Continue: %+v", s)
	}
	written(t, "node1", file)
	for _, name := range []string{"continues", "stops", "pauses"} {
		retry(t, name, "1")
		job := until(t, name, "is complete after a retry", func(j v1alpha1.NodeJob) bool { return holds(j, v1alpha1.ConditionComplete) })
		if s := job.Status; s.Succeeded != 3 || s.Failed != 0 || s.Retry != "1" || len(s.Failures) != 0 {
			t.Errorf("%s after a retry: %+v", name, s)
		}
	}
}

// restarted runs a pod on one node whose containers are started again where they fail, so many times.
func restarted(limit int, template fields) fields {
	spec, _ := template["spec"].(fields)
	spec["restartPolicy"] = "OnFailure"
	return fields{"nodeNames": []string{"node1"}, "failurePolicy": fields{"restartLimit": limit}, "template": template}
}

// TestRestartsAreCountedPerPod against restartLimit.
func TestRestartsAreCountedPerPod(t *testing.T) {
	image := at("restarts/a:1")
	here.Push(t, image)
	start(t, "restarts", restarted(1, task(image, "exit", "3")))
	job := failed(t, "restarts")
	o := outcome(t, "node1", job)
	if o.Reason != v1alpha1.ReasonRestartLimit || o.Restarts != 1 || o.ExitCode == nil || *o.ExitCode != 3 {
		t.Errorf("the outcome is %+v", o)
	}
	stage.Eventually(t, "the pod is ended", func() (bool, string) {
		out := here.Kubectl(t, "get", "pods", "-n", "default", "-l", v1alpha1.LabelNodeJob+"=restarts", "-o", "jsonpath={.items[*].status.phase}")
		return !strings.Contains(out, "Running") && !strings.Contains(out, "Pending"), out
	})
}

// TestLogsGoOnAfterARestart: what each attempt of a container says is printed as it comes.
func TestLogsGoOnAfterARestart(t *testing.T) {
	image := at("again/a:1")
	here.Push(t, image)
	start(t, "again", restarted(5, task(image, "need", "/what/is/not/there")))
	follow := here.OrlopCommand(t, "job", "logs", "again", "--follow", "-n", "default")
	said, err := follow.StdoutPipe()
	if err == nil {
		err = follow.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	expired := time.AfterFunc(patience, func() { _ = follow.Process.Kill() })
	defer expired.Stop()
	attempts := 0
	for lines := bufio.NewScanner(said); attempts < 2 && lines.Scan(); {
		if strings.Contains(lines.Text(), "no such file or directory") {
			attempts++
		}
	}
	if attempts < 2 {
		t.Errorf("the log tells of %d attempts", attempts)
	}
	_ = follow.Process.Kill()
	_ = follow.Wait() // It was killed.
}

// TestDeadlineSuspendAndParallelism have a Job's meaning.
func TestDeadlineSuspendAndParallelism(t *testing.T) {
	image := at("bounds/a:1")
	here.Push(t, image)
	start(t, "late", fields{"activeDeadlineSeconds": 3, "template": task(image, "sleep", "600")})
	job := failed(t, "late")
	if job.Status.Message == "" || job.Status.Succeeded != 0 {
		t.Errorf("after its deadline: %+v", job.Status)
	}
	noPods(t, "late")

	start(t, "held", fields{"parallelism": 0, "template": task(image, "sleep", "600")})
	until(t, "held", "starts nothing", func(j v1alpha1.NodeJob) bool { return j.Status.Desired == 3 && j.Status.Active == 0 })
	noPods(t, "held")
	patch(t, "held", fields{"parallelism": "50%"})
	until(t, "held", "runs on half, rounded up", func(j v1alpha1.NodeJob) bool { return j.Status.Active == 2 })
	patch(t, "held", fields{"suspend": true})
	until(t, "held", "is suspended", func(j v1alpha1.NodeJob) bool { return j.Status.Active == 0 && holds(j, v1alpha1.ConditionSuspended) })
	noPods(t, "held")
	patch(t, "held", fields{"suspend": false, "parallelism": "100%"})
	until(t, "held", "goes on", func(j v1alpha1.NodeJob) bool { return j.Status.Active == 3 && j.Status.Failed == 0 })

	start(t, "brief", fields{"ttlSecondsAfterFinished": 0, "template": task(image, "exit", "0")})
	stage.Eventually(t, "the job and its pods are gone", func() (bool, string) {
		out := here.Kubectl(t, "get", "nodejobs,pods", "-n", "default", "-o", "name")
		return !strings.Contains(out, "brief"), out
	})

	start(t, "nobody", fields{"nodeSelector": fields{"no": "such"}, "template": task(image, "exit", "0")})
	if job := complete(t, "nobody"); job.Status.Desired != 0 || job.Status.Message == "" {
		t.Errorf("with no node chosen: %+v", job.Status)
	}
}

func noPods(t *testing.T, job string) {
	t.Helper()
	stage.Eventually(t, "no pod of "+job+" is left running", func() (bool, string) {
		out := here.Kubectl(t, "get", "pods", "-n", "default", "-l", v1alpha1.LabelNodeJob+"="+job, "-o", "jsonpath={.items[*].status.phase}")
		return !strings.Contains(out, "Running") && !strings.Contains(out, "Pending"), out
	})
}
