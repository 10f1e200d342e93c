// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package jobs

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/plan"
	"orlop.dev/orlop/test/e2e/stage"
	"orlop.dev/orlop/test/lab"
)

// minute is how long a schedule of every minute may take to come round, and to be carried out.
const minute = time.Minute + stage.Patience

func schedule(t *testing.T, name string, spec fields) {
	t.Helper()
	here.KubectlReads(t, object("NodeCronJob", name, spec), "create", "-f", "-").Want(t, 0)
	t.Cleanup(func() {
		here.KubectlReads(t, "", "delete", "nodecronjob", name, "-n", "default", "--ignore-not-found", "--wait").Want(t, 0)
	})
}

// runs are the NodeJobs of a schedule, the oldest first.
func runs(t *testing.T, name string) []v1alpha1.NodeJob {
	t.Helper()
	var list v1alpha1.NodeJobList
	here.KubectlReads(t, "", "get", "nodejobs", "-n", "default", "-l", v1alpha1.LabelNodeCronJob+"="+name, "-o", "json").Want(t, 0).Decode(t, &list)
	slices.SortFunc(list.Items, func(a, b v1alpha1.NodeJob) int { return strings.Compare(a.Name, b.Name) })
	return list.Items
}

// TestScheduledCleanUp: every minute, of docker.io/minchou/*, with images in use among them.
func TestScheduledCleanUp(t *testing.T) {
	const many = 125
	t.Cleanup(func() { emptied(t, "docker.io/minchou/") })
	var images []string
	for i := range many {
		image := fmt.Sprintf("docker.io/minchou/app-%03d:1", i)
		here.PushSpec(t, image, lab.ImageSpec{Layers: []lab.Layer{{Size: 16 << 10}}})
		images = append(images, image)
	}
	other := "docker.io/other/app:1"
	here.Push(t, other)
	pulled(t, "node1", append(images, other)...)
	for _, node := range nodes[1:] {
		pulled(t, node, images[:3]...)
	}
	inUse := images[:2]
	here.Apply(t, fmt.Sprintf(`{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "minchou", "namespace": "default"},
	  "spec": {"nodeName": "node1", "terminationGracePeriodSeconds": 0, "containers": [{"name": "a", "image": %q}, {"name": "b", "image": %q}]}}`, inUse[0], inUse[1]))
	stage.Eventually(t, "the pod runs", func() (bool, string) {
		out := here.Kubectl(t, "get", "pod", "minchou", "-o", "jsonpath={.status.phase}")
		return out == "Running", out
	})

	// What somebody brought a moment ago is left alone, and each image says so.
	start(t, "minchou-recent", fields{"prune": fields{"match": []string{"docker.io/minchou/*"}}})
	recent := answer(t, "node1", complete(t, "minchou-recent"))
	if recent.Removed != 0 {
		t.Errorf("of images that came a moment ago %d went", recent.Removed)
	}
	decided(t, recent, many, map[plan.Reason]int{plan.ReasonRecent: many - len(inUse), plan.ReasonInUse: len(inUse)})

	schedule(t, "minchou", fields{"schedule": "* * * * *", "jobTemplate": fields{"spec": fields{"prune": fields{"match": []string{"docker.io/minchou/*"}, "force": true}}}})
	stage.Within(t, minute, "the schedule has run", func() (bool, string) {
		cron := stage.Get[v1alpha1.NodeCronJob](t, here, "nodecronjob", "default", "minchou")
		return cron.Status.LastSuccessfulTime != nil && cron.Status.LastFreedBytes != nil, fmt.Sprintf("%+v", cron.Status)
	})
	job := runs(t, "minchou")[0]
	if !holds(job, v1alpha1.ConditionComplete) {
		t.Fatalf("the first run is not complete: %+v", job.Status)
	}
	for _, image := range images {
		if has, want := here.HasTag(t, "node1", image), slices.Contains(inUse, image); has != want {
			t.Errorf("%s is on node1: %v, want %v", image, has, want)
		}
	}
	for _, node := range nodes[1:] {
		for _, image := range images[:3] {
			if here.HasTag(t, node, image) {
				t.Errorf("%s is still on %s", image, node)
			}
		}
	}
	if !here.HasTag(t, "node1", other) {
		t.Errorf("%s went, which no pattern meant", other)
	}
	a := answer(t, "node1", job)
	if int(a.Removed) != many-len(inUse) || a.FreedBytes == nil || *a.FreedBytes < int64(many-len(inUse))*(16<<10) {
		t.Errorf("node1 removed %d and freed %v", a.Removed, a.FreedBytes)
	}
	decided(t, a, many, map[plan.Reason]int{"": many - len(inUse), plan.ReasonInUse: len(inUse)})

	row := here.Kubectl(t, "get", "nodecronjob", "minchou", "-n", "default")
	cron := stage.Get[v1alpha1.NodeCronJob](t, here, "nodecronjob", "default", "minchou")
	next := cron.Status.NextScheduleTime
	if next == nil || !strings.Contains(row, next.UTC().Format(time.RFC3339)) || !strings.Contains(row, cron.Status.LastFreed) || cron.Status.LastFreed == "" {
		t.Errorf("the next run and what was freed are not in:\n%s", row)
	}
}

