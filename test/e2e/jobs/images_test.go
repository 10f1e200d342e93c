// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package jobs

import (
	"fmt"
	"strings"
	"testing"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/plan"
	"orlop.dev/orlop/test/e2e/stage"
	"orlop.dev/orlop/test/lab"
)

// TestAnImageIsRemovedEverywhere: nobody knows how many nodes there are, and each tells what it did, in one command.
func TestAnImageIsRemovedEverywhere(t *testing.T) {
	going, used := at("gone/a:1"), at("gone/used:1")
	here.Push(t, going, used)
	for _, node := range nodes {
		pulled(t, node, going)
	}
	pulled(t, "node1", used)
	here.Apply(t, fmt.Sprintf(`{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "uses", "namespace": "default"},
	  "spec": {"nodeName": "node1", "terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": %q}]}}`, used))
	stage.Eventually(t, "the pod runs", func() (bool, string) {
		out := here.Kubectl(t, "get", "pod", "uses", "-o", "jsonpath={.status.phase}")
		return out == "Running", out
	})
	start(t, "gone", fields{"remove": fields{"images": []string{going, used}}})
	job := complete(t, "gone")
	if s := job.Status; s.Desired != 3 || s.Succeeded != 3 || s.Summary != "3/3" || s.Action != "Remove" || s.FreedBytes == nil {
		t.Errorf("status %+v", s)
	}
	for _, node := range nodes {
		if here.HasTag(t, node, going) {
			t.Errorf("%s is still on %s", going, node)
		}
	}
	if !here.HasTag(t, "node1", used) {
		t.Errorf("%s was taken from under a running pod", used)
	}
	a := answer(t, "node1", job)
	if a.Removed != 1 || a.Kept != 1 {
		t.Errorf("node1 answered %+v", a)
	}
	for _, image := range a.Images {
		if image.State == v1alpha1.JobImageKept && (image.Reason != string(plan.ReasonInUse) || !strings.Contains(image.Message, "default/uses")) {
			t.Errorf("why %s stayed: %s: %s", image.Image, image.Reason, image.Message)
		}
	}
	table := here.Orlop(t, "job", "list", "gone", "-n", "default").Want(t, 0).Out
	for _, node := range nodes {
		if !strings.Contains(table, node) {
			t.Errorf("job list has no row for %s:\n%s", node, table)
		}
	}
}

// TestADryRunIsCarriedOut: what was shown is what goes, and what came in between stays.
func TestADryRunIsCarriedOut(t *testing.T) {
	t.Cleanup(func() { emptied(t, at("dry/")) })
	shown, late := at("dry/shown:1"), at("dry/late:1")
	here.Push(t, shown, late)
	for _, node := range nodes {
		pulled(t, node, shown)
	}
	start(t, "dry", fields{"dryRun": true, "prune": fields{"match": []string{at("dry/*")}, "force": true}})
	job := complete(t, "dry")
	for _, node := range nodes {
		if !here.HasTag(t, node, shown) {
			t.Fatalf("a dry run took %s from %s", shown, node)
		}
	}
	if len(job.Status.Images) != 1 || job.Status.Images[0].Image != shown || job.Status.Images[0].Nodes != 3 {
		t.Errorf("the plan in status is %+v", job.Status.Images)
	}
	pulled(t, "node2", late)
	patch(t, "dry", fields{"dryRun": false})
	until(t, "dry", "is carried out", func(j v1alpha1.NodeJob) bool {
		return holds(j, v1alpha1.ConditionComplete) && !here.HasTag(t, "node1", shown)
	})
	for _, node := range nodes {
		if here.HasTag(t, node, shown) {
			t.Errorf("%s is still on %s", shown, node)
		}
	}
	if !here.HasTag(t, "node2", late) {
		t.Errorf("%s went, which no plan had shown", late)
	}
}

// TestAPullIsToldImageByImage: one image that nobody has fails its node and nothing else.
func TestAPullIsToldImageByImage(t *testing.T) {
	t.Cleanup(func() { emptied(t, at("pulled/")) })
	good, private := at("pulled/good:1"), lab.PrivateHost+"/pulled/private:1"
	here.Push(t, good, private)
	here.Apply(t, fmt.Sprintf(`{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "pulls", "namespace": "default"}, "type": "kubernetes.io/dockerconfigjson",
	  "stringData": {".dockerconfigjson": %q}}`, fmt.Sprintf(`{"auths": {%q: {"username": %q, "password": %q}}}`, lab.PrivateHost, lab.PrivateUser, lab.PrivatePassword)))
	start(t, "pulls", fields{"pull": fields{"images": []string{good, private}, "imagePullSecrets": []fields{{"name": "pulls"}}}})
	job := complete(t, "pulls")
	for _, node := range nodes {
		if !here.HasTag(t, node, good) || !here.HasTag(t, node, private) {
			t.Errorf("not everything is on %s: %v", node, here.Tags(t, node))
		}
		if a := answer(t, node, job); a.Pulled != 2 || a.Bytes == 0 {
			t.Errorf("%s answered %+v", node, a)
		}
	}
	start(t, "missing", fields{"failurePolicy": fields{"restartLimit": 0}, "pull": fields{"images": []string{good, at("pulled/none:1")}}})
	job = failed(t, "missing")
	if job.Status.Failed != 3 || len(job.Status.Failures) != 3 || job.Status.Failures[0].Reason != "NotFound" {
		t.Errorf("status %+v", job.Status)
	}
	if a := answer(t, "node3", job); a.Present != 1 || a.Failed != 1 {
		t.Errorf("node3 answered %+v", a)
	}
}

