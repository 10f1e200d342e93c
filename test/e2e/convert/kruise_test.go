// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package convert

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
)

// over waits until a NodeJob of the namespace default has ended, with this condition.
func over(t *testing.T, name, condition string) (job v1alpha1.NodeJob) {
	t.Helper()
	is := func(condition string) bool {
		for _, c := range job.Status.Conditions {
			if c.Type == condition {
				return c.Status == metav1.ConditionTrue
			}
		}
		return false
	}
	stage.Within(t, 2*stage.Patience, "the job "+name+" has ended", func() (bool, string) {
		job = stage.Get[v1alpha1.NodeJob](t, here, "nodejob", "default", name)
		words, _ := json.Marshal(job.Status)
		return is(v1alpha1.ConditionComplete) || is(v1alpha1.ConditionFailed), string(words)
	})
	if !is(condition) {
		t.Fatalf("the job %s has not ended as %s: %+v", name, condition, job.Status)
	}
	return job
}

// tells fails unless the words have all of these, wherever their lines break.
func tells(t *testing.T, words string, all ...string) {
	t.Helper()
	flat := strings.Join(strings.Fields(words), " ")
	for _, one := range all {
		if !strings.Contains(flat, one) {
			t.Errorf("%q is not in\n%s", one, words)
		}
	}
}

// lines is how often a pod wrote to a file of a node.
func lines(t *testing.T, node, file string) int {
	t.Helper()
	text, err := here.Lab(t).Exec(t.Context(), node, "cat", "/var/log/"+file)
	if err != nil && !strings.Contains(err.Error(), "No such file") {
		t.Fatal(err)
	}
	return strings.Count(text, "here\n")
}

// noted takes what pods wrote off the nodes when the test ends.
func noted(t *testing.T, files ...string) {
	t.Helper()
	t.Cleanup(func() {
		for _, node := range nodes {
			for _, file := range files {
				if _, err := here.Lab(t).Exec(context.WithoutCancel(t.Context()), node, "rm", "-f", "/var/log/"+file); err != nil {
					t.Error(err)
				}
			}
		}
	})
}

// pod is the template of one that writes a line to a file of its node, or, as need, fails where that file is not there.
func pod(image, verb, file string) string {
	args := fmt.Sprintf(`[%s, /host/%s]`, verb, file)
	if verb == "note" {
		args = fmt.Sprintf(`[%s, /host/%s, here]`, verb, file)
	}
	return fmt.Sprintf(`{spec: {restartPolicy: Never, terminationGracePeriodSeconds: 0,
      volumes: [{name: host, hostPath: {path: /var/log, type: Directory}}],
      containers: [{name: task, image: %q, args: %s, volumeMounts: [{name: host, mountPath: /host}]}]}}`, image, args)
}

// TestImagePullJob: an image on the nodes that are named, one after the other, a cordoned one among them, and on no other.
func TestImagePullJob(t *testing.T) {
	image := at("kruise/single:1")
	here.Push(t, image)
	emptied(t, at("kruise/single"))
	here.Kubectl(t, "cordon", "node2")
	t.Cleanup(func() { here.KubectlReads(t, "", "uncordon", "node2").Want(t, 0) })
	_, words := applied(t, fmt.Sprintf(`
apiVersion: apps.kruise.io/v1alpha1
kind: ImagePullJob
metadata: {name: single, namespace: default}
spec:
  image: %s
  parallelism: "1"
  selector: {names: [node1, node2]}
  pullPolicy: {backoffLimit: 1, timeoutSeconds: 60}
  completionPolicy: {type: Always, ttlSecondsAfterFinished: 3600}
`, image))
	job := over(t, "single", v1alpha1.ConditionComplete)
	if s := job.Status; s.Desired != 2 || s.Succeeded != 2 || job.Spec.Parallelism.IntValue() != 1 {
		t.Errorf("%+v", s)
	}
	onNodes(t, image, "node1", "node2")
	tells(t, words, "ImagePullJob default/single", "NodeJob default/single", "timeoutSeconds")
}

