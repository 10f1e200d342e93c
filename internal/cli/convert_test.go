// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"orlop.dev/orlop/internal/term"
)

const fledgedCache = `apiVersion: kubefledged.io/v1alpha2
kind: ImageCache
metadata: {name: NAME}
spec:
  cacheSpec:
  - images: [nginx:1.29]
`

// fledgedFile writes a cache of kube-fledged's to a file.
func fledgedFile(t *testing.T, folder, file, name string) string {
	t.Helper()
	path := filepath.Join(folder, file)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(fledgedCache, "NAME", name)), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestConvertFiles: objects on standard output, words on standard error, and nothing at all of what is half-known.
func TestConvertFiles(t *testing.T) {
	noCluster(t)
	folder := t.TempDir()
	one := fledgedFile(t, folder, "one.yaml", "one")
	fledgedFile(t, folder, "two.yml", "two")
	fledgedFile(t, folder, "below/three.json", "three")
	fledgedFile(t, folder, "notes.txt", "notes")

	names := func(out string) (names []string) {
		for line := range strings.Lines(out) {
			if name, found := strings.CutPrefix(line, "  name: "); found {
				names = append(names, strings.TrimSpace(name))
			}
		}
		return names
	}
	code, out, errs := try(t, "convert", "-f", one, "-n", "shop")
	if code != 0 || !cmp.Equal(names(out), []string{"one"}) {
		t.Errorf("exit code %d %s %s", code, out, errs)
	}
	expect(t, out, "# From kubefledged.io ImageCache one ("+one+":1)", "namespace: shop", "# REVIEW ")
	expect(t, errs, "kubefledged.io ImageCache one\n  → ImageCache shop/one\n", "1 object written, 1 needs a look (marked # REVIEW).", "kubectl apply --server-side -f FILE")

	if code, out, errs := try(t, "convert", "-f", folder); code != 0 || !cmp.Equal(names(out), []string{"one", "two"}) {
		t.Errorf("a folder: exit code %d %s %s", code, out, errs)
	}
	code, out, errs = try(t, "convert", "-f", folder, "-R", "-o", "json")
	var list struct{ Items []unstructured.Unstructured }
	if err := json.Unmarshal([]byte(out), &list); err != nil || code != 0 || len(list.Items) != 3 || list.Items[1].GetName() != "three" {
		t.Errorf("all of it, as JSON: exit code %d %v %s %s", code, err, out, errs)
	}
	expect(t, errs, "3 objects written, 3 to be looked at: -o yaml has remarks marked # REVIEW.")

	var stdout, stderr bytes.Buffer
	cfg := Config{Streams: term.Streams{In: strings.NewReader(strings.ReplaceAll(fledgedCache, "NAME", "piped")), Out: &stdout, Err: &stderr}, Version: "1.2.3"}
	if code := Run(t.Context(), cfg, []string{"/usr/bin/kubectl-orlop", "convert", "-f", "-"}); code != 0 || !cmp.Equal(names(stdout.String()), []string{"piped"}) {
		t.Errorf("standard input: exit code %d %s %s", code, stdout.String(), stderr.String())
	}
	expect(t, stdout.String(), "(stdin:1)")
}

