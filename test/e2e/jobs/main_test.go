// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package jobs proves NodeJobs and NodeCronJobs on a real cluster: what is on the nodes is asked of crictl and of their files, never
// of Orlop.
package jobs

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/test/e2e/stage"
	"orlop.dev/orlop/test/lab"
)

// nodes are those of the cluster.
var nodes = []string{"node1", "node2", "node3"}

// here is a cluster with the operator installed, which the tests share; each puts back what it changes.
var here = &stage.Stage{Options: lab.Options{Name: "jobs", Nodes: len(nodes)}, Prepare: stage.InstallOperator}

func TestMain(m *testing.M) { here.Main(m) }

type fields = map[string]any

// at is a name in the registry that pods and nodes alike reach.
func at(path string) string { return lab.PlainHost + "/" + path }

// object is a manifest in the namespace default.
func object(kind, name string, spec fields) string {
	manifest, err := json.Marshal(fields{
		"apiVersion": "orlop.dev/v1alpha1", "kind": kind, "metadata": fields{"name": name, "namespace": "default"}, "spec": spec,
	})
	if err != nil {
		panic(err)
	}
	return string(manifest)
}

// start makes a NodeJob, which goes when the test ends.
func start(t *testing.T, name string, spec fields) {
	t.Helper()
	here.KubectlReads(t, object("NodeJob", name, spec), "create", "-f", "-").Want(t, 0)
	t.Cleanup(func() { deleted(t, "nodejob", name) })
}

func deleted(t *testing.T, kind, name string) {
	t.Helper()
	here.KubectlReads(t, "", "delete", kind, name, "-n", "default", "--ignore-not-found").Want(t, 0)
	stage.Eventually(t, "no store speaks of "+name, func() (bool, string) {
		for _, store := range stores(t) {
			for _, job := range store.Spec.Jobs {
				if job.Job == "default/"+name {
					return false, store.Name
				}
			}
		}
		return true, ""
	})
}

func stores(t *testing.T) []v1alpha1.ImageStore {
	t.Helper()
	var list v1alpha1.ImageStoreList
	here.KubectlReads(t, "", "get", "imagestores", "-o", "json").Want(t, 0).Decode(t, &list)
	return list.Items
}

// patch edits a NodeJob's spec.
func patch(t *testing.T, name string, spec fields) {
	t.Helper()
	text, err := json.Marshal(fields{"spec": spec})
	if err != nil {
		t.Fatal(err)
	}
	here.Kubectl(t, "patch", "nodejob", name, "-n", "default", "--type=merge", "-p", string(text))
}

func retry(t *testing.T, name, value string) {
	t.Helper()
	here.Kubectl(t, "annotate", "nodejob", name, "-n", "default", "--overwrite", v1alpha1.AnnotationRetry+"="+value)
}

func jobOf(t *testing.T, name string) v1alpha1.NodeJob {
	t.Helper()
	return stage.Get[v1alpha1.NodeJob](t, here, "nodejob", "default", name)
}

// patience is how long a job may take: the largest pulls 1500 images onto disks that other tests write to as well.
const patience = 10 * stage.Patience

// until waits until the job, as of its newest spec, is as it should be.
func until(t *testing.T, name, what string, is func(v1alpha1.NodeJob) bool) (job v1alpha1.NodeJob) {
	t.Helper()
	stage.Within(t, patience, "the job "+name+" "+what, func() (bool, string) {
		job = jobOf(t, name)
		words, _ := json.Marshal(job.Status)
		return job.Status.ObservedGeneration == job.Generation && is(job), string(words)
	})
	return job
}

// holds reports whether the job has the condition.
func holds(job v1alpha1.NodeJob, condition string) bool {
	for _, c := range job.Status.Conditions {
		if c.Type == condition {
			return c.Status == metav1.ConditionTrue
		}
	}
	return false
}

func complete(t *testing.T, name string) v1alpha1.NodeJob {
	t.Helper()
	job := until(t, name, "ends", func(j v1alpha1.NodeJob) bool {
		return holds(j, v1alpha1.ConditionComplete) || holds(j, v1alpha1.ConditionFailed)
	})
	if !holds(job, v1alpha1.ConditionComplete) {
		words, _ := json.Marshal(job.Status)
		t.Fatalf("the job %s failed: %s", name, words)
	}
	return job
}