// TestImageListPullJob: two images on the nodes with a label. One that is nowhere fails, and keeps nothing from the other.
func TestImageListPullJob(t *testing.T) {
	image := at("kruise/list:1")
	here.Push(t, image)
	emptied(t, at("kruise/list"))
	for _, node := range []string{"node2", "node3"} {
		here.Kubectl(t, "label", "node", node, "kruise-pool=web")
		t.Cleanup(func() { here.KubectlReads(t, "", "label", "node", node, "kruise-pool-").Want(t, 0) })
	}
	applied(t, fmt.Sprintf(`
apiVersion: apps.kruise.io/v1beta1
kind: ImageListPullJob
metadata: {name: list, namespace: default}
spec:
  images: [%s, %s]
  parallelism: 2
  selector: {matchLabels: {kruise-pool: web}}
  pullPolicy: {backoffLimit: 0}
`, image, at("kruise/list-missing:1")))
	if s := over(t, "list", v1alpha1.ConditionFailed).Status; s.Desired != 2 || s.Failed != 2 || len(s.Failures) == 0 || s.Failures[0].Reason != "NotFound" {
		t.Errorf("%+v", s)
	}
	onNodes(t, image, "node2", "node3")
}

// TestImagePullJobThatGoesOn: Never becomes a cache, which brings back what was removed.
func TestImagePullJobThatGoesOn(t *testing.T) {
	image := at("kruise/ever:1")
	here.Push(t, image)
	applied(t, fmt.Sprintf(`
apiVersion: apps.kruise.io/v1beta1
kind: ImagePullJob
metadata: {name: ever, namespace: default}
spec: {image: %s, selector: {names: [node1, node3]}, completionPolicy: {type: Never}}
`, image))
	emptied(t, at("kruise/ever")) // After the cache has gone, which keeps what it pulled.
	onNodes(t, image, "node1", "node3")
	if spec := cacheOf(t, "ever").Spec; spec.RefreshInterval != "24h" || spec.RemovalPolicy != v1alpha1.RemovalPolicyKeep {
		t.Errorf("%+v", spec)
	}
	here.KubectlReads(t, "", "delete", "imagecache", "ever", "-n", "default").Want(t, 0)
	stage.Eventually(t, "no store speaks of the image", func() (bool, string) {
		out := here.Kubectl(t, "get", "imagestores", "-o", "jsonpath={.items[*].spec.images}")
		return !strings.Contains(out, image), out
	})
	onNodes(t, image, "node1", "node3")
}

// TestBroadcastJob writes a file on each node; and one that fails on a node ends there, as FailFast, which is Kruise's default, has it.
func TestBroadcastJob(t *testing.T) {
	image := at("kruise/task:1")
	here.Push(t, image)
	noted(t, "kruise-everywhere")
	applied(t, fmt.Sprintf(`
apiVersion: apps.kruise.io/v1alpha1
kind: BroadcastJob
metadata: {name: everywhere, namespace: default}
spec:
  parallelism: 2
  completionPolicy: {type: Always, activeDeadlineSeconds: 600}
  template: %s
`, pod(image, "note", "kruise-everywhere")))
	if s := over(t, "everywhere", v1alpha1.ConditionComplete).Status; s.Succeeded != 3 {
		t.Errorf("%+v", s)
	}
	for _, node := range nodes {
		if n := lines(t, node, "kruise-everywhere"); n != 1 {
			t.Errorf("on %s it ran %d times", node, n)
		}
	}

	_, words := applied(t, fmt.Sprintf(`
apiVersion: apps.kruise.io/v1alpha1
kind: BroadcastJob
metadata: {name: stops, namespace: default}
spec:
  parallelism: 1
  template: %s
`, pod(image, "need", "kruise-nowhere")))
	if s := over(t, "stops", v1alpha1.ConditionFailed).Status; s.Failed != 1 || s.Succeeded != 0 || s.Active != 0 {
		t.Errorf("one node had failed, and the others went on: %+v", s)
	}
	tells(t, words, "FailFast is Kruise's default")
}

