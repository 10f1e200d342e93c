// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestFledgedAnywhere: the same settings, wherever they stand, make the same caches, and nothing of them is passed over.
func TestFledgedAnywhere(t *testing.T) {
	cache := fledgedOf("web", "{images: [web:1, 'host:5000/web']}")
	const args = "{controllerImageCacheRefreshFrequency: 2h, controllerImagePullPolicy: Always, controllerServiceAccountName: puller, controllerJobsMaxSurge: 3}"
	forms := map[string]string{
		"flags":         fledgedController("--image-cache-refresh-frequency=2h", "--image-pull-policy=Always", "--service-account-name=puller", "--jobs-max-surge=3"),
		"values":        "---\nargs: " + args + "\n",
		"values first":  "",
		"user's values": "---\nUSER-SUPPLIED VALUES:\nargs: " + args + "\nresources: {limits: {memory: 32Mi}}\n",
		"all values":    "---\nCOMPUTED VALUES:\nargs: " + args + "\nimage: {kubefledgedControllerRepository: a/b}\n",
		"its operator":  "---\napiVersion: charts.helm.k8s.io/v1alpha2\nkind: KubeFledged\nmetadata: {name: a}\nspec: {args: " + args + "}\n",
	}
	want, _ := caches(t, cache+forms["flags"])
	for name, form := range forms {
		t.Run(name, func(t *testing.T) {
			text := cache + form
			if form == "" {
				text = strings.TrimPrefix(forms["values"], "---\n") + cache
			}
			found, report := caches(t, text)
			if diff := cmp.Diff(want, found); diff != "" {
				t.Errorf("%s\n%s", diff, told(report))
			}
			if strings.Contains(told(report), "not converted") {
				t.Error(told(report))
			}
		})
	}
}

// TestFledgedValues: those of old releases, those that are left to their defaults, and which of several count.
func TestFledgedValues(t *testing.T) {
	cache := fledgedOf("web", "{images: [web:1]}")
	for name, c := range map[string]struct {
		text, refresh string
		says          []string
	}{
		"of an old release": {"args: {logLevel: INFO, imageCacheRefreshFrequency: 3m, imagePullPolicy: IfNotPresent}\n", "3m", []string{
			"used for the caches: args.imageCacheRefreshFrequency, args.imagePullPolicy", "without a counterpart, as there are no Jobs that pull: args.logLevel"}},
		"left to defaults": {"args: {controllerImageCacheRefreshFrequency: null, controllerServiceAccountName: ''}\nimage: {kubefledgedCRIClientRepository: a}\n", "15m", []string{
			"of kube-fledged itself, which goes: image"}},
		"what runs counts": {"args: {controllerImageCacheRefreshFrequency: 3m}\n" + fledgedController("--image-cache-refresh-frequency=4m"), "4m", []string{
			"its flags are not used: those of apps Deployment c are"}},
		"its webhook does not": {"args: {controllerImageCacheRefreshFrequency: 3m}\n" + strings.ReplaceAll(fledgedController("--port=443"), "controller", "webhook-server"), "3m", []string{
			"used for the caches: args.controllerImageCacheRefreshFrequency"}},
	} {
		t.Run(name, func(t *testing.T) {
			found, report := caches(t, c.text+cache)
			if got := found[0].Spec.RefreshInterval; got != c.refresh {
				t.Errorf("every %s, want %s", got, c.refresh)
			}
			has(t, told(report), c.says...)
			if reviews := report.Drafts[0].Reviews; len(reviews) != 2 { // Of tolerations and removalPolicy alone: the interval is known.
				t.Errorf("%+v", reviews)
			}
		})
	}
	alone := converted(t, []byte("args: {controllerImageCacheRefreshFrequency: 3m}\n"))
	has(t, told(alone), "values of the chart kube-fledged", "convert them together with it")
	for text, words := range map[string]string{
		"args:\n  controllerImageCacheRefreshFrequency: soon\n":                    `f:2: args.controllerImageCacheRefreshFrequency: --image-cache-refresh-frequency is not a time span such as 15m: "soon"`,
		"image: {kubefledgedX: a}\nargs:\n  controllerJobsMaxSurge: many\n":        `f:3: args.controllerJobsMaxSurge: --jobs-max-surge is not a whole number: "many"`,
		"args:\n  controllerImagePullPolicy: [Always]\n":                           "f:2: args.controllerImagePullPolicy: a text is expected, not a list",
		"args: {imagePullPolicy: Always, logLevel: INFO}\n":                        "f:1: nothing here converts this",
		"args: [--image-pull-policy=Always]\nimage: {repository: a/kubefledged}\n": "f:1: nothing here converts this",
	} {
		if got := refused(t, text); !strings.Contains(got, words) {
			t.Errorf("%q is not in %s", words, got)
		}
	}
}
