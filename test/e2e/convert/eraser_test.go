// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/plan"
	"orlop.dev/orlop/test/e2e/stage"
)

// running starts a pod of the image on a node, which goes when the test ends.
func running(t *testing.T, name, node, image string) {
	t.Helper()
	here.Apply(t, fmt.Sprintf(`{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": %q, "namespace": "default"},
	  "spec": {"nodeName": %q, "terminationGracePeriodSeconds": 0, "containers": [{"name": "a", "image": %q, "args": ["wait"]}]}}`, name, node, image))
	stage.Eventually(t, "the pod "+name+" runs", func() (bool, string) {
		out := here.Kubectl(t, "get", "pod", name, "-n", "default", "-o", "jsonpath={.status.phase}")
		return out == "Running", out
	})
}

// pulled brings images to nodes as somebody else would.
func pulled(t *testing.T, on []string, images ...string) {
	t.Helper()
	for _, node := range on {
		for _, image := range images {
			if _, err := here.Lab(t).Crictl(t.Context(), node, "pull", image); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// decisions are what a node answered to a job, by image.
func decisions(t *testing.T, node string, job v1alpha1.NodeJob) map[string]plan.Reason {
	t.Helper()
	store := stage.Get[v1alpha1.ImageStore](t, here, "imagestore", "", node)
	for _, answer := range store.Status.Jobs {
		if answer.UID != string(job.UID) {
			continue
		}
		all := map[string]plan.Reason{}
		for _, image := range answer.Images {
			all[image.Image] = plan.Reason(image.Reason)
		}
		return all
	}
	t.Fatalf("%s has no answer to %s", node, job.Name)
	return nil
}

const eraserExclusions = `
apiVersion: v1
kind: ConfigMap
metadata: {name: excluded, namespace: eraser-system, labels: {eraser.sh/exclude.list: "true"}}
data:
  excluded.json: '{"excluded": ["docker.io/eraser-held/*"]}'
---
`

// TestEraser: what is named goes, but what is excluded, in use, or on a node that is filtered out; and "*" takes what no container uses.
func TestEraser(t *testing.T) {
	old, used, held := "docker.io/eraser/old:1", "docker.io/eraser/used:1", "docker.io/eraser-held/deep/tool:1"
	here.Push(t, old, used, held)
	for _, prefix := range []string{"docker.io/eraser/", "docker.io/eraser-held/"} {
		emptied(t, prefix)
	}
	pulled(t, nodes, old, held)
	running(t, "eraser-used", "node3", used)
	here.Kubectl(t, "label", "node", "node1", "eraser.sh/cleanup.filter=")
	t.Cleanup(func() { here.KubectlReads(t, "", "label", "node", "node1", "eraser.sh/cleanup.filter-").Want(t, 0) })

	_, words := applied(t, eraserExclusions+fmt.Sprintf(`
apiVersion: eraser.sh/v1
kind: ImageList
metadata: {name: imagelist}
spec: {images: [%s, %s, %s]}
`, old, used, held))
	job := over(t, "imagelist", v1alpha1.ConditionComplete)
	onNodes(t, old, "node1")
	onNodes(t, used, "node3")
	onNodes(t, held, nodes...)
	if got := decisions(t, "node3", job)[used]; got != plan.ReasonInUse {
		t.Errorf("%s stays on node3 because of %q", used, got)
	}
	tells(t, words, held+" is left out: it is excluded")
	here.KubectlReads(t, "", "delete", "nodejob", "imagelist", "-n", "default").Want(t, 0)

	// The same for everything that is unused, but for images that came a moment ago, which are spared and say so.
	pulled(t, []string{"node3"}, old)
	all, _ := converted(t, eraserExclusions+"apiVersion: eraser.sh/v1\nkind: ImageList\nmetadata: {name: imagelist}\nspec: {images: ['*']}\n")
	var prune v1alpha1.NodeJob
	if err := yaml.Unmarshal([]byte(all), &prune); err != nil {
		t.Fatal(err)
	}
	prune.Spec.NodeNames = []string{"node1", "node3"} // Two are enough, and node1 is filtered out.
	asGiven := prune.DeepCopy()
	asGiven.Name = "eraser-all"
	made(t, asGiven)
	reasons := decisions(t, "node3", over(t, "eraser-all", v1alpha1.ConditionComplete))
	for image, want := range map[string]plan.Reason{old: plan.ReasonRecent, used: plan.ReasonInUse, held: plan.ReasonRecent} {
		if reasons[image] != want {
			t.Errorf("%s: %q, want %q of %v", image, reasons[image], want, reasons)
		}
	}
	// Nobody waits for ten minutes here: forced, the choice is the same.
	forced := prune.DeepCopy()
	forced.Name = "eraser-forced"
	forced.Spec.Prune.Force = true
	made(t, forced)
	reasons = decisions(t, "node3", over(t, "eraser-forced", v1alpha1.ConditionComplete))
	if reasons[held] != plan.ReasonExcepted || reasons[used] != plan.ReasonInUse {
		t.Errorf("forced: %v", reasons)
	}
	onNodes(t, old, "node1")
	onNodes(t, used, "node3")
	onNodes(t, held, nodes...)
}

// made applies an object, which goes when the test ends.
func made(t *testing.T, job *v1alpha1.NodeJob) {
	t.Helper()
	text, err := json.Marshal(job)
	if err != nil {
		t.Fatal(err)
	}
	here.Apply(t, string(text))
}

// TestEraserConfig: a schedule that is taken, and, where a scanner chose, held until somebody has looked.
func TestEraserConfig(t *testing.T) {
	config := func(scanner bool) string {
		return fmt.Sprintf(`
apiVersion: eraser.sh/v1alpha3
kind: EraserConfig
manager:
  scheduling: {repeatInterval: 24h, beginImmediately: false}
  nodeFilter: {type: exclude, selectors: [eraser.sh/cleanup.filter, "pool in (a,b),clean!=yes"]}
components: {collector: {enabled: true}, scanner: {enabled: %v}, remover: {}}
`, scanner)
	}
	text, words := converted(t, config(true))
	tells(t, text, "suspend: true", "# REVIEW Eraser's scanner chose")
	tells(t, words, "the scanner is not converted")
	applied(t, eraserExclusions+config(false))
	stage.Eventually(t, "the schedule is followed", func() (bool, string) {
		cron := stage.Get[v1alpha1.NodeCronJob](t, here, "nodecronjob", "default", "eraser")
		return cron.Status.NextScheduleTime != nil, fmt.Sprintf("%+v", cron.Status)
	})
	plan := here.Orlop(t, "cron", "run", "eraser", "-n", "default", "--dry-run").Want(t, 0)
	if !strings.Contains(plan.Out+plan.Err, "node1") {
		t.Errorf("the plan of a run is %s", plan)
	}
}
