// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/term"
)

func aJob(name string, spec v1alpha1.NodeJobSpec, status v1alpha1.NodeJobStatus) *v1alpha1.NodeJob {
	return &v1alpha1.NodeJob{TypeMeta: ofKind("NodeJob"), Spec: spec, Status: status, ObjectMeta: metav1.ObjectMeta{
		Name: name, Namespace: "shop", UID: types.UID("uid-of-" + name), Generation: 1, CreationTimestamp: metav1.NewTime(time.Now().Add(-time.Hour)),
		Annotations: map[string]string{v1alpha1.AnnotationRequestedBy: "ann"}}}
}

func answering(node string, entry v1alpha1.StoreJob, answers ...v1alpha1.StoreJobStatus) *v1alpha1.ImageStore {
	store := aStore(node)
	store.Spec.Jobs, store.Status.Jobs = []v1alpha1.StoreJob{entry}, answers
	return store
}

// cleaned is a NodeJob that has removed an image on one node, failed on another, is at work on a third, and skips a fourth.
func cleaned(t *testing.T) *apiServer {
	remove := &v1alpha1.RemoveAction{Images: []string{"redis:8"}}
	freed := int64(2e8)
	job := aJob("clean", v1alpha1.NodeJobSpec{Remove: remove}, v1alpha1.NodeJobStatus{ObservedGeneration: 1, Action: "Remove", Phase: "Failed", Summary: "1/4", Desired: 4, Active: 1, Succeeded: 1, Failed: 1, Skipped: 1,
		Freed: "200MB", FreedBytes: &freed, Message: "1 node failed", Images: []v1alpha1.NodeJobImage{{Image: "docker.io/library/redis:8", Nodes: 1, Bytes: 2e8}},
		Conditions:   []metav1.Condition{{Type: v1alpha1.ConditionFailed, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonNodesFailed}},
		SkippedNodes: []v1alpha1.NodeJobFailure{{Node: "node-4", Reason: v1alpha1.ReasonNodeNotReady, Message: "kubelet stopped posting"}}})
	entry := v1alpha1.StoreJob{Job: "shop/clean", UID: "uid-of-clean", Remove: remove}
	done := freeing(redisGoes, webStays)
	done.UID, done.Kept = entry.UID, 1
	failed := v1alpha1.StoreJobStatus{UID: entry.UID, State: v1alpha1.JobFailed, Failed: 1, Images: []v1alpha1.JobImage{{Image: "docker.io/library/redis:8", State: v1alpha1.JobImageFailed, Reason: "NoEffect", Message: "it is still there"}}}
	return shop(t, job, answering("node-1", entry, done), answering("node-2", entry, failed), answering("node-3", entry))
}

func TestJobList(t *testing.T) {
	s := cleaned(t)
	_, out, _ := s.run("job", "list", "-n", "shop")
	want := `NAME    ACTION   DONE   FAILED   SKIPPED   FREED   STATUS   AGE
clean   Remove    1/4        1         1   200MB   Failed   60m
`
	if diff := cmp.Diff(want, out); diff != "" {
		t.Error(diff)
	}
	code, out, errs := s.run("job", "list", "clean", "-n", "shop")
	want = `NODE     STATE     REMOVED   FREED   KEPT   FAILED   DISK          TOOK   MESSAGE
node-1   done            1   200MB      1        0   20 % → 20 %      -   -
node-2   failed          0       ?      0        1   -                -   NoEffect: docker.io/library/redis:8: it is still there
node-3   waiting         -       -      -        -   -                -   -
node-4   skipped         -       -      -        -   -                -   NodeNotReady: kubelet stopped posting
`
	if diff := cmp.Diff(want, out); diff != "" || code != 0 {
		t.Errorf("exit code %d %s", code, diff)
	}
	expect(t, errs, "✗ shop/clean: Remove failed, 1 of 4 nodes done, 1 at work, 1 failed, 1 skipped, 200MB freed. 1 node failed.")
	_, out, _ = s.run("job", "list", "nj/clean", "-n", "shop", "--details")
	expect(t, out, "node-1   docker.io/library/redis:8   removed   200MB   -", "node-1   ghcr.io/acme/web:1          kept          -   in use by shop/web-1",
		"node-2   docker.io/library/redis:8   failed        -   NoEffect: it is still there")
	_, out, _ = s.run("job", "list", "clean", "-n", "shop", "-o", "json")
	var doc struct {
		Job   string
		Items []nodeAnswer
	}
	if err := json.Unmarshal([]byte(out), &doc); err != nil || doc.Job != "shop/clean" || len(doc.Items) != 4 || *doc.Items[0].Answer.FreedBytes != 2e8 {
		t.Errorf("%v %s", err, out)
	}
	code, _, errs = s.run("job", "list", "cleen", "-n", "shop")
	if code != term.ExitError {
		t.Errorf("exit code %d", code)
	}
	expect(t, errs, `NodeJob cleen does not exist in namespace shop`, `did you mean "clean"`)
}

