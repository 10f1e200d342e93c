// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"orlop.dev/orlop/api/v1alpha1"
)

// one converts a manifest that becomes one object, and gives its spec and all that is said of it.
func one(t *testing.T, manifest string) (object Object, said string) {
	t.Helper()
	report := converted(t, []byte(manifest))
	if len(report.Drafts) != 1 {
		t.Fatalf("%d objects:\n%s", len(report.Drafts), told(report))
	}
	said = told(report)
	for _, review := range report.Drafts[0].Reviews {
		said += fmt.Sprintf("REVIEW %s: %s\n", review.Path, review.Text)
	}
	return report.Drafts[0].Object, said
}

// specOf is the spec of an object as YAML has it, for a comparison that reads as the manifest does.
func specOf(t *testing.T, object Object) map[string]any {
	t.Helper()
	text, err := yaml.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	return parsed(t, string(text))["spec"].(map[string]any)
}

func parsed(t *testing.T, text string) (object map[string]any) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(text), &object); err != nil {
		t.Fatal(err)
	}
	return object
}

// has fails unless all of these words are there.
func has(t *testing.T, said string, words ...string) {
	t.Helper()
	for _, word := range words {
		if !strings.Contains(said, word) {
			t.Errorf("%q is not in\n%s", word, said)
		}
	}
}

func TestKruisePullJobs(t *testing.T) {
	const everywhere = "tolerations: [{operator: Exists}], "
	for name, tt := range map[string]struct {
		kind, spec string
		want       string
		says       []string
	}{
		"Kruise's defaults are written, as Orlop's differ": {
			"ImagePullJob", "{image: nginx}",
			"{" + everywhere + "parallelism: 1, pull: {images: [nginx], imagePullPolicy: IfNotPresent}, failurePolicy: {type: Continue, restartLimit: 3}}", nil,
		},
		"everything": {
			"ImagePullJob", `{image: "nginx:1", parallelism: "7", selector: {names: [a, b]}, pullPolicy: {timeoutSeconds: 9, backoffLimit: 0}, imagePullPolicy: Always,
			   pullSecrets: [s], completionPolicy: {activeDeadlineSeconds: 700, ttlSecondsAfterFinished: 0}, sandboxConfig: {labels: {a: b}}}`,
			"{" + everywhere + `nodeNames: [a, b], parallelism: 7, pull: {images: ["nginx:1"], imagePullPolicy: Always, imagePullSecrets: [{name: s}]},
			   failurePolicy: {type: Continue, restartLimit: 0}, activeDeadlineSeconds: 700, ttlSecondsAfterFinished: 0}`,
			[]string{"timeoutSeconds 9 has no counterpart", "sandboxConfig has no counterpart"},
		},
		"what stands twice, which no list of Orlop's takes": {
			"ImagePullJob", "{image: a, selector: {names: [m, m]}, pullSecrets: [s, s, t]}",
			"{" + everywhere + "nodeNames: [m], parallelism: 1, pull: {images: [a], imagePullPolicy: IfNotPresent, imagePullSecrets: [{name: s}, {name: t}]}, " +
				"failurePolicy: {type: Continue, restartLimit: 3}}", nil,
		},
		"labels and expressions": {
			"ImagePullJob", "{image: a, selector: {matchLabels: {p: q}, matchExpressions: [{key: k, operator: NotIn, values: [x]}, {key: l, operator: Exists}]}}",
			"{nodeSelector: {p: q}, affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [" +
				"{key: k, operator: NotIn, values: [x]}, {key: l, operator: Exists}]}]}}}, " + everywhere +
				"parallelism: 1, pull: {images: [a], imagePullPolicy: IfNotPresent}, failurePolicy: {type: Continue, restartLimit: 3}}", nil,
		},
		"chosen by pods: held": {
			"ImagePullJob", "{image: a, podSelector: {matchLabels: {p: q}}, parallelism: 0}",
			"{" + everywhere + "parallelism: 0, pull: {images: [a], imagePullPolicy: IfNotPresent}, failurePolicy: {type: Continue, restartLimit: 3}, suspend: true}",
			[]string{"REVIEW spec.suspend: podSelector has no counterpart"},
		},
		"negative retries are the default, and a policy that is none is Always": {
			"ImagePullJob", "{image: a, pullPolicy: {backoffLimit: -1}, imagePullPolicy: Sometimes}",
			"{" + everywhere + "parallelism: 1, pull: {images: [a], imagePullPolicy: Always}, failurePolicy: {type: Continue, restartLimit: 3}}",
			[]string{"imagePullPolicy Sometimes means Always"},
		},
		"a list, with one image twice": {
			"ImageListPullJob", "{images: [nginx, 'nginx:latest', 'b:1'], parallelism: 4}",
			"{" + everywhere + "parallelism: 4, pull: {images: [nginx, 'b:1'], imagePullPolicy: IfNotPresent}, failurePolicy: {type: Continue, restartLimit: 3}}",
			[]string{"nginx and nginx:latest are one image", "up to 8 pulls ran at once"},
		},
		"one that goes on is a cache": {
			"ImageListPullJob", "{images: ['a:1', 'b:1'], selector: {names: [m1, m2]}, completionPolicy: {type: Never}, imagePullPolicy: Always, parallelism: 3}",
			`{images: [{image: "a:1", imagePullPolicy: Always}, {image: "b:1", imagePullPolicy: Always}], affinity: {nodeAffinity:
			   {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchFields: [{key: metadata.name, operator: In, values: [m1]}]},
			   {matchFields: [{key: metadata.name, operator: In, values: [m2]}]}]}}}, ` + everywhere + `refreshInterval: 24h, maxParallelNodes: 3, removalPolicy: Keep}`,
			[]string{"→ ImageCache default/x", "pin: false"},
		},
		"one that goes on, and is held": {
			"ImagePullJob", "{image: 'a:1', completionPolicy: {type: Never}, parallelism: 0}",
			"{images: [{image: 'a:1', imagePullPolicy: IfNotPresent}], " + everywhere + "refreshInterval: 24h, maxParallelNodes: 1, removalPolicy: Keep, suspend: true}",
			[]string{"REVIEW spec.suspend: parallelism 0 held it"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			object, said := one(t, "apiVersion: apps.kruise.io/v1alpha1\nkind: "+tt.kind+"\nmetadata: {name: x}\nspec: "+tt.spec)
			if diff := cmp.Diff(parsed(t, tt.want), specOf(t, object)); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			has(t, said, tt.says...)
			if strings.Contains(said, "not converted:") {
				t.Errorf("a field was passed over:\n%s", said)
			}
		})
	}
}

