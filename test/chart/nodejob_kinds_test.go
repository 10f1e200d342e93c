// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package chart

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func longName(n int) string { return strings.Repeat("a", n) }

func hundred(what string, n int) string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf(what, i))
	}
	return "[" + strings.Join(all, ", ") + "]"
}

const pod = "template: {spec: {restartPolicy: Never, containers: [{name: a, image: nginx}]}}"

// The API server refuses what cannot be meant, and says which value and what would be right.
func TestNodeJobsThatAreRefused(t *testing.T) {
	withKinds(t)
	for label, c := range map[string]struct{ name, spec, want string }{
		"nothing":                   {spec: `{}`, want: "set exactly one of pull, remove, prune and template"},
		"two things":                {spec: "prune: {}\nremove: {images: [a]}", want: "set exactly one of pull, remove, prune and template"},
		"no images to pull":         {spec: "pull: {images: []}", want: "spec.pull.images"},
		"images left out":           {spec: "pull: {}", want: "spec.pull.images: Required value"},
		"a pattern to pull":         {spec: `pull: {images: [nginx, "docker.io/acme/*"]}`, want: `"docker.io/acme/*" is not an image reference: write it as nginx:1.29`},
		"a shell":                   {spec: `pull: {images: ["nginx;reboot"]}`, want: `"nginx;reboot" is not an image reference`},
		"half a digest":             {spec: `pull: {images: ["nginx@sha256:abcd"]}`, want: `"nginx@sha256:abcd" is not an image reference`},
		"the same twice":            {spec: `pull: {images: [nginx, nginx]}`, want: "spec.pull.images[1]: Duplicate value"},
		"too many":                  {spec: "pull: {images: " + hundred("a%d", 501) + "}", want: "spec.pull.images: Too many: 501: must have at most 500 items"},
		"a pull policy":             {spec: `pull: {images: [nginx], imagePullPolicy: Never}`, want: `Unsupported value: "Never": supported values: "Always", "IfNotPresent"`},
		"nothing to remove":         {spec: "remove: {images: []}", want: "spec.remove.images"},
		"a shell to remove":         {spec: `remove: {images: ["$(reboot)"]}`, want: `"$(reboot)" is neither an image reference, nor a pattern such as docker.io/minchou/*, nor an id`},
		"an empty name":             {spec: `remove: {images: [""]}`, want: "spec.remove.images[0]"},
		"an option":                 {spec: `remove: {images: ["--all"]}`, want: `"--all" is neither an image reference`},
		"a pattern of blanks":       {spec: `prune: {match: ["a b"]}`, want: `"a b" is neither an image reference, nor a pattern`},
		"what is kept":              {spec: `prune: {keep: ["!"]}`, want: `"!" is neither an image reference, nor a pattern`},
		"a span":                    {spec: `prune: {unusedFor: week}`, want: `unusedFor "week" is not a time span such as 168h, 7d or 90m`},
		"a negative span":           {spec: `prune: {unusedFor: "-1h"}`, want: `unusedFor "-1h" is not a time span`},
		"a date":                    {spec: `prune: {pulledBefore: "2026-11-01"}`, want: `pulledBefore "2026-11-01" is neither a time such as 2026-11-01T00:00:00Z nor a span such as 720h or 30d`},
		"disk, the wrong way round": {spec: `prune: {whenDiskAbove: 60, untilDiskBelow: 80}`, want: "untilDiskBelow is above whenDiskAbove: nothing would ever go"},
		"more than all":             {spec: `prune: {whenDiskAbove: 101}`, want: "spec.prune.whenDiskAbove: Invalid value: 101: spec.prune.whenDiskAbove in body should be less than or equal to 100"},
		"the latest none":           {spec: `prune: {keepLatest: -1}`, want: "spec.prune.keepLatest"},
		"a typo":                    {spec: `prune: {unusedfor: 7d}`, want: `unknown field "spec.prune.unusedfor"`},
		"a pod's typo":              {spec: `template: {spec: {restartPolicy: Never, container: []}}`, want: `unknown field "spec.template.spec.container"`},
		"a dry run of a pod":        {spec: pod + "\ndryRun: true", want: "dryRun is for pull, remove and prune: what a pod of a template would do nobody can tell"},
		"no restart policy":         {spec: "template: {spec: {containers: [{name: a, image: nginx}]}}", want: "template.spec.restartPolicy is required: Never or OnFailure"},
		"always":                    {spec: strings.Replace(pod, "Never", "Always", 1), want: "template.spec.restartPolicy is required: Never or OnFailure"},
		"a pod without spec":        {spec: "template: {metadata: {}}", want: "template"},
		"restarts of no restart":    {spec: pod + "\nfailurePolicy: {restartLimit: 3}", want: "failurePolicy.restartLimit is for template.spec.restartPolicy OnFailure"},
		"a node by name":            {spec: strings.Replace(pod, "{restart", "{nodeName: a, restart", 1), want: "template.spec.nodeName cannot be set: there is one pod for each chosen node"},
		"for ever, and a deadline":  {spec: "prune: {}\ncompletionPolicy: {type: Never}\nactiveDeadlineSeconds: 5", want: "activeDeadlineSeconds is for a job that ends: with completionPolicy Never, leave it out"},
		"for ever, and its end":     {spec: "prune: {}\ncompletionPolicy: {type: Never}\nttlSecondsAfterFinished: 5", want: "ttlSecondsAfterFinished is for a job that ends"},
		"a plan for ever":           {spec: "prune: {}\ncompletionPolicy: {type: Never}\ndryRun: true", want: "dryRun is for a job that ends: leave completionPolicy Never out"},
		"another completion":        {spec: "prune: {}\ncompletionPolicy: {type: Sometimes}", want: `Unsupported value: "Sometimes": supported values: "Always", "Never"`},
		"another failure":           {spec: "prune: {}\nfailurePolicy: {type: Ignore}", want: `Unsupported value: "Ignore": supported values: "Continue", "FailFast", "Pause"`},
		"negative restarts":         {spec: "prune: {}\nfailurePolicy: {restartLimit: -1}", want: "spec.failurePolicy.restartLimit"},
		"no deadline":               {spec: "prune: {}\nactiveDeadlineSeconds: 0", want: "spec.activeDeadlineSeconds"},
		"before its end":            {spec: "prune: {}\nttlSecondsAfterFinished: -1", want: "spec.ttlSecondsAfterFinished"},
		"less than none at once":    {spec: "prune: {}\nparallelism: -1", want: "parallelism -1 is neither a number from 0 to 1000000 nor a percentage from 0% to 100%"},
		// What is stored and cannot be read keeps the controller from every object of the kind.
		"more than a number":    {spec: "prune: {}\nparallelism: 9999999999", want: "parallelism 9999999999 is neither"},
		"more than a port":      {spec: strings.Replace(pod, "containers: [{", "containers: [{livenessProbe: {tcpSocket: {port: 9999999999}}, ", 1), want: "livenessProbe.tcpSocket.port"},
		"half an exponent":      {spec: strings.Replace(pod, "containers: [{", "containers: [{resources: {limits: {cpu: 1e1.5}}, ", 1), want: "resources.limits.cpu"},
		"more than all at once": {spec: "prune: {}\nparallelism: 101%", want: "parallelism 101% is neither"},
		"a number as a word":    {spec: "prune: {}\nparallelism: \"5\"", want: "parallelism 5 is neither"},
		"a node without name":   {spec: "prune: {}\nnodeNames: ['']", want: "spec.nodeNames[0]"},
		"a preference": {spec: "prune: {}\naffinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: []}}",
			want: `unknown field "spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution"`},
		"a long name": {name: longName(64), spec: "prune: {}", want: "the name of a NodeJob has at most 63 characters"},
	} {
		t.Run(label, func(t *testing.T) { refuses(t, "nodejobs", "NodeJob", c.name, c.spec, c.want) })
	}
}