// TestJobListOfPods: outcomes are the controller's, and of pods that are not over it is what the pods say.
func TestJobListOfPods(t *testing.T) {
	template := &corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "busybox:1"}}}}
	job := aJob("upgrade", v1alpha1.NodeJobSpec{Template: template}, v1alpha1.NodeJobStatus{ObservedGeneration: 1, Phase: "Running", Desired: 2, Active: 1, Failed: 1})
	entry := v1alpha1.StoreJob{UID: "uid-of-upgrade", Outcome: &v1alpha1.PodOutcome{State: v1alpha1.JobFailed, Reason: v1alpha1.ReasonPodFailed, Message: "no space", Pod: "upgrade-a", ExitCode: new(int32(7)), Restarts: 2}}
	pod := &corev1.Pod{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}, ObjectMeta: metav1.ObjectMeta{Name: "upgrade-b", Namespace: "shop",
		Labels: map[string]string{v1alpha1.LabelNodeJobUID: "uid-of-upgrade"}, Annotations: map[string]string{v1alpha1.AnnotationNode: "node-2"}}, Status: corev1.PodStatus{Phase: corev1.PodPending,
		ContainerStatuses: []corev1.ContainerStatus{{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: "Back-off"}}}}}}
	s := shop(t, job, answering("node-1", entry), pod)
	_, out, _ := s.run("job", "list", "upgrade", "-n", "shop")
	want := `NODE     STATE     EXIT   RESTARTS   TOOK   MESSAGE
node-1   failed       7          2      -   PodFailed: no space
node-2   pending      -          -      -   ImagePullBackOff: Back-off
`
	if diff := cmp.Diff(want, out); diff != "" {
		t.Error(diff)
	}
	code, _, errs := cleaned(t).run("job", "logs", "clean", "-n", "shop")
	if code != term.ExitError {
		t.Errorf("exit code %d", code)
	}
	expect(t, errs, "runs no pods", "kubectl orlop job list clean -n shop --details")
}

// TestJobRun makes a new NodeJob from the spec, and asks before it removes.
func TestJobRun(t *testing.T) {
	s := cleaned(t)
	s.operated(nil, answers{"node-1": freeing(redisGoes)})
	code, _, errs := s.run("job", "run", "clean", "-n", "shop")
	if code != term.ExitError || len(s.writes()) > 0 {
		t.Errorf("without a yes: exit code %d, %s", code, s.writes())
	}
	expect(t, errs, "kubectl orlop job run clean -n shop", "--yes")
	code, out, errs := s.run("job", "run", "clean", "-n", "shop", "--yes")
	made := s.jobsThere(t)
	if code != 0 || len(made) != 2 || !strings.HasPrefix(made[1].Name, "clean-") || made[1].Spec.Remove.Images[0] != "redis:8" || made[1].Annotations[v1alpha1.AnnotationRequestedBy] != "ann" {
		t.Errorf("exit code %d, %d NodeJobs: %s", code, len(made), errs)
	}
	expect(t, out, "node-1   done            1   200MB")
	expect(t, errs, "shop/clean-")
}

