// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package chart

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"
)

// withKinds makes sure that the kinds are served, and gives a client of ImageCaches in the namespace default.
func withKinds(t *testing.T) dynamic.ResourceInterface {
	t.Helper()
	kubectl(t, "apply", "--server-side", "--force-conflicts", "-k", folder+"/files/crds")
	kubectl(t, slices.Concat([]string{"wait", "--for=condition=Established", "crd"}, crds())...)
	return as(t, "").Resource(resource("imagecaches")).Namespace("default")
}

func resource(name string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "orlop.dev", Version: "v1alpha1", Resource: name}
}

// as is a client of somebody; of the administrator, if it is nobody.
func as(t *testing.T, user string) dynamic.Interface {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", theCluster(t).Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	config.Impersonate.UserName = user
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// cacheOf is an ImageCache with this spec.
func cacheOf(t *testing.T, spec string) *unstructured.Unstructured {
	t.Helper()
	var content map[string]any
	if err := yaml.UnmarshalStrict([]byte(spec), &content); err != nil {
		t.Fatal(err)
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "orlop.dev/v1alpha1", "kind": "ImageCache", "metadata": map[string]any{"name": "tried"}, "spec": content,
	}}
}

var digest = "sha256:" + strings.Repeat("ab", 32)

// The API server refuses what cannot be meant, and says which value and what would be right.
func TestImageCachesThatAreRefused(t *testing.T) {
	caches := withKinds(t)
	for label, c := range map[string]struct{ spec, want string }{
		"an empty name": {`images: [{image: ""}]`, "spec.images[0].image"},
		"capitals":      {`images: [{image: Nginx}]`, `"Nginx" is not an image reference: write it as nginx:1.29, registry.example/team/app:v1 or app@sha256:...`},
		"a space":       {`images: [{image: "nginx :1"}]`, `"nginx :1" is not an image reference`},
		"a URL":         {`images: [{image: "https://ghcr.io/a/b:1"}]`, `"https://ghcr.io/a/b:1" is not an image reference`},
		"a shell":       {`images: [{image: "nginx;reboot"}]`, `"nginx;reboot" is not an image reference`},
		// A message of more than one line is not shown.
		"a line":                 {"images: [{image: \"nginx\\n\"}]", `spec.images[0].image: Invalid value: "nginx\n"`},
		"half a digest":          {`images: [{image: "nginx@sha256:abcd"}]`, `"nginx@sha256:abcd" is not an image reference`},
		"a glob":                 {`images: [{image: "docker.io/acme/*"}]`, `"docker.io/acme/*" is not an image reference`},
		"a slash at the end":     {`images: [{image: "nginx/"}]`, `"nginx/" is not an image reference`},
		"the same twice":         {`images: [{image: nginx}, {image: nginx}]`, `spec.images[1]: Duplicate value`},
		"too many":               {"images:\n" + many(501), "spec.images: Too many: 501: must have at most 500 items"},
		"a pull policy":          {`images: [{image: nginx, imagePullPolicy: Never}]`, `spec.images[0].imagePullPolicy: Unsupported value: "Never": supported values: "Always", "IfNotPresent"`},
		"an interval of a day":   {"images: []\nrefreshInterval: 1d", "refreshInterval 1d is not a duration: write it as 15m, 1h30m, or 0s for never"},
		"a negative interval":    {"images: []\nrefreshInterval: -5m", "refreshInterval -5m is not a duration"},
		"an interval of seconds": {"images: []\nrefreshInterval: 5s", "refreshInterval 5s is too short: registries are not asked more often than every 10s; 0s is never"},
		"no nodes at once":       {"images: []\nmaxParallelNodes: 0", "maxParallelNodes 0 is neither a number from 1 to 1000000 nor a percentage from 1% to 100%"},
		"more than a number":     {"images: []\nmaxParallelNodes: 9999999999", "maxParallelNodes 9999999999 is neither"},
		"too large a share":      {"images: []\nmaxParallelNodes: 101%", "maxParallelNodes 101% is neither"},
		"a share of nothing":     {"images: []\nmaxParallelNodes: 0%", "maxParallelNodes 0% is neither"},
		"a number as a word":     {"images: []\nmaxParallelNodes: \"5\"", "maxParallelNodes 5 is neither"},
		"a removal policy":       {"images: []\nremovalPolicy: Delete", `spec.removalPolicy: Unsupported value: "Delete": supported values: "Remove", "Keep"`},
		"a secret without name":  {"images: []\nimagePullSecrets: [{}]", "spec.imagePullSecrets[0].name: Required value"},
		"a typo":                 {"images: []\nnodeSelectors: {a: b}", `unknown field "spec.nodeSelectors"`},
		"a preference": {"images: []\naffinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: []}}",
			`unknown field "spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution"`},
	} {
		t.Run(label, func(t *testing.T) {
			options := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldValidation: metav1.FieldValidationStrict}
			_, err := caches.Create(t.Context(), cacheOf(t, c.spec), options)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v\nwant %s", err, c.want)
			}
		})
	}
}

func many(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "- image: registry.example:5000/team/app-%d:v1@%s\n", i, digest)
	}
	return b.String()
}

