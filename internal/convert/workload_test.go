// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"orlop.dev/orlop/api/v1alpha1"
)

func TestScripts(t *testing.T) {
	curl := `curl -s --unix-socket /var/run/docker.sock -X DELETE "http://localhost/v1.39/images/a:1?force=true"`
	for text, want := range map[string]script{
		"true":                          {plain: true},
		"echo 'a; b' && exit 0":         {plain: true},
		"sleep 1d":                      {plain: true, waits: true},
		"exec tail -f /dev/null":        {plain: true, waits: true},
		"nginx --version":               {plain: true},
		"docker rmi -f a:1 b":           {plain: true, deeds: []deed{{remove: []string{"a:1", "b"}, force: true}}},
		"docker image rm a:1 || true":   {plain: true, deeds: []deed{{remove: []string{"a:1"}}}},
		"docker image prune -f":         {plain: true, deeds: []deed{{dangling: true}}},
		"docker image prune -af":        {plain: true, deeds: []deed{{}}},
		"docker image prune --all -f\n": {plain: true, deeds: []deed{{}}},
		"crictl --runtime-endpoint unix:///run/containerd/containerd.sock rmi a:1": {plain: true, deeds: []deed{{remove: []string{"a:1"}, whole: true}}},
		"set -e\n# clean\ncrictl rmi --prune >/dev/null 2>&1\n":                    {plain: true, deeds: []deed{{}}},
		"nsenter -t 1 -m -- crictl rmi -q":                                         {plain: true, deeds: []deed{{}}},
		"chroot /host ctr -n k8s.io images rm docker.io/a/b:1":                     {plain: true, deeds: []deed{{remove: []string{"docker.io/a/b:1"}}}},
		"nerdctl --namespace k8s.io rmi a:1":                                       {plain: true, deeds: []deed{{remove: []string{"a:1"}}}},
		curl:                                                                       {plain: true, deeds: []deed{{remove: []string{"a:1"}, force: true}}},
		"curl -XDELETE --unix-socket /s http:/v1.41/images/ghcr.io%2Fa%2Fb:1":      {plain: true, deeds: []deed{{remove: []string{"ghcr.io/a/b:1"}}}},
		`curl --unix-socket /s -X POST 'localhost/images/prune'`:                   {plain: true, deeds: []deed{{dangling: true}}},
		"while true; do docker image prune -af; sleep 3600; done":                  {plain: true, waits: true, every: time.Hour, deeds: []deed{{}}},
		"while :\ndo\n  crictl rmi --prune\n  sleep 1h\ndone":                      {plain: true, waits: true, every: time.Hour, deeds: []deed{{}}},
		"docker rmi a:1 && sleep infinity":                                         {plain: true, waits: true, deeds: []deed{{remove: []string{"a:1"}}}},
		"sleep 999999999d":                                                         {plain: true, waits: true},
		"docker rmi $IMAGE":                                                        {},
		"docker rmi $(docker images -q)":                                           {},
		"docker rmi `cat /list`":                                                   {},
		"crictl images | grep a":                                                   {},
		"docker rmi a:1 > /log":                                                    {},
		"while true; do docker image prune -af; done":                              {},
		"docker rmi 'a:1":                                                          {},
		`docker rmi "a:$TAG"`:                                                      {},
		"docker rmi a:1 || docker rmi b:1":                                         {},
	} {
		t.Run(text, func(t *testing.T) {
			got := scriptOf(corev1.Container{Image: "busybox", Command: []string{"sh", "-c", text}})
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(script{}, deed{})); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
	// In these a command is understood, and is not one of images.
	for _, text := range []string{"docker rmi", "docker rmi -x a", "docker rmi a/*", "docker image prune -af --filter until=24h", "docker run a", "crictl rmi --prune a:1",
		"crictl ps", "ctr -n k8s.io containers rm a", "curl http://localhost/images/a", "curl --unix-socket /s http://localhost/images/a", "rm -rf /", "if true", "kubectl get pods"} {
		if s := scriptOf(corev1.Container{Command: []string{"sh", "-c", text}}); s.plain {
			t.Errorf("%q is plain: %+v", text, s)
		}
	}
}

// TestAims: what is claimed, and above all what is not.
func TestAims(t *testing.T) {
	const host = "volumes: [{name: h, hostPath: {path: /var/run/docker.sock}}]"
	for name, tt := range map[string]struct {
		kind, pod string
		want      aim
	}{
		"pre-pull":                              {"DaemonSet", "initContainers: [{name: a, image: a, command: ['true']}], containers: [{name: p, image: 'k8s.gcr.io/pause:3.2'}]", aimPull},
		"pause of another registry and tag":     {"DaemonSet", "initContainers: [{name: a, image: a, command: [sh, -c, ':']}], containers: [{name: p, image: 'host:5000/pause'}]", aimPull},
		"sleepers":                              {"DaemonSet", "containers: [{name: a, image: a, command: [sleep, 720h]}, {name: b, image: b, args: [sleep, infinity]}]", aimPull},
		"one sleeper is for people to look in":  {"DaemonSet", "containers: [{name: a, image: a, command: [sleep, infinity]}]", aimOther},
		"an agent":                              {"DaemonSet", "containers: [{name: a, image: a}]", aimOther},
		"an init container that does something": {"DaemonSet", "initContainers: [{name: a, image: a, command: [sysctl, -w, a=b]}], containers: [{name: p, image: pause}]", aimOther},
		"arguments for the image's program":     {"DaemonSet", "initContainers: [{name: a, image: a, args: [setup]}], containers: [{name: p, image: pause}]", aimOther},
		"a shell of the node":                   {"DaemonSet", "hostPID: true, initContainers: [{name: a, image: a, command: ['true']}], containers: [{name: p, image: pause}]", aimOther},
		"a folder of the node":                  {"DaemonSet", host + ", initContainers: [{name: a, image: a, command: ['true']}], containers: [{name: p, image: pause}]", aimOther},
		"hello":                                 {"Job", "containers: [{name: a, image: busybox, command: [echo, hello]}]", aimOther},
		"removal":                               {"Job", host + ", containers: [{name: a, image: docker, command: [docker, rmi, 'a:1']}]", aimRemove},
		"removal in a loop":                     {"DaemonSet", host + ", containers: [{name: a, image: docker, command: [sh, -c, 'while true; do docker image prune -af; sleep 9; done']}]", aimRemove},
		"removal by a script":                   {"CronJob", host + ", containers: [{name: a, image: docker, command: [sh, -c, 'docker rmi $(docker images -q)']}]", aimScript},
		"a script without a socket":             {"Job", "containers: [{name: a, image: docker, command: [sh, -c, 'docker rmi $(docker images -q)']}]", aimOther},
		"a cleaner of who knows what":           {"DaemonSet", host + ", containers: [{name: a, image: a, command: [/cleanup.sh]}]", aimOther},
		"a build":                               {"Job", host + ", containers: [{name: a, image: docker, command: [docker, build, .]}]", aimOther},
	} {
		t.Run(name, func(t *testing.T) {
			docs, err := Read("a.yaml", strings.NewReader(workloadOf(tt.kind, tt.pod)))
			if err != nil {
				t.Fatal(err)
			}
			if got := aimOf(docs[0]); got != tt.want {
				t.Errorf("aim %d, want %d", got, tt.want)
			}
			if unread := docs[0].root.Unread(); len(unread) != len(docs[0].root.Keys()) {
				t.Errorf("a look marked something as read: %v", unread)
			}
		})
	}
}

func workloadOf(kind, pod string) string {
	group, template := "batch/v1", "{template: {spec: {"+pod+"}}}"
	switch kind {
	case "DaemonSet":
		group = "apps/v1"
	case "CronJob":
		template = "{schedule: '@daily', jobTemplate: {spec: " + template + "}}"
	}
	return fmt.Sprintf("apiVersion: %s\nkind: %s\nmetadata: {name: x}\nspec: %s\n", group, kind, template)
}

func TestCleaners(t *testing.T) {
	const apart = "affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: kubernetes.io/hostname}]}}"
	run := func(text string) string {
		return "containers: [{name: a, image: docker, command: [sh, -c, '" + text + "']}]"
	}
	for name, tt := range map[string]struct {
		kind, pod, want string
		says            []string
	}{
		"a Job on every node":   {"Job", apart + ", " + run("docker rmi -f a:1; docker rmi a:1 b:1"), "{remove: {images: ['a:1', 'b:1'], force: true}}", []string{"REVIEW spec.remove.force", "podAntiAffinity"}},
		"a Job somewhere":       {"Job", run("docker rmi a:1"), "{remove: {images: ['a:1']}, suspend: true}", []string{"REVIEW spec.suspend: the Job ran on a node of the scheduler's choice"}},
		"a Job on one node":     {"Job", "nodeName: m1, " + run("docker rmi a:1"), "{nodeNames: [m1], remove: {images: ['a:1']}}", nil},
		"a DaemonSet":           {"DaemonSet", "tolerations: [{operator: Exists}], " + run("docker rmi a:1 && sleep infinity"), "{tolerations: [{operator: Exists}], remove: {images: ['a:1']}, completionPolicy: {type: Never}}", []string{"REVIEW spec.completionPolicy"}},
		"a DaemonSet with loop": {"DaemonSet", run("while true; do docker image prune -f; sleep 6h; done"), "{schedule: '@every 6h', jobTemplate: {spec: {prune: {danglingOnly: true}}}}", []string{"the endless loop becomes a schedule"}},
		"a CronJob":             {"CronJob", "nodeSelector: {kubernetes.io/hostname: m1}, " + run("docker system prune -af"), "{schedule: '@daily', jobTemplate: {spec: {nodeSelector: {kubernetes.io/hostname: m1}, prune: {}}}}", []string{"REVIEW spec.jobTemplate.spec.prune: system prune also removed"}},
		"a CronJob somewhere":   {"CronJob", run("crictl rmi --prune"), "{schedule: '@daily', suspend: true, jobTemplate: {spec: {prune: {}}}}", []string{"REVIEW spec.suspend"}},
		"widest prune counts":   {"Job", apart + ", " + run("docker image prune -f; docker image prune -af"), "{prune: {}}", nil},
	} {
		t.Run(name, func(t *testing.T) {
			object, said := one(t, workloadOf(tt.kind, tt.pod))
			if diff := cmp.Diff(parsed(t, tt.want), specOf(t, object)); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			has(t, said, tt.says...)
			if strings.Contains(said, "not converted:") {
				t.Errorf("a field was passed over:\n%s", said)
			}
		})
	}
	report := converted(t, []byte(workloadOf("Job", apart+", "+run("docker rmi a:1; docker image prune -af"))))
	if len(report.Drafts) != 2 || report.Drafts[1].Object.GetName() != "x-2" {
		t.Errorf("%s", told(report))
	}
}

// TestScriptsAreHeld: what is more than plain commands stays a pod, and does not run before somebody has looked.
func TestScriptsAreHeld(t *testing.T) {
	const pod = "hostPID: true, containers: [{name: a, image: docker, command: [sh, -c, 'docker images | grep minchou/old | xargs docker rmi']}]"
	object, said := one(t, workloadOf("DaemonSet", pod))
	job, ok := object.(*v1alpha1.NodeJob)
	if !ok || !job.Spec.Suspend || job.Spec.Template == nil || job.Spec.Template.Spec.RestartPolicy != corev1.RestartPolicyNever {
		t.Errorf("%+v", object)
	}
	has(t, said, `prune: {match: ["**/**minchou/old**"]}`, "REVIEW spec.suspend")
	object, _ = one(t, workloadOf("CronJob", pod))
	cron, ok := object.(*v1alpha1.NodeCronJob)
	if !ok || cron.Spec.Suspend == nil || !*cron.Spec.Suspend {
		t.Errorf("%+v", object)
	}
}

// TestPrePullByJob: a Job that is spread over the nodes, and does nothing there.
func TestPrePullByJob(t *testing.T) {
	const pod = "imagePullSecrets: [{name: s}, {name: s}], topologySpreadConstraints: [{topologyKey: kubernetes.io/hostname, maxSkew: 1, whenUnsatisfiable: DoNotSchedule}], " +
		"containers: [{name: a, image: 'a:1', command: ['true']}]"
	object, _ := one(t, workloadOf("Job", pod))
	want := "{pull: {images: ['a:1'], imagePullSecrets: [{name: s}]}}"
	if diff := cmp.Diff(parsed(t, want), specOf(t, object)); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// TestHintsAreTargets: what is proposed can be pasted.
func TestHintsAreTargets(t *testing.T) {
	for text, want := range map[string]string{
		"crictl images | grep web | xargs crictl rmi":    `prune: {match: ["**/**web**"]}`,
		"crictl images | grep -v web | xargs crictl rmi": `prune: {keep: ["**/**web**"]}`,
		"docker rmi $(docker images -q)":                 "prune: {unusedFor: 168h}, or with match: [PATTERN]",
		"docker rmi a:1":                                 "remove: {images: [a:1]}",
		"docker image prune -f":                          "prune: {danglingOnly: true}",
		"echo docker":                                    "",
		"sh /scripts/cleaner.sh":                         "", // Nothing shows that it reaches a runtime.
	} {
		if got := pruneInstead(corev1.PodSpec{Containers: []corev1.Container{{Command: []string{"sh", "-c", text}}}}); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	if got := pruneInstead(corev1.PodSpec{HostPID: true, Containers: []corev1.Container{{Args: []string{"/scripts/cleaner.sh"}}}}); got == "" {
		t.Error("a cleaner with the node's processes has no hint")
	}
}