func TestBroadcastJobs(t *testing.T) {
	const pod = "template: {spec: {restartPolicy: %s, containers: [{name: a, image: b}]}}"
	never, onFailure := fmt.Sprintf(pod, "Never"), fmt.Sprintf(pod, "OnFailure")
	written := func(policy string) string {
		return "template: {metadata: {}, spec: {restartPolicy: " + policy + ", containers: [{name: a, image: b, resources: {}}]}}"
	}
	for name, tt := range map[string]struct {
		spec, want string
		says       []string
	}{
		"FailFast is Kruise's default, not Orlop's": {"{" + never + "}", "{" + written("Never") + ", failurePolicy: {type: FailFast}}", []string{"FailFast is Kruise's default"}},
		"the webhook's greatest number is no bound": {"{parallelism: 2147483647, " + never + "}", "{" + written("Never") + ", failurePolicy: {type: FailFast}}", nil},
		"a percentage above all nodes":              {"{parallelism: 250%, " + never + "}", "{parallelism: 100%, " + written("Never") + ", failurePolicy: {type: FailFast}}", []string{"means all nodes"}},
		"none for now":                              {"{parallelism: 0, " + never + "}", "{parallelism: 0, " + written("Never") + ", failurePolicy: {type: FailFast}}", nil},
		"paused":                                    {"{paused: true, " + never + "}", "{" + written("Never") + ", failurePolicy: {type: FailFast}, suspend: true}", []string{"paused → suspend"}},
		"restarts count with OnFailure": {
			"{failurePolicy: {type: Continue, restartLimit: 2}, " + onFailure + "}", "{" + written("OnFailure") + ", failurePolicy: {type: Continue, restartLimit: 2}}",
			[]string{"Kruise calls a job completed even where nodes failed"},
		},
		"restarts mean nothing with Never": {
			"{failurePolicy: {type: Pause, restartLimit: 2}, " + never + "}", "{" + written("Never") + ", failurePolicy: {type: Pause}}", []string{"restartLimit is left out"},
		},
		"an end": {
			"{completionPolicy: {type: Always, activeDeadlineSeconds: 5, ttlSecondsAfterFinished: 6}, " + never + "}",
			"{" + written("Never") + ", failurePolicy: {type: FailFast}, activeDeadlineSeconds: 5, ttlSecondsAfterFinished: 6}", nil,
		},
		"no end": {
			"{completionPolicy: {type: Never, activeDeadlineSeconds: 5}, " + never + "}",
			"{" + written("Never") + ", completionPolicy: {type: Never}, failurePolicy: {type: FailFast}}", []string{"left out: Kruise refuses them with completionPolicy Never"},
		},
		"what chooses nodes stands outside of the pod": {
			`{template: {spec: {restartPolicy: Never, nodeName: m1, nodeSelector: {p: q}, tolerations: [{key: g, operator: Exists}],
			   affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: k, operator: Exists}]}]},
			     preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, preference: {matchExpressions: [{key: l, operator: Exists}]}}]}}, containers: [{name: a, image: b}]}}}`,
			`{nodeNames: [m1], nodeSelector: {p: q}, tolerations: [{key: g, operator: Exists}],
			   affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: k, operator: Exists}]}]}}},
			   template: {metadata: {}, spec: {restartPolicy: Never, containers: [{name: a, image: b, resources: {}}],
			     affinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, preference: {matchExpressions: [{key: l, operator: Exists}]}}]}}}},
			   failurePolicy: {type: FailFast}}`, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			object, said := one(t, "apiVersion: apps.kruise.io/v1beta1\nkind: BroadcastJob\nmetadata: {name: x}\nspec: "+tt.spec)
			if diff := cmp.Diff(parsed(t, tt.want), specOf(t, object)); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			has(t, said, tt.says...)
		})
	}
}