// TestConvertRefuses: every mistake at once, each with its place, and no output beside it.
func TestConvertRefuses(t *testing.T) {
	noCluster(t)
	folder := t.TempDir()
	good := fledgedFile(t, folder, "good.yaml", "good")
	twice := fledgedFile(t, folder, "twice.yaml", "good")
	bad := fledgedFile(t, folder, "bad.yaml", "Bad_Name")
	write := func(name, text string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	unknown, broken, empty := write("pod.yaml", "\napiVersion: v1\nkind: Pod\n"), write("broken.yaml", "a: b\nc: d: e\n"), write("empty.yaml", "# none\n")
	cases := map[string]struct {
		args, says []string
	}{
		"nothing":          {nil, []string{"-f FILE", "--from-cluster", "kubectl orlop convert --help"}},
		"both":             {[]string{"-f", good, "--from-cluster"}, []string{"either -f or --from-cluster"}},
		"all namespaces":   {[]string{"-f", good, "-A"}, []string{"--all-namespaces is for --from-cluster"}},
		"two namespaces":   {[]string{"--from-cluster", "-A", "-n", "a"}, []string{"either --namespace or --all-namespaces"}},
		"recursive":        {[]string{"--from-cluster", "-R"}, []string{"--recursive is for folders"}},
		"a format":         {[]string{"-f", good, "-o", "ymal"}, []string{`did you mean "yaml"?`}},
		"a flag":           {[]string{"--from-cluser"}, []string{`did you mean "from-cluster"?`}},
		"an argument":      {[]string{good}, []string{"convert takes no argument", "name files with -f"}},
		"an address":       {[]string{"-f", "https://example.org/a.yaml"}, []string{"curl -fsSL https://example.org/a.yaml | kubectl orlop convert -f -"}},
		"no such file":     {[]string{"-f", good, "-f", "nope.yaml", "-f", broken}, []string{"nope.yaml: no such file", broken + ":2: this is not YAML"}},
		"no object":        {[]string{"-f", empty}, []string{empty + ": there is no object in it"}},
		"an unknown kind":  {[]string{"-f", good, "-f", unknown}, []string{unknown + ":2: nothing here converts this: Pod", "kubectl orlop convert --help"}},
		"a bad name":       {[]string{"-f", good, "-f", bad}, []string{bad + ":1: ImageCache default/Bad_Name", "RFC 1123"}},
		"one object twice": {[]string{"-f", good, "-f", twice}, []string{good + ":1 and " + twice + ":1: both make ImageCache default/good"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			code, out, errs := try(t, append([]string{"convert"}, c.args...)...)
			if code != term.ExitError || out != "" {
				t.Errorf("exit code %d, output %q", code, out)
			}
			expect(t, errs, c.says...)
		})
	}
}

// TestConvertFromCluster: the kinds that are served, without what another object has made, and with what may not be read named.
func TestConvertFromCluster(t *testing.T) {
	s := newAPIServer(t).installed()
	s.groups["/apis/kubefledged.io/v1alpha2"] = &metav1.APIResourceList{GroupVersion: "kubefledged.io/v1alpha2",
		APIResources: []metav1.APIResource{{Name: "imagecaches", Kind: "ImageCache", Namespaced: true}, {Name: "imagecaches/status", Kind: "ImageCache"}}}
	s.groups["/api/v1"] = &metav1.APIResourceList{GroupVersion: "v1", APIResources: []metav1.APIResource{{Name: "configmaps", Kind: "ConfigMap", Namespaced: true}}}
	s.lacks = []string{"/apis/"}
	code, out, errs := s.run("convert", "--from-cluster", "-n", "shop")
	if code != 0 || out != "" || errs != "There is nothing to convert in namespace shop.\n" {
		t.Errorf("nothing: exit code %d %q %q", code, out, errs)
	}
	object := func(apiVersion, kind, namespace, name string, fields map[string]any) {
		fields["apiVersion"], fields["kind"] = apiVersion, kind
		u := &unstructured.Unstructured{Object: fields}
		u.SetNamespace(namespace)
		u.SetName(name)
		u.SetUID("1234")
		s.put(u)
	}
	spec := map[string]any{"cacheSpec": []any{map[string]any{"images": []any{"nginx:1.29"}}}}
	object("kubefledged.io/v1alpha2", "ImageCache", "shop", "web", map[string]any{"spec": spec})
	object("kubefledged.io/v1alpha2", "ImageCache", "other", "models", map[string]any{"spec": spec})
	object("v1", "ConfigMap", "shop", "unrelated", map[string]any{"data": map[string]any{"a": "b"}})
	puller := map[string]any{"IMAGES": "a=redis:8", "CACHING_INTERVAL_HOURS": "2"}
	object("v1", "ConfigMap", "shop", "puller", map[string]any{"data": puller})
	object("v1", "ConfigMap", "shop", "made", map[string]any{"data": puller, "metadata": map[string]any{"ownerReferences": []any{
		map[string]any{"apiVersion": "che.eclipse.org/v1alpha1", "kind": "KubernetesImagePuller", "name": "a", "uid": "1", "controller": true}}}})

	code, out, errs = s.run("convert", "--from-cluster", "-n", "shop")
	if code != 0 || strings.Contains(out, "models") || strings.Contains(out, "unrelated") || strings.Contains(out, "made") || strings.Contains(out, "1234") {
		t.Errorf("exit code %d %s %s", code, out, errs)
	}
	expect(t, out, "name: web\n", "name: puller\n", "# From ConfigMap shop/puller\n")
	if code, out, errs = s.run("convert", "--from-cluster", "-A"); code != 0 || !strings.Contains(out, "namespace: other\n") {
		t.Errorf("all: exit code %d %s %s", code, out, errs)
	}
	s.denied["/configmaps"] = `configmaps is forbidden: User "ann" cannot list resource "configmaps" in API group "" in the namespace "shop"`
	code, out, errs = s.run("convert", "--from-cluster", "-n", "shop")
	if code != term.ExitPartial || !strings.Contains(out, "name: web\n") {
		t.Errorf("half of it: exit code %d %s %s", code, out, errs)
	}
	expect(t, errs, "you have no permission to list configmaps in namespace shop", "kubectl auth can-i list configmaps -n shop")
	s.denied["/imagecaches"] = `imagecaches.kubefledged.io is forbidden: User "ann" cannot list resource "imagecaches" in API group "kubefledged.io" in the namespace "shop"`
	if code, out, errs = s.run("convert", "--from-cluster", "-n", "shop"); code != term.ExitError || out != "" {
		t.Errorf("none of it: exit code %d %s %s", code, out, errs)
	}
}