func failed(t *testing.T, name string) v1alpha1.NodeJob {
	t.Helper()
	return until(t, name, "fails", func(j v1alpha1.NodeJob) bool { return holds(j, v1alpha1.ConditionFailed) })
}

// answer is what a node answered to a job.
func answer(t *testing.T, node string, job v1alpha1.NodeJob) v1alpha1.StoreJobStatus {
	t.Helper()
	store := stage.Get[v1alpha1.ImageStore](t, here, "imagestore", "", node)
	for _, a := range store.Status.Jobs {
		if a.UID == string(job.UID) {
			return a
		}
	}
	t.Fatalf("%s has no answer to %s: %+v", node, job.Name, store.Status.Jobs)
	return v1alpha1.StoreJobStatus{}
}

// outcome is what became of a job's pod on a node.
func outcome(t *testing.T, node string, job v1alpha1.NodeJob) v1alpha1.PodOutcome {
	t.Helper()
	store := stage.Get[v1alpha1.ImageStore](t, here, "imagestore", "", node)
	for _, entry := range store.Spec.Jobs {
		if entry.UID == string(job.UID) && entry.Outcome != nil {
			return *entry.Outcome
		}
	}
	t.Fatalf("%s has no outcome of %s: %+v", node, job.Name, store.Spec.Jobs)
	return v1alpha1.PodOutcome{}
}

// pulled brings images to a node as somebody else would.
func pulled(t *testing.T, node string, images ...string) {
	t.Helper()
	for _, image := range images {
		if _, err := here.Lab(t).Crictl(t.Context(), node, "pull", image); err != nil {
			t.Fatal(err)
		}
	}
}

// emptied takes what a test brought off the nodes.
func emptied(t *testing.T, prefix string) {
	t.Helper()
	for _, node := range nodes {
		here.Emptied(t, node, prefix)
	}
}

// task is a pod of one container, which needs no image of its own.
func task(image string, args ...string) fields {
	return fields{"spec": fields{
		"restartPolicy": "Never", "terminationGracePeriodSeconds": 0,
		"containers": []fields{{"name": "task", "image": image, "args": args}},
	}}
}

// notes is a pod that adds a line to a file of the node, and then goes on for a while.
func notes(image, file, seconds string) fields {
	mount := []fields{{"name": "host", "mountPath": "/host"}}
	return fields{"spec": fields{
		"restartPolicy": "Never", "terminationGracePeriodSeconds": 0,
		"volumes":        []fields{{"name": "host", "hostPath": fields{"path": "/var/log", "type": "Directory"}}},
		"initContainers": []fields{{"name": "note", "image": image, "args": []string{"note", "/host/" + file, "here"}, "volumeMounts": mount}},
		"containers":     []fields{{"name": "task", "image": image, "args": []string{"sleep", seconds}}},
	}}
}

// lines is how often notes ran on a node.
func lines(t *testing.T, node, file string) int {
	t.Helper()
	text, err := here.Lab(t).Exec(t.Context(), node, "cat", "/var/log/"+file)
	if err != nil && !strings.Contains(err.Error(), "No such file") {
		t.Fatal(err)
	}
	return strings.Count(text, "here\n")
}

// once fails unless notes ran once on each of these nodes.
func once(t *testing.T, file string, on ...string) {
	t.Helper()
	for _, node := range on {
		if n := lines(t, node, file); n != 1 {
			t.Errorf("on %s it ran %d times, want once", node, n)
		}
	}
}

// written puts a file on a node, for pods that need one.
func written(t *testing.T, node, path string) {
	t.Helper()
	from := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(from, []byte(fmt.Sprintln("here")), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := here.Lab(t).Put(node, from, path); err != nil {
		t.Fatal(err)
	}
}

// detached is a context that outlives the test, for what must be put back.
func detached(t *testing.T) context.Context { return context.WithoutCancel(t.Context()) }