// TestWhatHasEnded is not done again unasked, and what a controller made is converted with what it was made from.
func TestWhatHasEnded(t *testing.T) {
	const spec = "\nspec: {template: {spec: {restartPolicy: Never, containers: [{name: a, image: b}]}}}\n"
	object, said := one(t, "apiVersion: apps.kruise.io/v1alpha1\nkind: BroadcastJob\nmetadata: {name: x}"+spec+
		"status: {phase: completed, conditions: [{type: Complete, status: 'True'}], completionTime: '2026-11-20T10:00:00Z'}")
	job, ok := object.(*v1alpha1.NodeJob)
	if !ok || !job.Spec.Suspend {
		t.Errorf("%+v", object)
	}
	has(t, said, "REVIEW spec.suspend: the original has ended")
	object, _ = one(t, "apiVersion: apps.kruise.io/v1alpha1\nkind: BroadcastJob\nmetadata: {name: x}"+spec+"status: {phase: running, completionTime: null}")
	if job, ok := object.(*v1alpha1.NodeJob); !ok || job.Spec.Suspend {
		t.Errorf("%+v", object)
	}
	report := converted(t, []byte("apiVersion: apps.kruise.io/v1beta1\nkind: ImagePullJob\nmetadata:\n  name: x\n  ownerReferences: "+
		"[{apiVersion: apps.kruise.io/v1beta1, kind: ImageListPullJob, name: y, controller: true}]\nspec: {image: a}"))
	if len(report.Drafts) != 0 {
		t.Errorf("%+v", report.Drafts)
	}
	has(t, told(report), "made by ImageListPullJob y")
}

func TestKruiseSchedules(t *testing.T) {
	for name, tt := range map[string]struct {
		spec, schedule, zone string
		says                 []string
	}{
		"plain":              {`schedule: "0  3 * * *"`, "0 3 * * *", "", []string{"no timeZone"}},
		"a zone":             {`schedule: "0 3 * * *", timeZone: Asia/Shanghai`, "0 3 * * *", "Asia/Shanghai", nil},
		"a zone inside":      {`schedule: "CRON_TZ=Asia/Shanghai 0 3 * * *"`, "0 3 * * *", "Asia/Shanghai", nil},
		"another way":        {`schedule: "TZ=UTC @daily"`, "@daily", "UTC", nil},
		"every":              {`schedule: "@every 90m"`, "@every 1h30m", "", nil},
		"every day":          {`schedule: "@every 24h"`, "@every 24h", "", nil},
		"every few seconds":  {`schedule: "@every 10s"`, "@every 1m", "", []string{"REVIEW spec.schedule: it was every 10s"}},
		"seconds over hours": {`schedule: "@every 2h0m5s"`, "@every 2h0m5s", "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			object, said := one(t, "apiVersion: apps.kruise.io/v1beta1\nkind: AdvancedCronJob\nmetadata: {name: x}\nspec: {"+tt.spec+
				", template: {imageListPullJobTemplate: {spec: {images: [a]}}}}")
			cron, ok := object.(*v1alpha1.NodeCronJob)
			if !ok {
				t.Fatalf("%T", object)
			}
			zone := ""
			if cron.Spec.TimeZone != nil {
				zone = *cron.Spec.TimeZone
			}
			if cron.Spec.Schedule != tt.schedule || zone != tt.zone || cron.Spec.ConcurrencyPolicy != v1alpha1.ConcurrencyReplace {
				t.Errorf("%q %q %q", cron.Spec.Schedule, zone, cron.Spec.ConcurrencyPolicy)
			}
			has(t, said, tt.says...)
		})
	}
}