// TestAdvancedCronJob: a run of each template, asked for now.
func TestAdvancedCronJob(t *testing.T) {
	task, image := at("kruise/task:1"), at("kruise/scheduled:1")
	here.Push(t, task, image)
	emptied(t, at("kruise/scheduled"))
	noted(t, "kruise-sweep", "kruise-once")
	const schedule = "0 0 1 1 *" // None of them is due while this runs.
	applied(t, fmt.Sprintf(`
apiVersion: apps.kruise.io/v1alpha1
kind: AdvancedCronJob
metadata: {name: sweep, namespace: default}
spec:
  schedule: "CRON_TZ=Europe/Berlin %[1]s"
  template: {broadcastJobTemplate: {metadata: {labels: {of: sweep}}, spec: {failurePolicy: {type: Continue}, template: %[2]s}}}
---
apiVersion: apps.kruise.io/v1beta1
kind: AdvancedCronJob
metadata: {name: warm, namespace: default}
spec:
  schedule: "%[1]s"
  template: {imageListPullJobTemplate: {spec: {images: [%[3]s], parallelism: 3}}}
---
apiVersion: apps.kruise.io/v1beta1
kind: AdvancedCronJob
metadata: {name: once, namespace: default}
spec:
  schedule: "%[1]s"
  template: {jobTemplate: {spec: {template: %[4]s}}}
`, schedule, pod(task, "note", "kruise-sweep"), image, pod(task, "note", "kruise-once")))

	sweep := stage.Get[v1alpha1.NodeCronJob](t, here, "nodecronjob", "default", "sweep")
	if sweep.Spec.Schedule != schedule || sweep.Spec.TimeZone == nil || *sweep.Spec.TimeZone != "Europe/Berlin" {
		t.Errorf("%+v", sweep.Spec)
	}
	here.Orlop(t, "cron", "run", "sweep", "-n", "default", "--yes").Want(t, 0)
	for _, node := range nodes {
		if n := lines(t, node, "kruise-sweep"); n != 1 {
			t.Errorf("on %s it ran %d times", node, n)
		}
	}
	warm := stage.Get[v1alpha1.NodeCronJob](t, here, "nodecronjob", "default", "warm")
	if warm.Spec.ConcurrencyPolicy != v1alpha1.ConcurrencyReplace {
		t.Errorf("%+v", warm.Spec)
	}
	here.Orlop(t, "cron", "run", "warm", "-n", "default", "--yes").Want(t, 0)
	onNodes(t, image, nodes...)

	here.Kubectl(t, "create", "job", "once-now", "-n", "default", "--from=cronjob/once")
	t.Cleanup(func() { here.KubectlReads(t, "", "delete", "job", "once-now", "-n", "default").Want(t, 0) })
	here.Kubectl(t, "wait", "job/once-now", "-n", "default", "--for=condition=Complete", "--timeout=2m")
	ran := 0
	for _, node := range nodes {
		ran += lines(t, node, "kruise-once")
	}
	if ran != 1 {
		t.Errorf("the Job ran %d times, want once somewhere", ran)
	}
}

// TestWhatCannotBeConverted leaves standard output empty, and names file and line.
func TestWhatCannotBeConverted(t *testing.T) {
	file := filepath.Join(t.TempDir(), "broken.yaml")
	text := "apiVersion: apps.kruise.io/v1alpha1\nkind: ImagePullJob\nmetadata: {name: a}\nspec: {image: nginx:1}\n---\n" +
		"apiVersion: apps.kruise.io/v1alpha1\nkind: BroadcastJob\nmetadata: {name: b}\nspec:\n  parallelism: many\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got := here.Orlop(t, "convert", "-f", file).Want(t, 1)
	if got.Out != "" {
		t.Errorf("half of it was written:\n%s", got.Out)
	}
	tells(t, got.Err, file+":10", "many", "there is no pod in it")
}