func refuses(t *testing.T, resourceName, kind, name, spec, want string) {
	t.Helper()
	if name == "" {
		name = "tried"
	}
	_, err := as(t, "").Resource(resource(resourceName)).Namespace("default").Create(t.Context(), written(t, kind, name, spec), trial)
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

func TestNodeCronJobsThatAreRefused(t *testing.T) {
	withKinds(t)
	const job = "\njobTemplate: {spec: {prune: {}}}"
	const fields = " has not the five fields minute, hour, day of month, month, day of week, such as 0 3 * * 0, nor is it @daily or the like"
	const often = " would run more often than once a minute"
	for label, c := range map[string]struct{ name, spec, want string }{
		"no schedule":              {spec: "jobTemplate: {spec: {prune: {}}}", want: "spec.schedule: Required value"},
		"an empty schedule":        {spec: `schedule: ""` + job, want: "spec.schedule"},
		"a zone in it":             {spec: `schedule: "TZ=Europe/Berlin 0 3 * * *"` + job, want: `schedule "TZ=Europe/Berlin 0 3 * * *" names a time zone: write that as timeZone`},
		"cron's zone in it":        {spec: `schedule: "CRON_TZ=UTC 0 3 * * *"` + job, want: `schedule "CRON_TZ=UTC 0 3 * * *" names a time zone: write that as timeZone`},
		"a zone, and nothing":      {spec: `schedule: "TZ="` + job, want: `schedule "TZ=" names a time zone: write that as timeZone`},
		"four fields":              {spec: `schedule: "0 3 * *"` + job, want: `schedule "0 3 * *"` + fields},
		"six fields":               {spec: `schedule: "0 0 3 * * *"` + job, want: `schedule "0 0 3 * * *"` + fields},
		"words":                    {spec: `schedule: "every day"` + job, want: `schedule "every day"` + fields},
		"every, nothing":           {spec: `schedule: "@every"` + job, want: `schedule "@every"` + fields},
		"every, nonsense":          {spec: `schedule: "@every day"` + job, want: `schedule "@every day"` + fields},
		"every day":                {spec: `schedule: "@every 1d"` + job, want: `schedule "@every 1d"` + fields},
		"every, backwards":         {spec: `schedule: "@every -5m"` + job, want: `schedule "@every -5m"` + fields},
		"every second":             {spec: `schedule: "@every 1s"` + job, want: `schedule "@every 1s"` + often},
		"every, almost":            {spec: `schedule: "@every  59s999ms"` + job, want: `schedule "@every  59s999ms"` + often},
		"no such word":             {spec: `schedule: "@fortnightly"` + job, want: `schedule "@fortnightly"` + fields},
		"capitals":                 {spec: `schedule: "@Daily"` + job, want: `schedule "@Daily"` + fields},
		"too long":                 {spec: `schedule: "` + strings.Repeat("0,", 70) + `0 3 * * *"` + job, want: "spec.schedule: Too long"},
		"a shell":                  {spec: `schedule: "0 3 * * *;x"` + job, want: `schedule "0 3 * * *;x"` + fields},
		"Local":                    {spec: "schedule: '@daily'\ntimeZone: Local" + job, want: `timeZone "Local" is not the name of a time zone, such as Europe/Berlin or Etc/UTC`},
		"no zone":                  {spec: "schedule: '@daily'\ntimeZone: ''" + job, want: "spec.timeZone"},
		"a path":                   {spec: "schedule: '@daily'\ntimeZone: ../../etc/passwd" + job, want: `timeZone "../../etc/passwd" is not the name of a time zone`},
		"an absolute path":         {spec: "schedule: '@daily'\ntimeZone: /etc/localtime" + job, want: `timeZone "/etc/localtime" is not the name of a time zone`},
		"an offset":                {spec: "schedule: '@daily'\ntimeZone: '+02:00'" + job, want: `timeZone "+02:00" is not the name of a time zone`},
		"before its time":          {spec: "schedule: '@daily'\nstartingDeadlineSeconds: -1" + job, want: "spec.startingDeadlineSeconds"},
		"another policy":           {spec: "schedule: '@daily'\nconcurrencyPolicy: Queue" + job, want: `Unsupported value: "Queue": supported values: "Allow", "Forbid", "Replace"`},
		"a history of less":        {spec: "schedule: '@daily'\nsuccessfulJobsHistoryLimit: -1" + job, want: "spec.successfulJobsHistoryLimit"},
		"a history of less, bad":   {spec: "schedule: '@daily'\nfailedJobsHistoryLimit: -1" + job, want: "spec.failedJobsHistoryLimit"},
		"no job":                   {spec: "schedule: '@daily'", want: "spec.jobTemplate: Required value"},
		"a job that does nothing":  {spec: "schedule: '@daily'\njobTemplate: {spec: {}}", want: "set exactly one of pull, remove, prune and template"},
		"a job that is no good":    {spec: "schedule: '@daily'\njobTemplate: {spec: {prune: {unusedFor: week}}}", want: `unusedFor "week" is not a time span`},
		"a pod that always starts": {spec: "schedule: '@daily'\njobTemplate: {spec: {template: {spec: {containers: []}}}}", want: "template.spec.restartPolicy is required: Never or OnFailure"},
		"a job without end":        {spec: "schedule: '@daily'\njobTemplate: {spec: {prune: {}, completionPolicy: {type: Never}}}", want: "jobTemplate.spec.completionPolicy Never has no place in a schedule: no run would end"},
		"a typo":                   {spec: "schedule: '@daily'\ntimezone: UTC" + job, want: `unknown field "spec.timezone"`},
		"a long name":              {name: longName(53), spec: "schedule: '@daily'" + job, want: "the name of a NodeCronJob has at most 52 characters, as its NodeJobs add 11"},
	} {
		t.Run(label, func(t *testing.T) { refuses(t, "nodecronjobs", "NodeCronJob", c.name, c.spec, c.want) })
	}
}

// What people write for Jobs and CronJobs is taken; what they leave out is as the documents say.
func TestNodeJobsThatAreTaken(t *testing.T) {
	withKinds(t)
	for label, c := range map[string]struct {
		name, kind, spec string
		want             map[string]any
	}{
		"a prune":          {kind: "NodeJob", spec: "prune: {}", want: map[string]any{"parallelism": "100%"}},
		"a long name":      {name: longName(63), kind: "NodeJob", spec: "prune: {}"},
		"for all time":     {kind: "NodeJob", spec: "pull: {images: [nginx]}\ncompletionPolicy: {type: Never}", want: map[string]any{"pull.serviceAccountName": "default"}},
		"many images":      {kind: "NodeJob", spec: "pull: {images: " + hundred("registry.example:5000/team/app-%d:v1", 500) + "}"},
		"many nodes":       {kind: "NodeJob", spec: "prune: {}\nnodeNames: " + hundred("node-%d.example.com", 5000)},
		"ids and patterns": {kind: "NodeJob", spec: `remove: {images: ["docker.io/minchou/*", "**/tmp:*", "sha256:` + strings.Repeat("ab", 32) + `", 4bcff63911fc, "nginx@sha256:` + strings.Repeat("ab", 32) + `", "busybox:1.?"], force: true}`},
		"all of a prune": {kind: "NodeJob", spec: `prune: {match: [a], keep: ["*:latest"], filter: ["size>=1GB"], unusedFor: 7d, pulledBefore: "2026-11-01T00:00:00+01:00", keepLatest: 3, danglingOnly: true, whenDiskAbove: 80, untilDiskBelow: 60, maxRemovals: 5}
dryRun: true
parallelism: 0
activeDeadlineSeconds: 3600
ttlSecondsAfterFinished: 0
suspend: true`, want: map[string]any{"parallelism": int64(0), "ttlSecondsAfterFinished": int64(0)}},
		"a pod": {kind: "NodeJob", spec: `template:
  metadata: {labels: {a: b}, annotations: {c: d}}
  spec:
    restartPolicy: OnFailure
    hostPID: true
    initContainers: [{name: i, image: busybox, restartPolicy: Always}]
    containers: [{name: a, image: nginx, command: [sh, -c, "echo $(NODE)"], env: [{name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}], securityContext: {privileged: true}, volumeMounts: [{name: host, mountPath: /host}]}]
    volumes: [{name: host, hostPath: {path: /var, type: Directory}}, {name: img, image: {reference: "docker.io/acme/data:1"}}]
failurePolicy: {type: FailFast, restartLimit: 6}
parallelism: 10%`, want: map[string]any{"template.metadata.labels.a": "b", "template.spec.initContainers.0.restartPolicy": "Always"}},
		"a schedule": {kind: "NodeCronJob", spec: "schedule: 0 3 * * 0\njobTemplate: {spec: {prune: {}}}", want: map[string]any{
			"concurrencyPolicy": "Allow", "successfulJobsHistoryLimit": int64(3), "failedJobsHistoryLimit": int64(1), "jobTemplate.spec.parallelism": "100%"}},
		"all of a schedule": {name: longName(52), kind: "NodeCronJob", spec: `schedule: "*/15  0-6,22 ? JAN-dec mon"
timeZone: America/Argentina/Buenos_Aires
startingDeadlineSeconds: 0
concurrencyPolicy: Replace
suspend: true
successfulJobsHistoryLimit: 0
failedJobsHistoryLimit: 0
jobTemplate: {metadata: {labels: {a: b}, annotations: {c: d}}, spec: {template: {spec: {restartPolicy: Never, containers: [{name: a, image: nginx}]}}}}`,
			want: map[string]any{"jobTemplate.metadata.labels.a": "b", "failedJobsHistoryLimit": int64(0)}},
		"daily":        {kind: "NodeCronJob", spec: "schedule: '@daily'\ntimeZone: Etc/GMT+5\njobTemplate: {spec: {prune: {}}}"},
		"every minute": {kind: "NodeCronJob", spec: "schedule: '@every 1m'\njobTemplate: {spec: {prune: {}}}"},
		"every":        {kind: "NodeCronJob", spec: "schedule: '@every 1h30m'\ntimeZone: UTC\njobTemplate: {spec: {prune: {}}}"},
		"tabs":         {kind: "NodeCronJob", spec: "schedule: \"0\\t3 * * 0 \"\njobTemplate: {spec: {prune: {}}}"},
	} {
		t.Run(label, func(t *testing.T) {
			name := c.name
			if name == "" {
				name = "tried"
			}
			resourceName := strings.ToLower(c.kind) + "s"
			got, err := as(t, "").Resource(resource(resourceName)).Namespace("default").Create(t.Context(), written(t, c.kind, name, c.spec), trial)
			if err != nil {
				t.Fatal(err)
			}
			for path, want := range c.want {
				if diff := cmp.Diff(want, at(got.Object["spec"], path)); diff != "" {
					t.Errorf("%s: %s", path, diff)
				}
			}
		})
	}
}
