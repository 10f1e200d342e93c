// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"orlop.dev/orlop/api/v1alpha1"
)

// caches are the ImageCaches that a text becomes.
func caches(t *testing.T, text string) (found []*v1alpha1.ImageCache, report *Report) {
	t.Helper()
	report = converted(t, []byte(text))
	for _, draft := range report.Drafts {
		found = append(found, draft.Object.(*v1alpha1.ImageCache))
	}
	return found, report
}

// refused is the error that a text is answered with.
func refused(t *testing.T, text string) string {
	t.Helper()
	docs, err := Read("f", strings.NewReader(text))
	if err != nil {
		return err.Error()
	}
	report, err := Convert(docs, Options{})
	if err == nil || report != nil {
		t.Fatalf("%v %v", report, err)
	}
	return err.Error()
}

func fledgedOf(name string, lists ...string) string {
	return "---\napiVersion: kubefledged.io/v1alpha2\nkind: ImageCache\nmetadata: {name: " + name + "}\nspec:\n  cacheSpec: [" + strings.Join(lists, ", ") + "]\n"
}

func fledgedController(args ...string) string {
	return fmt.Sprintf(`---
apiVersion: apps/v1
kind: Deployment
metadata: {name: c}
spec: {template: {spec: {containers: [{image: "x/kubefledged-controller:1", args: ["%s"]}]}}}
`, strings.Join(args, `", "`))
}

// TestFledgedFlags: what the flags of its controller make of a cache.
func TestFledgedFlags(t *testing.T) {
	const web = "{images: [web:1]}"
	type is struct {
		Refresh string
		Policy  corev1.PullPolicy
		Surge   string
		Reviews int
	}
	cases := map[string]struct {
		args []string
		want is
		note string
	}{
		"none":                {nil, is{"15m", "", "", 2}, ""},
		"a refresh":           {[]string{"--image-cache-refresh-frequency=1h30m"}, is{"1h30m", "", "", 2}, ""},
		"apart, and one dash": {[]string{"-image-cache-refresh-frequency", "2h"}, is{"2h", "", "", 2}, ""},
		"in another form":     {[]string{"--image-cache-refresh-frequency=1.5h0.1µs"}, is{"1h30m0.0000001s", "", "", 2}, ""},
		"never":               {[]string{"--image-cache-refresh-frequency=0"}, is{"0s", "", "", 2}, ""},
		"too often":           {[]string{"--image-cache-refresh-frequency=1s"}, is{"10s", "", "", 3}, ""},
		"always":              {[]string{"--image-pull-policy=Always"}, is{"15m", "Always", "", 2}, ""},
		"if not present":      {[]string{"--image-pull-policy=IfNotPresent"}, is{"15m", "", "", 2}, ""},
		"a surge":             {[]string{"--jobs-max-surge=3"}, is{"15m", "", "3", 3}, ""},
		"no surge":            {[]string{"--jobs-max-surge=0"}, is{"15m", "", "", 2}, "without a counterpart"},
		"others":              {[]string{"--cri-socket-path=/a", "--job-priority-class-name", "x"}, is{"15m", "", "", 2}, "--cri-socket-path, --job-priority-class-name"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			found, report := caches(t, fledgedOf("web", web)+fledgedController(c.args...))
			spec := found[0].Spec
			got := is{spec.RefreshInterval, spec.Images[0].ImagePullPolicy, "", len(report.Drafts[0].Reviews)}
			if spec.MaxParallelNodes != nil {
				got.Surge = spec.MaxParallelNodes.String()
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			if !strings.Contains(told(report), c.note) {
				t.Errorf("%q is not in %s", c.note, told(report))
			}
		})
	}
	for value, words := range map[string]string{
		"--image-cache-refresh-frequency=soon": `f:11: args: --image-cache-refresh-frequency is not a time span such as 15m: "soon"`,
		"--image-cache-refresh-frequency=-5m":  `is not a time span such as 15m: "-5m"`,
		"--jobs-max-surge=many":                `--jobs-max-surge is not a whole number: "many"`,
	} {
		if got := refused(t, fledgedOf("web", web)+fledgedController(value)); !strings.Contains(got, words) {
			t.Errorf("%q is not in %s", words, got)
		}
	}
}