// TestJobRetry: the annotation is set anew, and what is awaited is the answer to it.
func TestJobRetry(t *testing.T) {
	s := cleaned(t)
	s.jobs = func(job *v1alpha1.NodeJob) {
		job = job.DeepCopy()
		job.TypeMeta = ofKind("NodeJob")
		job.Status.Retry, job.Status.Failed, job.Status.Skipped, job.Status.Succeeded, job.Status.Phase = job.Annotations[v1alpha1.AnnotationRetry], 0, 0, 4, "Complete"
		job.Status.SkippedNodes = nil
		job.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionComplete, Status: metav1.ConditionTrue}}
		s.put(job)
	}
	code, _, errs := s.run("job", "run", "clean", "--retry", "-n", "shop")
	if code != 0 || len(s.jobsThere(t)) != 1 {
		t.Errorf("exit code %d %s", code, errs)
	}
	expect(t, errs, "the failed nodes try again", "Remove complete, 4 of 4 nodes done")
	code, _, errs = s.run("job", "run", "clean", "--retry", "-n", "shop")
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	expect(t, errs, "nothing to try again")
}

func TestHistory(t *testing.T) {
	s := cleaned(t)
	scheduled := aJob("weekly-1", v1alpha1.NodeJobSpec{Prune: &v1alpha1.PruneAction{UnusedFor: "168h", Match: []string{"ghcr.io/acme/**"}}}, v1alpha1.NodeJobStatus{Phase: "Complete", Succeeded: 3, Desired: 3})
	scheduled.Labels, scheduled.Annotations = map[string]string{v1alpha1.LabelNodeCronJob: "weekly"}, nil
	scheduled.CreationTimestamp = metav1.NewTime(time.Now().Add(-50 * time.Hour))
	s.put(scheduled)
	_, out, _ := s.run("history")
	want := `AGE    ACTION   NODES   IMAGES   BYTES   STATUS     BY                WHAT
2d2h   Prune      3/3        0       -   Complete   schedule weekly   --match ghcr.io/acme/** --unused-for 168h
60m    Remove     1/4        1   200MB   Failed     ann               redis:8
`
	if diff := cmp.Diff(want, out); diff != "" {
		t.Error(diff)
	}
	_, out, _ = s.run("history", "--since", "24h", "-o", "jsonpath={.items[*].job} {.items[0].requestedBy}")
	if out != "shop/clean ann" {
		t.Errorf("as JSON: %s", out)
	}
}

func TestCronCreate(t *testing.T) {
	s := shop(t)
	code, out, errs := s.run("cron", "create", "weekly", "--schedule", "0 3 * * 0", "--time-zone", "Europe/Berlin", "prune", "--all", "--unused-for", "7d", "--pulled-before", "30d", "-l", "pool=web", "-n", "shop", "--dry-run=client", "-o", "yaml")
	if code != 0 || len(s.writes()) > 0 {
		t.Errorf("exit code %d %s", code, errs)
	}
	want := `apiVersion: orlop.dev/v1alpha1
kind: NodeCronJob
metadata:
  name: weekly
  namespace: shop
spec:
  jobTemplate:
    spec:
      nodeSelector:
        pool: web
      prune:
        pulledBefore: 30d
        unusedFor: 7d
      tolerations:
      - operator: Exists
  schedule: 0 3 * * 0
  timeZone: Europe/Berlin
`
	if diff := cmp.Diff(want, out); diff != "" {
		t.Error(diff)
	}
	code, out, errs = s.run("cron", "create", "nightly", "--schedule", "@daily", "pull", "nginx:1", "--pull-secret", "regcred", "-n", "shop")
	if code != 0 || out != "nodecronjob.orlop.dev/nightly created\n" {
		t.Errorf("exit code %d %s%s", code, out, errs)
	}
	expect(t, errs, "kubectl get nodecronjob nightly -n shop", "kubectl orlop cron run nightly -n shop")
	s.operated(nil, answers{"node-1": pulled("docker.io/library/nginx:1", 7e6)})
	code, out, errs = s.run("cron", "run", "nightly", "-n", "shop")
	made := s.jobsThere(t)
	if code != 0 || len(made) != 1 {
		t.Fatalf("exit code %d %s %s", code, out, errs)
	}
	job := made[0]
	if owner := job.OwnerReferences[0]; !strings.HasPrefix(job.Name, "nightly-") || owner.Name != "nightly" || owner.Kind != "NodeCronJob" || job.Annotations[v1alpha1.AnnotationManual] == "" || job.Labels[v1alpha1.LabelNodeCronJob] != "nightly" {
		t.Errorf("%+v", job.ObjectMeta)
	}
}

