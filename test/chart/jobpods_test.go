// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package chart

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"orlop.dev/orlop/test/lab"
)

// realController pushes the controller as it is, with a stand-in for the agent beside it, under a tag of their own.
func realController(t *testing.T, tag string) {
	t.Helper()
	theCluster(t)
	program := filepath.Join(t.TempDir(), "orlop-controller")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", program, "./cmd/orlop-controller")
	build.Dir, build.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the controller: %v: %s", err, out)
	}
	for image, spec := range map[string]lab.ImageSpec{
		"orlop-controller": {Program: program, Entrypoint: []string{"/guest"}},
		"orlop-node":       {Entrypoint: []string{"/guest", "say-and-wait"}},
	} {
		if _, err := cluster.PushImage(t.Context(), "ghcr.io/orlop-dev/"+image+":"+tag, spec); err != nil {
			t.Fatal(err)
		}
	}
}

// heldPod is a pod as the controller makes it for a NodeJob, on no node: nothing but its finalizer keeps it.
func heldPod(name, job, uid string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata:
  name: %s
  namespace: default
  labels: {orlop.dev/role: nodejob, orlop.dev/nodejob: %s, orlop.dev/nodejob-uid: %s}
  finalizers: [orlop.dev/nodejob]
  ownerReferences: [{apiVersion: orlop.dev/v1alpha1, kind: NodeJob, name: %[2]s, uid: %[3]s, controller: true, blockOwnerDeletion: false}]
spec:
  nodeSelector: {no: such}
  containers: [{name: task, image: "ghcr.io/orlop-dev/orlop-node:real"}]
`, name, job, uid)
}

// jobPods are the pods of a NodeJob, each with its finalizers.
func jobPods(t *testing.T, job string) string {
	t.Helper()
	return kubectl(t, "get", "pods", "-n", "default", "-l", "orlop.dev/nodejob="+job, "-o", `jsonpath={range .items[*]}{.metadata.name}{.metadata.finalizers}{"\n"}{end}`)
}

// A NodeJob whose controller stays away until its pods are to go would keep them for ever: so the last thing that is done takes the
// finalizers away, with no other rights than the chart gives it. While the controller is there, it does so itself.
func TestNoPodHangs(t *testing.T) {
	realController(t, "real")
	for label, values := range map[string]string{"the kinds go too": "crds.keep=false", "the kinds stay": "crds.keep=true"} {
		t.Run(label, func(t *testing.T) {
			clean(t)
			helmDoes(t, "v4", "install", "orlop", folder, "--create-namespace", "--set", "image.tag=real,"+values)
			kubectl(t, "rollout", "status", "deployment/orlop-controller", "-n", namespace, "--timeout=2m")
			for _, job := range []string{"goes", "stays"} {
				await(t, "the job "+job+" is made", func() bool {
					_, err := apply(t, `
apiVersion: orlop.dev/v1alpha1
kind: NodeJob
metadata: {name: `+job+`, namespace: default}
spec: {parallelism: 0, template: {spec: {restartPolicy: Never, containers: [{name: task, image: a}]}}}
`)
					return err == nil
				})
				uid := kubectl(t, "get", "nodejob", job, "-n", "default", "-o", "jsonpath={.metadata.uid}")
				if out, err := apply(t, heldPod(job, job, uid), "--as="+theController); err != nil {
					t.Fatal(out)
				}
			}
			kubectl(t, "delete", "nodejob", "goes", "-n", "default")
			await(t, "the pod of a job that is gone goes", func() bool { return jobPods(t, "goes") == "" })
			if pods := jobPods(t, "stays"); !strings.Contains(pods, "orlop.dev/nodejob") {
				t.Errorf("the pod of a job that is there was let go: %q", pods)
			}

			helmDoes(t, "v4", "uninstall", "orlop")
			if pods := jobPods(t, "stays"); strings.Contains(pods, "orlop.dev/nodejob") {
				t.Errorf("after the uninstall a pod is held: %s", pods)
			}
			if label == "the kinds stay" {
				kubectl(t, "get", "nodejob", "stays", "-n", "default")
			}
			// Kubernetes' own collector deletes the pod with the job's kind only once it has learnt of a kind that was just made, which
			// takes it minutes at times. What it asks for then is asked for here.
			kubectl(t, "delete", "pod", "stays", "-n", "default", "--ignore-not-found", "--wait=false")
			await(t, "the pod goes when it is deleted", func() bool { return jobPods(t, "stays") == "" })
		})
	}
}
