// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"orlop.dev/orlop/internal/oci"
)

const excludedDigest = "sha256:80f31da1ac7b312ba29d65080fddf797dd76acfb870e677f390d5acba9741b17"

// TestExclusions: what Eraser leaves alone, ours leaves alone; and nothing else, but where it is said.
func TestExclusions(t *testing.T) {
	for excluded, tt := range map[string]struct {
		pattern    string
		holds, not []string
		says       string
	}{
		"docker.io/library/*":          {"docker.io/library/**", []string{"docker.io/library/nginx:1", "docker.io/library/a/b:2"}, []string{"docker.io/acme/nginx:1", "docker.io/library2/a:1"}, ""},
		"ghcr.io/*":                    {"ghcr.io/**", []string{"ghcr.io/a/b:1", "ghcr.io/a/b/c:1"}, []string{"ghcr.example/a:1"}, ""},
		"ghcr.io/acme-*/*":             {"ghcr.io/acme-**", []string{"ghcr.io/acme-x/y:1", "ghcr.io/acme-x:1"}, []string{"ghcr.io/acme/y:1"}, ""},
		"docker.io/library/nginx:*":    {"docker.io/library/nginx**", []string{"docker.io/library/nginx:1", "docker.io/library/nginx-more:1"}, []string{"docker.io/library/ngin:1"}, "the beginning of a name"},
		"docker.io/library/nginx:1.29": {"docker.io/library/nginx:1.29", []string{"docker.io/library/nginx:1.29"}, []string{"docker.io/library/nginx:1.28"}, ""},
		"registry.example:5000/team/*": {"registry.example:5000/team/**", []string{"registry.example:5000/team/a/b:1"}, []string{"registry.example:5000/other/a:1"}, ""},
		"registry.example:5000/app:*":  {"registry.example**/**", []string{"registry.example:5000/app:1", "registry.example:5000/other:1"}, []string{"docker.io/library/app:1"}, "at its first colon"},
		"localhost:5000/app:*":         {"localhost:*/**", []string{"localhost:5000/app:1", "localhost:5001/x/y:1"}, []string{"docker.io/library/app:1"}, "at its first colon"},
		excludedDigest:                 {excludedDigest, nil, []string{"docker.io/library/nginx:1"}, ""},
	} {
		t.Run(excluded, func(t *testing.T) {
			pattern, said, err := keepOf(excluded)
			if err != nil || pattern != tt.pattern || !strings.Contains(said, tt.says) || (said == "") != (tt.says == "") {
				t.Fatalf("keep %q, %q, %v", pattern, said, err)
			}
			target, err := oci.ParseTarget(pattern)
			if err != nil {
				t.Fatal(err)
			}
			original := eraser{excluded: []string{excluded}}
			for name, want := range wanting(tt.holds, tt.not) {
				ref, err := oci.Parse(name)
				if err != nil {
					t.Fatal(err)
				}
				if got := original.holds(name); got != want {
					t.Errorf("Eraser excludes %s: %v, want %v", name, got, want)
				}
				if got := target.MatchRef(ref, nil); got != want {
					t.Errorf("%s keeps %s: %v, want %v", pattern, name, got, want)
				}
			}
		})
	}
}

func wanting(yes, no []string) map[string]bool {
	all := map[string]bool{}
	for _, name := range yes {
		all[name] = true
	}
	for _, name := range no {
		all[name] = false
	}
	return all
}

// TestExclusionsOfNothing: what excludes nothing in Eraser keeps what a person meant, and is told; but never everything.
func TestExclusionsOfNothing(t *testing.T) {
	for excluded, tt := range map[string]struct{ pattern, keeps string }{
		"nginx:1":                       {"nginx:1", "docker.io/library/nginx:1"},
		"nginx:*":                       {"nginx:*", "docker.io/library/nginx:2"},
		"acme/*":                        {"acme/**", "docker.io/acme/a/b:1"},
		"docker.io/library/nginx":       {"docker.io/library/nginx", "docker.io/library/nginx:latest"},
		"docker.io/*/nginx:1":           {"docker.io/*/nginx:1", "docker.io/acme/nginx:1"},
		"ghcr.io/a/b@" + excludedDigest: {"ghcr.io/a/b@" + excludedDigest, ""},
		"*":                             {"", ""},
		"**":                            {"", ""},
		"":                              {"", ""},
	} {
		t.Run(excluded, func(t *testing.T) {
			pattern, said, err := keepOf(excluded)
			if err != nil || pattern != tt.pattern || said == "" {
				t.Fatalf("keep %q, %q, %v", pattern, said, err)
			}
			if tt.keeps == "" {
				return
			}
			target, err := oci.ParseTarget(pattern)
			if err != nil {
				t.Fatal(err)
			}
			if ref, _ := oci.Parse(tt.keeps); !target.MatchRef(ref, nil) {
				t.Errorf("%s does not keep %s", pattern, tt.keeps)
			}
		})
	}
	for _, excluded := range []string{"sha256:xyz", "docker.io/Library/*", "a b"} {
		if pattern, _, err := keepOf(excluded); err == nil {
			t.Errorf("%q became %q", excluded, pattern)
		}
	}
}