// decided fails unless the answer has a decision, with its reason, for each image of docker.io/minchou.
func decided(t *testing.T, a v1alpha1.StoreJobStatus, want int, reasons map[plan.Reason]int) {
	t.Helper()
	got, all := map[plan.Reason]int{}, 0
	for _, image := range a.Images {
		if strings.HasPrefix(image.Image, "docker.io/minchou/") {
			got[plan.Reason(image.Reason)]++
			all++
		}
	}
	if all != want || a.OmittedImages != 0 {
		t.Errorf("%d decisions and %d omitted, want %d and 0", all, a.OmittedImages, want)
	}
	for reason, n := range reasons {
		if got[reason] != n {
			t.Errorf("%d decisions with reason %q, want %d: %v", got[reason], reason, n, got)
		}
	}
}

// TestMaintenanceOnASchedule runs a pod on every node each minute, and once each time, although the controller is killed at it.
func TestMaintenanceOnASchedule(t *testing.T) {
	image := at("scheduled/sweep:1")
	here.Push(t, image)
	const file = "scheduled-sweep"
	schedule(t, "sweep", fields{"schedule": "* * * * *", "concurrencyPolicy": "Forbid", "jobTemplate": fields{"spec": fields{"template": notes(image, file, "1")}}})
	stage.Within(t, minute, "a run is under way", func() (bool, string) { return len(runs(t, "sweep")) > 0, "" })
	here.KillPods(t, here.ControllerPods(t)...)
	first := runs(t, "sweep")[0].Name
	complete(t, first)
	once(t, file, nodes...)
	here.Kubectl(t, "patch", "nodecronjob", "sweep", "-n", "default", "--type=merge", "-p", `{"spec": {"suspend": true}}`)
	stage.Eventually(t, "no run is due", func() (bool, string) {
		cron := stage.Get[v1alpha1.NodeCronJob](t, here, "nodecronjob", "default", "sweep")
		return cron.Status.NextScheduleTime == nil, fmt.Sprintf("%+v", cron.Status)
	})
	for _, run := range runs(t, "sweep") {
		complete(t, run.Name)
	}
	n := len(runs(t, "sweep"))
	for _, node := range nodes {
		if got := lines(t, node, file); got != n {
			t.Errorf("on %s it ran %d times in %d runs", node, got, n)
		}
	}
}

// TestABadScheduleIsNamed, by the API server as far as it can see, else in status at once.
func TestABadScheduleIsNamed(t *testing.T) {
	job := fields{"spec": fields{"prune": fields{}}}
	refused := here.KubectlReads(t, object("NodeCronJob", "bad", fields{"schedule": "TZ=UTC 0 3 * * *", "jobTemplate": job}), "create", "-f", "-")
	if refused.Code == 0 || !strings.Contains(refused.Err, "TZ=UTC 0 3 * * *") {
		t.Errorf("the API server says: %s", refused)
	}
	for name, spec := range map[string]fields{
		"sixty":    {"schedule": "60 3 * * *", "jobTemplate": job},
		"atlantis": {"schedule": "0 3 * * *", "timeZone": "Sea/Atlantis", "jobTemplate": job},
	} {
		schedule(t, name, spec)
		want := map[string]string{"sixty": "60 3 * * *", "atlantis": "Sea/Atlantis"}[name]
		stage.Within(t, 5*time.Second, "it is told what is wrong with "+want, func() (bool, string) {
			cron := stage.Get[v1alpha1.NodeCronJob](t, here, "nodecronjob", "default", name)
			for _, c := range cron.Status.Conditions {
				if c.Type == v1alpha1.ConditionStalled && c.Status == "True" && strings.Contains(c.Message, want) {
					return true, ""
				}
			}
			return false, fmt.Sprintf("%+v", cron.Status)
		})
	}
}