// TestFledgedPolicy: kube-fledged looks at the text, a Pod at the tag; where they differ it is written out.
func TestFledgedPolicy(t *testing.T) {
	const digest = "@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	for image, want := range map[string]corev1.PullPolicy{
		"web": "", "web:latest": "", "web:1": "", "web" + digest: "", "host:5000/web:1": "", "host:5000/web:latest": "",
		"host:5000/web": "IfNotPresent", "web:latest-alpine": "Always", "host:5000/web" + digest: "",
	} {
		found, _ := caches(t, fledgedOf("web", "{images: ['"+image+"']}"))
		if got := found[0].Spec.Images[0].ImagePullPolicy; got != want {
			t.Errorf("%s: %q, want %q", image, got, want)
		}
		found, _ = caches(t, fledgedOf("web", "{images: ['"+image+"']}")+fledgedController("--image-pull-policy=Never"))
		ref := strings.HasSuffix(image, "web") && !strings.Contains(image, "@") || strings.HasSuffix(image, ":latest")
		if got := found[0].Spec.Images[0].ImagePullPolicy; ref != (got == "IfNotPresent") {
			t.Errorf("%s, with a policy that is none: %q", image, got)
		}
	}
}

// TestFledgedNames: one object for each selector and each 500 images, with names that nothing else has.
func TestFledgedNames(t *testing.T) {
	var many []string
	for i := range 501 {
		many = append(many, fmt.Sprintf("a:%d", i))
	}
	cases := map[string]struct {
		text string
		want []string
	}{
		"one":              {fledgedOf("web", "{images: [a]}"), []string{"web 1"}},
		"none":             {fledgedOf("web"), []string{"web 0"}},
		"nothing but \"\"": {fledgedOf("web", `{images: [""]}`), []string{"web 0"}},
		"two selectors":    {fledgedOf("web", "{images: [a]}", "{images: [b, c], nodeSelector: {x: y}}", "{images: [d], nodeSelector: {}}"), []string{"web 2", "web-2 2"}},
		"a name is taken":  {fledgedOf("web", "{images: [a]}", "{images: [b], nodeSelector: {x: y}}") + fledgedOf("web-2", "{images: [c]}"), []string{"web 1", "web-2 1", "web-3 1"}},
		"the first goes":   {fledgedOf("web", `{images: [""]}`, "{images: [b], nodeSelector: {x: y}}"), []string{"web 1"}},
		"many":             {fledgedOf("web", "{images: ["+strings.Join(many, ",")+"]}"), []string{"web 500", "web-2 1"}},
		"one image twice":  {fledgedOf("web", "{images: [nginx, docker.io/library/nginx:latest]}"), []string{"web 1"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			found, _ := caches(t, c.text)
			var got []string
			for _, cache := range found {
				got = append(got, fmt.Sprintf("%s %d", cache.Name, len(cache.Spec.Images)))
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFledgedRefused(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"an image":         {fledgedOf("web", "{images: [a, Not An Image]}"), `f:6: spec.cacheSpec[0]: "Not An Image" is not an image reference`},
		"a digest":         {fledgedOf("web", "{images: ['a@sha512:"+strings.Repeat("a", 128)+"']}"), "is not an image reference"},
		"images as text":   {fledgedOf("web", "{images: a}"), `f:6: spec.cacheSpec[0].images: a list is expected, not "a"`},
		"null as an image": {fledgedOf("web", "{images: [null]}"), "a text is expected, not nothing"},
		"a selector":       {fledgedOf("web", "{images: [a], nodeSelector: {'!': b}}"), "f:2: ImageCache default/web: spec.nodeSelector"},
		"no name":          {fledgedOf("''", "{images: [a]}"), "f:4: metadata.name: the object has no name"},
		"a long name":      {fledgedOf(strings.Repeat("a", 253), "{images: [a]}", "{images: [b], nodeSelector: {x: y}}"), "must be no more than 253"},
		"two of a name":    {fledgedOf("web", "{images: [a]}") + fledgedOf("web", "{images: [b]}"), "f:2 and f:8: both make ImageCache default/web"},
		"many labels":      {fledgedOf("web", "{images: [a], nodeSelector: {"+labels(65)+"}}"), "it has 65 labels in its nodeSelector, and at most 64"},
	} {
		if got := refused(t, c.text); !strings.Contains(got, c.want) {
			t.Errorf("%s: %q is not in %s", name, c.want, got)
		}
	}
}

func labels(n int) string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf("l%d: a", i))
	}
	return strings.Join(all, ", ")
}