func TestEraserLists(t *testing.T) {
	const filtered = "affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [" +
		"{key: eraser.sh/cleanup.filter, operator: DoesNotExist}]}]}}}, tolerations: [{operator: Exists}]"
	for name, tt := range map[string]struct {
		images, want string
		says         []string
	}{
		"names and digests": {
			"['docker.io/library/a:1', '" + excludedDigest + "']", "{" + filtered + ", remove: {images: ['docker.io/library/a:1', '" + excludedDigest + "']}}",
			[]string{"each name goes alone"},
		},
		"everything":             {"['*']", "{" + filtered + ", prune: {}}", []string{"what arrived in the last 10 minutes"}},
		"everything, and a name": {"['docker.io/library/a:1', '*']", "{" + filtered + ", prune: {}}", []string{"docker.io/library/a:1 are among them"}},
		"a short name":           {"[a]", "{" + filtered + ", remove: {images: [a]}}", []string{"REVIEW spec.remove.images: Eraser compares whole names"}},
		"a pattern":              {"['docker.io/library/a:1', 'docker.io/*']", "{" + filtered + ", remove: {images: ['docker.io/library/a:1']}}", []string{"docker.io/* is left out"}},
	} {
		t.Run(name, func(t *testing.T) {
			object, said := one(t, "apiVersion: eraser.sh/v1\nkind: ImageList\nmetadata: {name: imagelist}\nspec: {images: "+tt.images+"}")
			if diff := cmp.Diff(parsed(t, tt.want), specOf(t, object)); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			has(t, said, tt.says...)
		})
	}
}

// TestEraserDoesNothing by itself where its collector is off, with a list of another name, and with one that names nothing.
func TestEraserDoesNothing(t *testing.T) {
	for name, tt := range map[string]struct{ manifest, says string }{
		"no collector":  {"apiVersion: eraser.sh/v1alpha3\nkind: EraserConfig\nmanager: {}\ncomponents: {}", "its collector is off"},
		"another name":  {"apiVersion: eraser.sh/v1\nkind: ImageList\nmetadata: {name: mine}\nspec: {images: ['*']}", "looks only at the ImageList named imagelist"},
		"an empty list": {"apiVersion: eraser.sh/v1\nkind: ImageList\nmetadata: {name: imagelist}\nspec: {images: []}", "names no image"},
		"its own job":   {"apiVersion: eraser.sh/v1\nkind: ImageJob\nmetadata: {name: imagejob-x}\nspec: {}", "made by Eraser"},
		"exclusions alone": {
			"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, labels: {eraser.sh/exclude.list: 'true'}}\ndata: {a.json: '{\"excluded\": [\"ghcr.io/*\"]}'}",
			"put this into the keep of a NodeCronJob's prune: ghcr.io/**",
		},
	} {
		t.Run(name, func(t *testing.T) {
			report := converted(t, []byte(tt.manifest))
			if len(report.Drafts) != 0 {
				t.Errorf("%d objects", len(report.Drafts))
			}
			has(t, told(report), tt.says)
		})
	}
}

// TestEraserListThatIsDone: Eraser does a list once, and what is made of it does not do it again unasked.
func TestEraserListThatIsDone(t *testing.T) {
	for _, images := range []string{"['*']", "[docker.io/library/a:1]"} {
		object, said := one(t, "apiVersion: eraser.sh/v1\nkind: ImageList\nmetadata: {name: imagelist}\nspec: {images: "+images+"}\n"+
			"status: {success: 3, timestamp: '2026-11-20T10:00:00Z'}")
		if specOf(t, object)["suspend"] != true {
			t.Errorf("%+v", object)
		}
		has(t, said, "REVIEW spec.suspend: the original has ended")
	}
}

