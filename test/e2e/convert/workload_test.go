// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"fmt"
	"strings"
	"testing"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/plan"
	"orlop.dev/orlop/test/e2e/stage"
)

// TestPrePullDaemonSet: the images of its init containers on every node, on one that is cordoned and one with a taint that it
// tolerates, too; they stay when it goes.
func TestPrePullDaemonSet(t *testing.T) {
	web, db := at("prepull/web:latest"), at("prepull/db:1")
	here.Push(t, web, db)
	emptied(t, at("prepull/"))
	here.Kubectl(t, "cordon", "node2")
	t.Cleanup(func() { here.KubectlReads(t, "", "uncordon", "node2").Want(t, 0) })
	here.Kubectl(t, "taint", "node", "node3", "example.com/gpu=yes:NoSchedule")
	t.Cleanup(func() { here.KubectlReads(t, "", "taint", "node", "node3", "example.com/gpu-").Want(t, 0) })
	_, words := applied(t, fmt.Sprintf(`
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: prepull, namespace: default}
spec:
  selector: {matchLabels: {app: prepull}}
  template:
    metadata: {labels: {app: prepull}}
    spec:
      tolerations: [{key: example.com/gpu, operator: Exists}]
      initContainers:
      - {name: web, image: %q, command: [sh, -c, "echo done; exit 0"]}
      - {name: db, image: %q, command: ["/bin/true"]}
      containers:
      - {name: pause, image: "registry.k8s.io/pause:3.10"}
`, web, db))
	onNodes(t, web, nodes...)
	onNodes(t, db, nodes...)
	stage.Eventually(t, "the cache is ready on all nodes", func() (bool, string) {
		s := cacheOf(t, "prepull").Status
		return s.ReadyNodes == 3 && s.DesiredNodes == 3, fmt.Sprintf("%+v", s)
	})
	tells(t, words, "pause:3.10 is left out")
	here.KubectlReads(t, "", "delete", "imagecache", "prepull", "-n", "default").Want(t, 0)
	stage.Eventually(t, "no store speaks of them", func() (bool, string) {
		out := here.Kubectl(t, "get", "imagestores", "-o", "jsonpath={.items[*].spec.images}")
		return !strings.Contains(out, at("prepull/")), out
	})
	onNodes(t, db, nodes...)
}

// TestDockerSocketJob: the Job that has an image deleted through Docker's socket, forced. It goes from every node but the one where
// a container runs of it, which says so: Docker would not take that away either.
func TestDockerSocketJob(t *testing.T) {
	image := "docker.io/minchou/converted:1"
	here.Push(t, image)
	emptied(t, "docker.io/minchou/converted")
	pulled(t, nodes, image)
	running(t, "socket-used", "node2", image)
	_, words := applied(t, `
apiVersion: batch/v1
kind: Job
metadata: {name: delete-image, namespace: default}
spec:
  completions: 3
  parallelism: 3
  backoffLimit: 2
  ttlSecondsAfterFinished: 600
  template:
    metadata: {labels: {app: delete-image}}
    spec:
      restartPolicy: Never
      affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [
        {topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: delete-image}}}]}}
      containers:
      - name: curl
        image: curlimages/curl:8
        command: [curl, --unix-socket, /var/run/docker.sock, -X, DELETE, "http://localhost/v1.39/images/minchou/converted:1?force=true"]
        volumeMounts: [{name: docker, mountPath: /var/run/docker.sock}]
      volumes: [{name: docker, hostPath: {path: /var/run/docker.sock}}]
`)
	job := over(t, "delete-image", v1alpha1.ConditionComplete)
	onNodes(t, image, "node2")
	if got := decisions(t, "node2", job)[image]; got != plan.ReasonInUse {
		t.Errorf("it stays on node2 because of %q", got)
	}
	if job.Status.Succeeded != 3 || job.Spec.TTLSecondsAfterFinished == nil || *job.Spec.TTLSecondsAfterFinished != 600 {
		t.Errorf("%+v", job)
	}
	tells(t, words, "completions, parallelism, backoffLimit", "forced: an image in use")
}

// TestWorkloadsFromCluster: as the API server has them, with all that it writes into them, and nothing of it is passed over or told.
func TestWorkloadsFromCluster(t *testing.T) {
	here.Apply(t, `{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "home-made"}}`)
	here.Apply(t, `
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: prepull, namespace: home-made}
spec:
  selector: {matchLabels: {app: prepull}}
  template:
    metadata: {labels: {app: prepull}}
    spec:
      nodeSelector: {pool: none}
      initContainers: [{name: web, image: "ghcr.io/acme/web:3", command: ["true"]}]
      containers: [{name: pause, image: "registry.k8s.io/pause:3.10"}]
---
apiVersion: batch/v1
kind: Job
metadata: {name: clean, namespace: home-made}
spec:
  suspend: true
  template:
    spec:
      restartPolicy: Never
      nodeSelector: {kubernetes.io/hostname: node1}
      containers: [{name: clean, image: docker, command: [docker, image, prune, -af]}]
---
apiVersion: batch/v1
kind: Job
metadata: {name: of-another-kind, namespace: home-made}
spec: {suspend: true, template: {spec: {restartPolicy: Never, containers: [{name: a, image: b}]}}}
`)
	got := here.Orlop(t, "convert", "--from-cluster", "-n", "home-made").Want(t, 0)
	tells(t, got.Out, "kind: ImageCache", "ghcr.io/acme/web:3", "pool: none", "kind: NodeJob", "prune: {}", "suspend: true")
	if strings.Contains(got.Err, "not converted") || strings.Contains(got.Out+got.Err, "of-another-kind") {
		t.Errorf("%s", got)
	}
	here.KubectlReads(t, got.Out, "apply", "--server-side", "--dry-run=server", "-f", "-").Want(t, 0)
}