// TestKruiseRefused: what Kruise would not take either, or what cannot be read, is an error with its line.
func TestKruiseRefused(t *testing.T) {
	const pod = "template: {spec: {restartPolicy: Never, containers: [{name: a, image: b}]}}"
	for name, tt := range map[string]struct{ kind, spec, want string }{
		"no image":                   {"ImagePullJob", "{}", "empty image reference"},
		"a bad image":                {"ImagePullJob", "{image: 'a;b'}", "is not an image reference"},
		"a percentage":               {"ImagePullJob", "{image: a, parallelism: 10%}", "a whole number from 0"},
		"names beside labels":        {"ImagePullJob", "{image: a, selector: {names: [n], matchLabels: {a: b}}}", "names stand beside labels"},
		"an operator":                {"ImagePullJob", "{image: a, selector: {matchExpressions: [{key: a, operator: Gt}]}}", "In, NotIn, Exists or DoesNotExist"},
		"an operator without values": {"ImagePullJob", "{image: a, selector: {matchExpressions: [{key: a, operator: In}]}}", "values: In needs some"},
		"an operator with too many":  {"ImagePullJob", "{image: a, selector: {matchExpressions: [{key: a, operator: Exists, values: [b]}]}}", "values: Exists takes none"},
		"an unknown completion":      {"ImagePullJob", "{image: a, completionPolicy: {type: Perhaps}}", "neither Always nor Never"},
		"an empty list":              {"ImageListPullJob", "{images: []}", "there is no image in it"},
		"no pod":                     {"BroadcastJob", "{}", "there is no pod in it"},
		"a pod with a strange field": {"BroadcastJob", "{template: {spec: {container: []}}}", "container"},
		"a negative parallelism":     {"BroadcastJob", "{parallelism: -1, " + pod + "}", "a number from 0 or a percentage"},
		"an unknown failure policy":  {"BroadcastJob", "{failurePolicy: {type: Shrug}, " + pod + "}", "none of Continue, FailFast and Pause"},
		"no template":                {"AdvancedCronJob", "{schedule: '@daily', template: {}}", "exactly one of"},
		"two templates":              {"AdvancedCronJob", "{schedule: '@daily', template: {jobTemplate: {}, broadcastJobTemplate: {}}}", "exactly one of"},
		"a schedule that is none":    {"AdvancedCronJob", "{schedule: often, template: {broadcastJobTemplate: {spec: {" + pod + "}}}}", "is not a schedule"},
		"two zones":                  {"AdvancedCronJob", "{schedule: 'TZ=UTC @daily', timeZone: UTC, template: {broadcastJobTemplate: {spec: {" + pod + "}}}}", "beside timeZone"},
		"a zone alone":               {"AdvancedCronJob", "{schedule: 'TZ=UTC', template: {broadcastJobTemplate: {spec: {" + pod + "}}}}", "is not a schedule"},
		"a list that never ends":     {"AdvancedCronJob", "{schedule: '@daily', template: {imageListPullJobTemplate: {spec: {images: [a], completionPolicy: {type: Never}}}}}", "Never is refused"},
	} {
		t.Run(name, func(t *testing.T) {
			docs, err := Read("a.yaml", strings.NewReader("apiVersion: apps.kruise.io/v1beta1\nkind: "+tt.kind+"\nmetadata: {name: x}\nspec: "+tt.spec))
			if err != nil {
				t.Fatal(err)
			}
			report, err := Convert(docs, Options{})
			if err == nil || report != nil {
				t.Fatalf("%v %v", report, err)
			}
			has(t, err.Error(), "a.yaml:", tt.want)
		})
	}
}
