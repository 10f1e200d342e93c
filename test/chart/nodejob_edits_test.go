// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package chart

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// remove takes away what a test made.
func remove(t *testing.T, args ...string) {
	t.Helper()
	if _, err := cluster.Kubectl(context.WithoutCancel(t.Context()), slices.Concat([]string{"delete", "--ignore-not-found"}, args)...); err != nil {
		t.Error(err)
	}
}

const (
	fixed    = "what a NodeJob does (pull, remove, prune, template) cannot be changed"
	noDryRun = "dryRun can be turned off, to carry out what was planned, but not on"
	noRetry  = "the NodeJob is complete, and orlop.dev/retry would do nothing"
	isDone   = "the NodeJob is complete, and the change would do nothing: only ttlSecondsAfterFinished can still be changed, and dryRun turned off"
)

// An edit takes effect or is refused with the reason. Which it is may change when the job is complete.
func TestEditsOfNodeJobs(t *testing.T) {
	withRights(t)
	for name, spec := range map[string]string{
		"pulls": "pull: {images: [nginx, redis]}", "plans": "prune: {match: ['docker.io/a/*']}\ndryRun: true",
		"runs": "template: {metadata: {labels: {a: b}}, spec: {restartPolicy: OnFailure, containers: [{name: a, image: nginx}]}}\nfailurePolicy: {restartLimit: 2}",
	} {
		t.Run(name, func(t *testing.T) { testEdits(t, name, spec) })
	}
}

// changes are edits of each job: what is said while it runs, and when it is complete. Nothing: it is taken.
var changes = map[string]struct{ job, patch, running, complete string }{
	"other images":            {"pulls", `{"pull":{"images":["nginx"]}}`, fixed, fixed},
	"another secret":          {"pulls", `{"pull":{"imagePullSecrets":[{"name":"x"}]}}`, fixed, fixed},
	"another action":          {"pulls", `{"pull":null,"prune":{}}`, fixed, fixed},
	"a dry run of it":         {"pulls", `{"dryRun":true}`, noDryRun, noDryRun},
	"nodeSelector":            {"pulls", `{"nodeSelector":{"pool":"web"}}`, "", isDone},
	"affinity":                {"pulls", `{"affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[{"matchExpressions":[{"key":"a","operator":"Exists"}]}]}}}}`, "", isDone},
	"tolerations":             {"pulls", `{"tolerations":[{"operator":"Exists"}]}`, "", isDone},
	"nodeNames":               {"pulls", `{"nodeNames":["node1"]}`, "", isDone},
	"parallelism":             {"pulls", `{"parallelism":0}`, "", isDone},
	"completionPolicy":        {"pulls", `{"completionPolicy":{"type":"Never"}}`, "", isDone},
	"failurePolicy":           {"pulls", `{"failurePolicy":{"type":"FailFast"}}`, "", isDone},
	"restartLimit":            {"pulls", `{"failurePolicy":{"restartLimit":5}}`, "", isDone},
	"activeDeadlineSeconds":   {"pulls", `{"activeDeadlineSeconds":60}`, "", isDone},
	"suspend":                 {"pulls", `{"suspend":true}`, "", isDone},
	"ttlSecondsAfterFinished": {"pulls", `{"ttlSecondsAfterFinished":0}`, "", ""},
	"the same again":          {"pulls", `{"parallelism":"100%","pull":{"images":["nginx","redis"]}}`, "", ""},
	"carried out":             {"plans", `{"dryRun":false}`, "", ""},
	"carried out, no word":    {"plans", `{"dryRun":null}`, "", ""},
	"carried out elsewhere":   {"plans", `{"dryRun":null,"nodeSelector":{"pool":"web"},"parallelism":1}`, "", ""},
	"another plan":            {"plans", `{"prune":{"match":["docker.io/b/*"]}}`, fixed, fixed},
	"another, carried out":    {"plans", `{"dryRun":false,"prune":{"match":["docker.io/b/*"]}}`, fixed, fixed},
	"planned elsewhere":       {"plans", `{"nodeSelector":{"pool":"web"}}`, "", isDone},
	"another image":           {"runs", `{"template":{"spec":{"containers":[{"name":"a","image":"redis"}]}}}`, fixed, fixed},
	"another label":           {"runs", `{"template":{"metadata":{"labels":{"a":"c"}}}}`, fixed, fixed},
	"fewer restarts":          {"runs", `{"failurePolicy":{"restartLimit":0}}`, "", isDone},
}