func TestEraserNodeFilters(t *testing.T) {
	term := func(requirements ...string) string {
		return "{matchExpressions: [" + strings.Join(requirements, ", ") + "]}"
	}
	for filter, want := range map[string]string{
		"{}":                                     term("{key: eraser.sh/cleanup.filter, operator: DoesNotExist}"),
		"{type: exclude, selectors: [a=b, c]}":   term("{key: a, operator: NotIn, values: [b]}", "{key: c, operator: DoesNotExist}"),
		"{type: exclude, selectors: ['a=b,!c']}": term("{key: a, operator: NotIn, values: [b]}") + ", " + term("{key: c, operator: Exists}"),
		"{type: include, selectors: ['a!=b', 'c in (d,e),f>3']}": term("{key: a, operator: NotIn, values: [b]}") + ", " +
			term("{key: c, operator: In, values: [d, e]}", "{key: f, operator: Gt, values: ['3']}"),
	} {
		t.Run(filter, func(t *testing.T) {
			object, _ := one(t, "apiVersion: eraser.sh/v1alpha2\nkind: EraserConfig\nmanager: {nodeFilter: "+filter+"}\ncomponents: {collector: {enabled: true}}")
			got := specOf(t, object)["jobTemplate"].(map[string]any)["spec"].(map[string]any)["affinity"]
			if diff := cmp.Diff(parsed(t, "{nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: ["+want+"]}}}"), got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
	// None of these may come to mean every node.
	for _, filter := range []string{"{type: include, selectors: []}", "{type: exclude, selectors: ['']}", "{type: exclude, selectors: ['a>1']}", "{type: only}", "{selectors: ['a=(']}"} {
		docs, err := Read("a.yaml", strings.NewReader("apiVersion: eraser.sh/v1alpha2\nkind: EraserConfig\nmanager: {nodeFilter: "+filter+"}\ncomponents: {collector: {enabled: true}}"))
		if err != nil {
			t.Fatal(err)
		}
		if report, err := Convert(docs, Options{}); err == nil {
			t.Errorf("%s became %+v", filter, report.Drafts[0].Object)
		}
	}
}

// TestTooManyExclusions is an error: one that is left out would let an image go.
func TestTooManyExclusions(t *testing.T) {
	var list []string
	for i := range maxPatterns + 1 {
		list = append(list, fmt.Sprintf("ghcr.io/a%d/*", i))
	}
	text, err := json.Marshal(map[string][]string{"excluded": list})
	if err != nil {
		t.Fatal(err)
	}
	for _, data := range []string{"{a.json: '" + string(text) + "'}", "{a.json: '{'}", "{a.txt: '{}'}"} {
		docs, err := Read("a.yaml", strings.NewReader("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, labels: {eraser.sh/exclude.list: 'true'}}\ndata: "+data))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Convert(docs, Options{}); err == nil {
			t.Errorf("%.60s… was taken", data)
		}
	}
}

// TestEraserByHelm reads the values of its chart.
func TestEraserByHelm(t *testing.T) {
	report := converted(t, []byte("runtimeConfig:\n  apiVersion: eraser.sh/v1alpha3\n  kind: EraserConfig\n  health: {}\n  manager: {scheduling: {repeatInterval: 12h}}\n"+
		"  components: {collector: {enabled: true}}\ndeploy: {replicas: 1}\n"))
	if len(report.Drafts) != 1 || !slices.Contains(report.Rows[0].Notes, "not converted: deploy") {
		t.Errorf("%s", told(report))
	}
}

// TestEraserPassesOverNothing: what its own pods had is told, in each of the places where a configuration may stand.
func TestEraserPassesOverNothing(t *testing.T) {
	const config = "health: {a: 1}\nmanager: {logLevel: info, odd: 1}\ncomponents: {collector: {enabled: true, limit: {cpu: 1}}, scanner: {enabled: false, config: x}, odd: {}}\n"
	indented := strings.ReplaceAll("kind: EraserConfig\n"+config, "\n", "\n    ")
	for name, manifest := range map[string]string{
		"an object":   "apiVersion: eraser.sh/v1alpha3\nkind: EraserConfig\n" + config,
		"a ConfigMap": "kind: ConfigMap\nmetadata: {name: a, labels: {team: b}}\ndata:\n  controller_manager_config.yaml: |\n    " + indented + "\n",
		"values":      "runtimeConfig:\n    " + indented + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			said := strings.ReplaceAll(told(converted(t, []byte(manifest))), "runtimeConfig.", "")
			has(t, said, "since no pods are started for it: manager.logLevel, health, components.collector.limit, components.scanner.config\n", "not converted: manager.odd, components.odd\n")
			if name == "a ConfigMap" {
				has(t, said, "have no place in what it becomes: team\n")
			}
		})
	}
}

// TestEraserConfigIsBroken: within the text of a ConfigMap too there is a place, also where the cluster holds it and has no lines.
func TestEraserConfigIsBroken(t *testing.T) {
	doc, err := Live(map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "a", "namespace": "b"},
		"data": map[string]any{"controller_manager_config.yaml": "kind: EraserConfig\nmanager: [\n"}})
	if err != nil {
		t.Fatal(err)
	}
	report, err := Convert([]*Document{doc}, Options{})
	if err == nil || report != nil || !strings.Contains(err.Error(), "ConfigMap b/a: controller_manager_config.yaml:") {
		t.Errorf("%v %v", report, err)
	}
}