func TestCronRefusedAtOnce(t *testing.T) {
	noCluster(t)
	for name, tt := range map[string]struct {
		line string
		says []string
	}{
		"no name":           {"cron create --schedule @daily", []string{"name the NodeCronJob"}},
		"no action":         {"cron create weekly --schedule @daily", []string{"pull, rm, prune"}},
		"unknown action":    {"cron create weekly --schedule @daily prun", []string{`did you mean "prune"`}},
		"no schedule":       {"cron create weekly prune --all", []string{"--schedule"}},
		"a zone in it":      {"cron create weekly --schedule TZ=UTC prune", []string{"--time-zone"}},
		"flags of another":  {"cron create weekly --schedule @daily pull nginx --all", []string{"--all is for prune, not for pull"}},
		"policy of nothing": {"cron create weekly --schedule @daily --concurrency-policy Forbit prune", []string{`did you mean "Forbid"`}},
		"no image":          {"cron create weekly --schedule @daily rm", []string{"name at least one image"}},
		"a long name":       {"cron create " + strings.Repeat("a", 53) + " --schedule @daily prune", []string{"at most 52 characters"}},
		"cron run, no name": {"cron run", []string{"name the NodeCronJob"}},
		"job run, no name":  {"job run", []string{"name the NodeJob"}},
		"job, unknown":      {"job lst", []string{`did you mean "list"`}},
		"logs, both ways":   {"job logs a --follow --group", []string{"leave one out"}},
		"details of no job": {"job list --details", []string{"name it"}},
		"a time to live":    {"pull nginx --ttl -1s", []string{"--ttl"}},
		"status of two":     {"status nj/a nj/b", []string{`one NodeJob at a time, not also "nj/b"`}},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, err := try(t, strings.Fields(tt.line)...)
			if code != term.ExitError || out != "" || strings.Count(err, "\n") > 3 {
				t.Errorf("exit code %d, answer %q %s", code, out, err)
			}
			expect(t, err, tt.says...)
		})
	}
}

// TestKeepAPrune: a dry run says how to put the same on a schedule.
func TestKeepAPrune(t *testing.T) {
	s := shop(t)
	s.operated(answers{"node-1": freeing(redisGoes)}, nil)
	_, _, errs := s.run("prune", "--match", "docker.io/**", "--unused-for", "7d", "--node", "node-1", "--dry-run", "-n", "shop")
	expect(t, errs, "Keep it: kubectl orlop cron create weekly --schedule '0 3 * * 0' -n shop prune --match 'docker.io/**' --node node-1 --unused-for 7d\n")
}

func TestStatusOfJobs(t *testing.T) {
	s := cleaned(t)
	soon := metav1.NewTime(time.Now().Add(49 * time.Hour))
	s.put(&v1alpha1.NodeCronJob{TypeMeta: ofKind("NodeCronJob"), ObjectMeta: metav1.ObjectMeta{Name: "weekly", Namespace: "shop"}, Spec: v1alpha1.NodeCronJobSpec{Schedule: "0 3 * * 0"},
		Status: v1alpha1.NodeCronJobStatus{Action: "Prune", NextScheduleTime: &soon, LastFreed: "41.2GB", LastSuccessfulTime: &soon}})
	_, out, _ := s.run("status")
	expect(t, out, "jobs         1 failed       shop/clean", "cron jobs    1 active       next run "+soon.Local().Format("Mon 15:04")+": shop/weekly; last freed 41.2GB")
	_, out, _ = s.run("status", "ncj/weekly", "-n", "shop")
	expect(t, out, "NodeCronJob shop/weekly   Prune, 0 3 * * 0", "next run   ", "(in 2d")
	code, out, _ := s.run("status", "nodejob/clean", "-n", "shop", "--wait")
	if code != term.ExitPartial {
		t.Errorf("exit code %d", code)
	}
	expect(t, out, "node-2   failed")
}