// TestFiveHundredImagesInOnePull: each node answers for each, in objects that stay small.
func TestFiveHundredImagesInOnePull(t *testing.T) {
	t.Cleanup(func() { emptied(t, at("many/")) })
	var images []string
	for i := range 500 {
		images = append(images, at(fmt.Sprintf("many/image-%03d:1", i)))
	}
	// One image under many names: it is the number of them that is tried here.
	for _, image := range images {
		here.PushSpec(t, image, lab.ImageSpec{Program: lab.NoProgram, Layers: []lab.Layer{{Size: 1 << 10, Shared: "many"}}})
	}
	start(t, "many", fields{"pull": fields{"images": images}})
	job := complete(t, "many")
	for _, node := range nodes {
		if a := answer(t, node, job); int(a.Pulled+a.Present) != len(images) || len(a.Images)+int(a.OmittedImages) != len(images) {
			t.Errorf("%s answered for %d pulled, %d present, and %d of them one by one", node, a.Pulled, a.Present, len(a.Images))
		}
		has := 0
		for _, tag := range here.Tags(t, node) {
			if strings.HasPrefix(tag, at("many/")) {
				has++
			}
		}
		if has != len(images) {
			t.Errorf("%d of %d images are on %s", has, len(images), node)
		}
		if size := len(here.Kubectl(t, "get", "--raw", "/apis/orlop.dev/v1alpha1/imagestores/"+node)); size > 400<<10 {
			t.Errorf("the store of %s has %d bytes, want less than 400 KB", node, size)
		}
	}
	if size := len(here.Kubectl(t, "get", "--raw", "/apis/orlop.dev/v1alpha1/namespaces/default/nodejobs/many")); size > 100<<10 {
		t.Errorf("the NodeJob has %d bytes, want less than 100 KB", size)
	}
}

// TestTwoHundredJobsAtOnce all end, and each is right.
func TestTwoHundredJobsAtOnce(t *testing.T) {
	const jobs = 200
	t.Cleanup(func() { emptied(t, at("crowd/")) })
	var manifest strings.Builder
	for i := range jobs {
		image := at(fmt.Sprintf("crowd/a%d:1", i%5))
		here.Push(t, image)
		manifest.WriteString(object("NodeJob", fmt.Sprintf("crowd-%d", i), fields{"pull": fields{"images": []string{image}}}))
	}
	here.Apply(t, manifest.String())
	stage.Within(t, patience, "every job is complete", func() (bool, string) {
		var list v1alpha1.NodeJobList
		here.KubectlReads(t, "", "get", "nodejobs", "-n", "default", "-o", "json").Want(t, 0).Decode(t, &list)
		done := 0
		for _, job := range list.Items {
			if strings.HasPrefix(job.Name, "crowd-") && holds(job, v1alpha1.ConditionComplete) && job.Status.Succeeded == 3 {
				done++
			}
		}
		return done == jobs, fmt.Sprintf("%d are", done)
	})
	for _, node := range nodes {
		for i := range 5 {
			if name := at(fmt.Sprintf("crowd/a%d:1", i)); !here.HasTag(t, node, name) {
				t.Errorf("%s is not on %s", name, node)
			}
		}
	}
}

// TestANodeUnderPressureIsServed: what is needed most there is what makes room.
func TestANodeUnderPressureIsServed(t *testing.T) {
	node := here.Spare(t, nodes)
	big := at("pressure/big:1")
	here.PushSpec(t, big, lab.ImageSpec{Layers: []lab.Layer{{Size: 64 << 20}}})
	pulled(t, node, big)
	cluster := here.Lab(t)
	if err := cluster.FillDisk(t.Context(), node, 92); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cluster.FreeDisk(detached(t), node); err != nil {
			t.Error(err)
		}
		stage.Eventually(t, "the pressure is over", func() (bool, string) { return pressure(t, node) == "False", pressure(t, node) })
	})
	stage.Eventually(t, "the node is under pressure", func() (bool, string) { return pressure(t, node) == "True", pressure(t, node) })

	more := at("pressure/more:1")
	here.PushSpec(t, more, lab.ImageSpec{Layers: []lab.Layer{{Size: 64 << 20, Shared: "more"}}})
	start(t, "squeeze", fields{"nodeNames": []string{node}, "failurePolicy": fields{"restartLimit": 0}, "pull": fields{"images": []string{more}}})
	if job := failed(t, "squeeze"); job.Status.Failures[0].Reason != "InsufficientDisk" {
		t.Errorf("a pull onto a full disk ends with %+v", job.Status.Failures)
	}
	start(t, "room", fields{"nodeNames": []string{node}, "remove": fields{"images": []string{big}}})
	// The kubelet collects too: whichever was first, the image is gone and the node has answered.
	job := complete(t, "room")
	if here.HasTag(t, node, big) {
		t.Errorf("%s is still on %s: %+v", big, node, answer(t, node, job))
	}
}

func pressure(t *testing.T, node string) string {
	t.Helper()
	return here.KubectlReads(t, "", "get", "node", node, "-o", `jsonpath={.status.conditions[?(@.type=="DiskPressure")].status}`).Want(t, 0).Out
}
