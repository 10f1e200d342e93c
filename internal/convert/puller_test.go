// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// pullerMap is a ConfigMap with these lines of data beside IMAGES and what shows whose it is.
func pullerMap(lines ...string) string {
	return "kind: ConfigMap\nmetadata: {name: p}\ndata:\n  IMAGES: a=a:1\n  DAEMONSET_NAME: d\n  " + strings.Join(lines, "\n  ") + "\n"
}

// TestPullerInterval: hours as it takes them.
func TestPullerInterval(t *testing.T) {
	for hours, want := range map[string]string{
		`CACHING_INTERVAL_HOURS: "3"`:   "3h 0",
		`CACHING_INTERVAL_HOURS: 3`:     "3h 0",
		`CACHING_INTERVAL_HOURS: often`: "1h 0", // It says that it takes 1.
		`CACHING_INTERVAL_HOURS: "0"`:   "1h 1",
		`CACHING_INTERVAL_HOURS: "-2"`:  "1h 1",
		`OTHER: x`:                      "1h 1",
	} {
		found, report := caches(t, pullerMap(hours))
		if got := fmt.Sprint(found[0].Spec.RefreshInterval, " ", len(report.Drafts[0].Reviews)); got != want {
			t.Errorf("%s: %s, want %s", hours, got, want)
		}
	}
}

// TestPullerRefused: what it would stop at, with the line.
func TestPullerRefused(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"hours":           {pullerMap("CACHING_INTERVAL_HOURS: 999999999"), "f:6: data.CACHING_INTERVAL_HOURS: 999999999 hours"},
		"a quantity":      {pullerMap("CACHING_MEMORY_LIMIT: much"), `f:6: data.CACHING_MEMORY_LIMIT: "much" is not a quantity`},
		"a selector":      {pullerMap("NODE_SELECTOR: '{a: b}'"), "f:6: data.NODE_SELECTOR: the JSON in it cannot be read"},
		"an affinity":     {pullerMap("AFFINITY: '[]'"), "f:6: data.AFFINITY: the JSON in it cannot be read"},
		"a toleration":    {pullerMap(`TOLERATIONS: '[{"kye": "a"}]'`), `f:6: data.TOLERATIONS: the JSON in it cannot be read: unknown field "kye"`},
		"annotations":     {pullerMap("DAEMONSET_ANNOTATIONS: x"), "f:6: data.DAEMONSET_ANNOTATIONS: the JSON in it cannot be read"},
		"an image":        {strings.Replace(pullerMap(), "a:1", "A B", 1), `f:4: data.IMAGES: "A B" is not an image reference`},
		"no image":        {strings.Replace(pullerMap(), "a=a:1", "a;b=c=d", 1), "f:4: data.IMAGES: there is no NAME=IMAGE in it"},
		"a Secret":        {pullerMap("IMAGE_PULL_SECRETS: A_B;"), `ImageCache default/p: the Secret "A_B"`},
		"a namespace":     {pullerMap("NAMESPACE: a.b"), `the namespace "a.b"`},
		"a list as text":  {pullerMap("NODE_SELECTOR: []"), "f:6: data.NODE_SELECTOR"},
		"an empty images": {strings.Replace(pullerMap(), "a=a:1", "''", 1), "kubernetes-image-puller stops there"},
	} {
		if got := refused(t, c.text); !strings.Contains(got, c.want) {
			t.Errorf("%s: %q is not in %s", name, c.want, got)
		}
	}
}