func testEdits(t *testing.T, name, spec string) {
	jobs := as(t, "").Resource(resource("nodejobs")).Namespace("default")
	job, err := jobs.Create(t.Context(), jobOf(t, "NodeJob", name, spec), metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { remove(t, "nodejob", name) })
	try := func(label, patch, want string) {
		t.Helper()
		_, err := jobs.Patch(t.Context(), name, types.MergePatchType, []byte(patch), trialEdit)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: got %v\nwant %s", label, err, want)
		}
	}
	for label, c := range changes {
		if c.job == name {
			try(label, `{"spec":`+c.patch+`}`, c.running)
		}
	}
	const retry, noMore = `{"metadata":{"annotations":{"orlop.dev/retry":"a","a":"b"}}}`, `{"metadata":{"annotations":{"orlop.dev/retry":null}}}`
	try("retry", retry, "")
	job.Object["status"] = map[string]any{"conditions": []any{map[string]any{
		"type": "Complete", "status": "True", "reason": "NodesDone", "message": "", "lastTransitionTime": "2026-11-20T12:00:00Z",
	}}}
	if _, err := jobs.UpdateStatus(t.Context(), job, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	for label, c := range changes {
		if c.job == name {
			try(label+", complete", `{"spec":`+c.patch+`}`, c.complete)
		}
	}
	try("retry, complete", retry, noRetry)
	try("no retry, complete", noMore, "")
	try("labels, complete", `{"metadata":{"labels":{"a":"b"}}}`, "")
}

// Two who write lists of one object each keep what is theirs, where the list has keys, and learn of each other where it has none.
func TestListsAreApplied(t *testing.T) {
	withRights(t)
	crons := as(t, "").Resource(resource("nodecronjobs")).Namespace("default")
	t.Cleanup(func() { remove(t, "nodecronjob", "applied") })
	apply := func(owner, spec string) (*unstructured.Unstructured, error) {
		t.Helper()
		return crons.Apply(t.Context(), "applied", written(t, "NodeCronJob", "applied", spec), metav1.ApplyOptions{FieldManager: owner})
	}
	first := `{schedule: "@daily", jobTemplate: {spec: {nodeNames: [a], pull: {images: [nginx], imagePullSecrets: [{name: one}]}}}}`
	second := `{schedule: "@daily", jobTemplate: {spec: {nodeNames: [b], pull: {images: [redis], imagePullSecrets: [{name: two}]}}}}`
	for owner, spec := range map[string]string{"first": first, "second": second} {
		if _, err := apply(owner, spec); err != nil {
			t.Fatal(err)
		}
	}
	got, err := apply("second", `{schedule: "@daily", jobTemplate: {spec: {nodeNames: [b, c], pull: {images: [redis]}}}}`)
	if err != nil {
		t.Fatal(err)
	}
	spec := got.Object["spec"]
	for path, want := range map[string][]any{
		"jobTemplate.spec.nodeNames": {"a", "b", "c"}, "jobTemplate.spec.pull.images": {"nginx", "redis"},
		"jobTemplate.spec.pull.imagePullSecrets": {map[string]any{"name": "one"}},
	} {
		found, _ := at(spec, path).([]any)
		if len(found) > 1 {
			slices.SortFunc(found, func(a, b any) int { return strings.Compare(a.(string), b.(string)) })
		}
		if diff := cmp.Diff(want, found); diff != "" {
			t.Errorf("%s: %s", path, diff)
		}
	}
	if _, err := apply("first", strings.Replace(first, "nodeNames: [a]", "tolerations: [{operator: Exists}]", 1)); err != nil {
		t.Fatal(err)
	}
	if _, err := apply("second", strings.Replace(second, "nodeNames: [b]", "tolerations: [{key: a, operator: Exists}]", 1)); err == nil || !strings.Contains(err.Error(), `conflict with "first"`) {
		t.Errorf("two writers of tolerations: %v", err)
	}
}