// What people write for pods is taken; what they leave out is as the documents say.
func TestImageCachesThatAreTaken(t *testing.T) {
	caches := withKinds(t)
	defaults := map[string]any{
		"maxParallelNodes": int64(50), "pin": true, "refreshInterval": "15m", "removalPolicy": "Remove", "serviceAccountName": "default",
	}
	for label, c := range map[string]struct {
		spec string
		want map[string]any
	}{
		"emptied": {`images: []`, defaults},
		// As server-side apply leaves a list that is emptied.
		"no images": {`{}`, defaults},
		"short":     {`images: [{image: nginx}, {image: "nginx:1.29"}, {image: library/nginx}]`, defaults},
		"long":      {`images: [{image: "Registry.Example.COM:5000/team/a_b/c.d/e--f:V1_2.3-x@` + digest + `", imagePullPolicy: Always}]`, defaults},
		"localhost": {`images: [{image: "localhost:5000/a"}, {image: "localhost/a:1"}]`, defaults},
		"full":      {"images:\n" + many(500), defaults},
		"all said": {`
images: [{image: nginx}]
nodeSelector: {pool: web}
affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: In, values: [b]}]}]}}}
tolerations: [{key: gpu, operator: Exists}]
imagePullSecrets: [{name: a}, {name: b}]
serviceAccountName: web
refreshInterval: 1h30m
pin: false
maxParallelNodes: 25%
removalPolicy: Keep
suspend: true`, map[string]any{
			"maxParallelNodes": "25%", "pin": false, "refreshInterval": "1h30m", "removalPolicy": "Keep", "serviceAccountName": "web",
		}},
		"never refreshed": {"images: []\nrefreshInterval: 0s", map[string]any{
			"maxParallelNodes": int64(50), "pin": true, "refreshInterval": "0s", "removalPolicy": "Remove", "serviceAccountName": "default",
		}},
	} {
		t.Run(label, func(t *testing.T) {
			options := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldValidation: metav1.FieldValidationStrict}
			got, err := caches.Create(t.Context(), cacheOf(t, c.spec), options)
			if err != nil {
				t.Fatal(err)
			}
			spec := got.Object["spec"].(map[string]any)
			for key, want := range c.want {
				if diff := cmp.Diff(want, spec[key]); diff != "" {
					t.Errorf("%s: %s", key, diff)
				}
			}
		})
	}
}

// What matters is in the columns, and `kubectl get orlop` shows all there is.
func TestColumns(t *testing.T) {
	caches := withKinds(t)
	if _, err := caches.Create(t.Context(), cacheOf(t, `images: [{image: nginx}]`), metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := caches.Delete(context.WithoutCancel(t.Context()), "tried", metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	for short, want := range map[string]string{
		"ic":  "NAME IMAGES READY FAILED STATUS AGE",
		"ims": "NAME IMAGES FAILED RUNTIME AGENT AGE",
		"imi": "NAME IMAGES DISK RECLAIMABLE AGE",
	} {
		var kind string
		switch short {
		case "ims":
			kind = "ImageStore"
		case "imi":
			kind = "ImageInventory"
		}
		if kind != "" {
			if out, err := apply(t, fmt.Sprintf(`{"apiVersion": "orlop.dev/v1alpha1", "kind": %q, "metadata": {"name": "tried"}}`, kind)); err != nil {
				t.Fatal(out)
			}
			t.Cleanup(func() {
				if _, err := cluster.Kubectl(context.WithoutCancel(t.Context()), "delete", short, "tried"); err != nil {
					t.Error(err)
				}
			})
		}
		head, _, _ := strings.Cut(kubectl(t, "get", short, "tried"), "\n")
		if got := strings.Join(strings.Fields(head), " "); got != want {
			t.Errorf("kubectl get %s shows %s, not %s", short, got, want)
		}
	}
	for short, columns := range map[string]string{
		"nj":  "NAME ACTION DONE FAILED SKIPPED FREED STATUS AGE",
		"ncj": "NAME SCHEDULE ACTION LAST NEXT FREED SUSPEND STATUS AGE",
	} {
		kind := map[string]string{"nj": "NodeJob", "ncj": "NodeCronJob"}[short]
		if _, err := as(t, "").Resource(resource(strings.ToLower(kind)+"s")).Namespace("default").Create(t.Context(), jobOf(t, kind, "tried", "prune: {}"), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { remove(t, short, "tried") })
		head, _, _ := strings.Cut(kubectl(t, "get", short, "tried"), "\n")
		if got := strings.Join(strings.Fields(head), " "); got != columns {
			t.Errorf("kubectl get %s shows %s, not %s", short, got, columns)
		}
	}
	head, _, _ := strings.Cut(kubectl(t, "get", "ic", "-o", "wide"), "\n")
	if got := strings.Join(strings.Fields(head), " "); got != "NAME IMAGES READY FAILED STATUS AGE REFRESH MESSAGE" {
		t.Errorf("the wide table shows %s", got)
	}
	all := kubectl(t, "get", "orlop", "-A")
	for _, want := range []string{"imagecache.orlop.dev/tried", "imagestore.orlop.dev/tried", "imageinventory.orlop.dev/tried", "nodejob.orlop.dev/tried", "nodecronjob.orlop.dev/tried"} {
		if !strings.Contains(all, want) {
			t.Errorf("kubectl get orlop -A leaves out %s:\n%s", want, all)
		}
	}
}