// TestPullerAnywhere: the same settings, wherever they stand, are the same cache.
func TestPullerAnywhere(t *testing.T) {
	workload := func(kind, env string) string {
		return "---\nkind: " + kind + "\nmetadata: {name: p}\nspec:\n  template:\n    spec:\n      containers:\n      - image: kubernetes-image-puller\n" + env
	}
	const images = "IMAGES: a=a:1;b=b:1;"
	config := "kind: ConfigMap\nmetadata: {name: p}\ndata: {" + images + " CACHING_INTERVAL_HOURS: '2', NODE_SELECTOR: '{\"x\": \"z\"}'}\n"
	config = strings.Replace(config, images, "IMAGES: 'a=a:1;b=b:1;',", 1)
	const env = "        env:\n        - {name: IMAGES, value: 'a=a:1;b=b:1;'}\n        - {name: CACHING_INTERVAL_HOURS, value: '2'}\n        - {name: NODE_SELECTOR, value: '{\"x\": \"z\"}'}\n"
	forms := map[string]string{
		"a ConfigMap":     config,
		"an environment":  workload("Deployment", env),
		"a DaemonSet's":   workload("DaemonSet", env),
		"both":            config + workload("Deployment", "        envFrom: [{configMapRef: {name: p}}]\n"),
		"the other way":   workload("Deployment", "        envFrom: [{configMapRef: {name: p}}]\n") + "---\n" + config,
		"keys of it":      config + workload("Deployment", "        env: [{name: IMAGES, valueFrom: {configMapKeyRef: {name: p, key: IMAGES}}}, {name: CACHING_INTERVAL_HOURS, value: '2'}, {name: NODE_SELECTOR, value: '{\"x\": \"z\"}'}]\n"),
		"values":          "configMap: {name: p, images: 'a=a:1;b=b:1;', cachingIntervalHours: 2, nodeSelector: {x: z}}\n",
		"values as texts": "configMap: {name: p, images: 'a=a:1;b=b:1;', cachingIntervalHours: '2', nodeSelector: '{\"x\": \"z\"}'}\n",
		"an operator's": "apiVersion: che.eclipse.org/v1alpha1\nkind: KubernetesImagePuller\nmetadata: {name: p}\n" +
			"spec: {images: 'a=a:1;b=b:1;', cachingIntervalHours: '2', nodeSelector: '{\"x\": \"z\"}'}\n",
		"a Template": "kind: Template\nobjects: [{kind: ConfigMap, metadata: {name: '${N}'}, data: {IMAGES: '${I}', CACHING_INTERVAL_HOURS: '${H}', NODE_SELECTOR: '${S}'}}]\n" +
			"parameters: [{name: N, value: p}, {name: I, value: 'a=a:1;b=b:1;'}, {name: H, value: 2}, {name: S, value: '{\"x\": \"z\"}'}]\n",
	}
	want, _ := caches(t, config)
	for name, text := range forms {
		t.Run(name, func(t *testing.T) {
			found, report := caches(t, text)
			if diff := cmp.Diff(want, found); diff != "" {
				t.Errorf("%s\n%s", diff, told(report))
			}
			if strings.Contains(told(report), "not converted") {
				t.Error(told(report))
			}
		})
	}
	_, report := caches(t, workload("Deployment", "        envFrom: [{configMapRef: {name: gone}}]\n"))
	if got := told(report); !strings.Contains(got, "its settings stand in the ConfigMap gone, which was not among what was converted") {
		t.Error(got)
	}
}

// TestPullerEnvironment: what of an environment is read, and what is not is told.
func TestPullerEnvironment(t *testing.T) {
	workload := func(name, env string) string {
		return "---\nkind: Deployment\nmetadata: {name: " + name + "}\nspec:\n  template:\n    spec:\n      containers:\n      - image: kubernetes-image-puller\n        " + env + "\n"
	}
	const images = "{name: IMAGES, value: 'a=a:1'}"
	for name, c := range map[string]struct {
		text string
		want []string
		says string
	}{
		"a variable that it does not know": {workload("p", "env: ["+images+", {name: HTTP_PROXY, value: x}]"), []string{"p a:1"}, "knows no such variables: HTTP_PROXY"},
		"a Secret's": {workload("p", "env: ["+images+", {name: NODE_SELECTOR, valueFrom: {secretKeyRef: {name: s, key: k}}}]"), []string{"p a:1"},
			"not converted, as its values are not in what was read: NODE_SELECTOR"},
		"a Secret's images": {workload("p", "env: [{name: IMAGES, valueFrom: {secretKeyRef: {name: s, key: k}}}]"), nil, "nothing comes of it"},
		"a whole Secret":    {workload("p", "envFrom: [{secretRef: {name: s}}]"), nil, "all of the Secret s"},
		"its own namespace": {workload("p", "env: ["+images+", {name: NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}]"), []string{"p a:1"}, "→ ImageCache default/p"},
		"names with something before them": {
			strings.Replace(pullerMap(), "IMAGES:", "AGES: b=b:1\n  IMAGES:", 1) + workload("p", "envFrom: [{prefix: IM, configMapRef: {name: p}}]"), []string{"p b:1"}, "IMAGES of it is overridden by Deployment p"},
		"two with one ConfigMap": {pullerMap() + workload("x", "envFrom: [{configMapRef: {name: p}}]") + workload("y", "env: [{name: NODE_SELECTOR, value: '{}'}]\n        envFrom: [{configMapRef: {name: p}}]"),
			[]string{"p a:1", "y a:1"}, "it goes with kubernetes-image-puller"},
		"a Template's ConfigMap": {"kind: Template\nlabels: {a: b}\nobjects: [{kind: Secret}, {kind: ConfigMap, metadata: {name: p, labels: {c: d}}, data: {IMAGES: 'a=a:1', DAEMONSET_NAME: d, OTHER: x}}]\n",
			[]string{"p a:1"}, "not converted: labels, objects[1].metadata.labels, objects[1].data.OTHER"},
	} {
		t.Run(name, func(t *testing.T) {
			found, report := caches(t, c.text)
			var got []string
			for _, cache := range found {
				got = append(got, cache.Name+" "+cache.Spec.Images[0].Image)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s\n%s", diff, told(report))
			}
			has(t, told(report), c.says)
			if name == "its own namespace" && strings.Contains(told(report), "not converted") {
				t.Error(told(report))
			}
		})
	}
}
