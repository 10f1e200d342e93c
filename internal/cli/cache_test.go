// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/operator"
	"orlop.dev/orlop/internal/term"
)

// TestCreateACache: what is printed is what would be made, and can be applied.
func TestCreateACache(t *testing.T) {
	noCluster(t)
	cases := map[string]struct{ line, want string }{
		"small": {"web --image nginx:1.29", `apiVersion: orlop.dev/v1alpha1
kind: ImageCache
metadata:
  name: web
  namespace: default
spec:
  images:
  - image: nginx:1.29
`},
		"with everything": {"web --image nginx:1.29 --image ghcr.io/acme/web -l pool=web,zone!=b,gpu -n shop --pull-secret a,b --refresh 5m --no-pin --keep", `apiVersion: orlop.dev/v1alpha1
kind: ImageCache
metadata:
  name: web
  namespace: shop
spec:
  affinity:
    nodeAffinity:
      requiredDuringSchedulingIgnoredDuringExecution:
        nodeSelectorTerms:
        - matchExpressions:
          - key: gpu
            operator: Exists
          - key: zone
            operator: NotIn
            values:
            - b
  imagePullSecrets:
  - name: a
  - name: b
  images:
  - image: nginx:1.29
  - image: ghcr.io/acme/web
  nodeSelector:
    pool: web
  pin: false
  refreshInterval: 5m0s
  removalPolicy: Keep
`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			code, out, errs := try(t, append(strings.Fields("cache create "+c.line), "--dry-run=client", "-o", "yaml")...)
			if diff := cmp.Diff(c.want, out); diff != "" || code != 0 {
				t.Errorf("exit code %d %s %s", code, errs, diff)
			}
		})
	}
}

func TestCreateACacheOnAServer(t *testing.T) {
	s := shop(t)
	code, out, errs := s.run("cache", "create", "web", "--image", "nginx:1.29", "-n", "shop", "--dry-run")
	if code != 0 || out != "imagecache.orlop.dev/web created (server dry run)\n" || len(s.writes()) > 0 {
		t.Errorf("exit code %d, %s %s %s", code, out, errs, s.writes())
	}
	code, out, errs = s.run("cache", "create", "web", "--image", "nginx:1.29", "-n", "shop")
	if code != 0 || out != "imagecache.orlop.dev/web created\n" || s.get("/apis/orlop.dev/v1alpha1/namespaces/shop/imagecaches/web") == nil {
		t.Errorf("exit code %d, %s %s %s", code, out, errs, s.writes())
	}
	expect(t, errs, "kubectl orlop status imagecache/web -n shop --wait")
	code, _, errs = s.run("cache", "create", "web", "--image", "nginx:1.29", "-n", "shop")
	if code != term.ExitError {
		t.Errorf("a second time: exit code %d", code)
	}
	expect(t, errs, "shop/web already exists", "kubectl edit imagecache web -n shop")
}

func TestCacheRefusedAtOnce(t *testing.T) {
	noCluster(t)
	cases := map[string]struct {
		line string
		says []string
	}{
		"no name":            {"cache create --image nginx", []string{"name the ImageCache"}},
		"two names":          {"cache create a b --image nginx", []string{"one name", "kubectl orlop cache create a --image nginx --image b"}},
		"images as names":    {"cache create web ghcr.io/acme/web:1", []string{"--image", "kubectl orlop cache create web --image ghcr.io/acme/web:1"}},
		"no image":           {"cache create web", []string{"--image"}},
		"a bad image":        {"cache create web --image Nginx", []string{"lower-case", "kubectl orlop cache create --help"}},
		"a bad name":         {"cache create Web --image nginx", []string{`"Web" is not the name`, "a-z, 0-9"}},
		"a long name":        {"cache create " + strings.Repeat("a", 300) + " --image nginx", []string{"at most 253 characters, not 300"}},
		"a bad selector":     {"cache create web --image nginx -l a=b=c", []string{"--selector"}},
		"two values":         {"cache create web --image nginx -l a=b,a=c", []string{"no node has two values of a"}},
		"dry run":            {"cache create web --image nginx --dry-run=clent", []string{`did you mean "client"`}},
		"nothing to wait":    {"cache create web --image nginx --dry-run=client --wait", []string{"--wait"}},
		"unknown subcommand": {"cache crate web", []string{`did you mean "create"`}},
		"one with a flag":    {"cache crate web --image nginx", []string{`unknown command "crate"`, `did you mean "create"`}},
		"nothing to refresh": {"cache refresh", []string{"name at least one ImageCache"}},
		"purge without yes":  {"cache purge web", []string{"kubectl orlop cache purge web --yes"}},
		"status of a node":   {"status node/a", []string{`"node" is not a kind`}},
		"status of a word":   {"status web", []string{"imagecache/web"}},
		"status of a kind":   {"status ic", []string{"which ImageCache?"}},
		"status of two":      {"status ic/a ic/b", []string{`one ImageCache at a time, not also "ic/b"`}},
		"uninstall, no yes":  {"uninstall --crds", []string{"kubectl orlop uninstall --crds --yes"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			code, out, err := try(t, strings.Fields(c.line)...)
			if code != term.ExitError || out != "" {
				t.Errorf("exit code %d, answer %q", code, out)
			}
			expect(t, err, c.says...)
		})
	}
}

// TestRefreshAndPurge: what is asked for is a new value each time, and the wait is for that one.
func TestRefreshAndPurge(t *testing.T) {
	s := shop(t, aCache("web", 4, statusOf(4, metav1.ConditionTrue, "Ready", "", metav1.ConditionFalse)))
	const path = "/apis/orlop.dev/v1alpha1/namespaces/shop/imagecaches/web"
	code, out, errs := s.run("cache", "refresh", "web", "-n", "shop")
	first := s.get(path).GetAnnotations()[v1alpha1.AnnotationRefresh]
	if _, err := time.Parse(time.RFC3339, first); err != nil || code != 0 || out != "imagecache.orlop.dev/web: refresh requested\n" {
		t.Errorf("exit code %d %s %s %v", code, out, errs, err)
	}
	acted := make(chan struct{})
	go func() { // The controller.
		defer close(acted)
		for t.Context().Err() == nil {
			now := s.get(path).DeepCopy()
			if asked := now.GetAnnotations()[v1alpha1.AnnotationPurge]; asked != "" {
				_ = unstructured.SetNestedField(now.Object, asked, "status", "purge")
				s.put(now)
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	code, _, errs = s.run("cache", "purge", "web", "-n", "shop", "--yes", "--wait")
	<-acted
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	expect(t, errs, "ImageCache shop/web keeps on 3 nodes", "ghcr.io/acme/web:1 (3 nodes)", "purge acted upon")
	if code, _, errs = s.run("cache", "refresh", "web", "-n", "shop", "--wait", "--timeout", "20ms"); code != term.ExitTimeout {
		t.Errorf("nobody acts: exit code %d %s", code, errs)
	}
	if again := s.get(path).GetAnnotations()[v1alpha1.AnnotationRefresh]; again == first {
		t.Error("the same value again")
	}
	writes := len(s.writes())
	if code, _, _ = s.run("cache", "refresh", "web", "other", "-n", "shop"); code != term.ExitError || len(s.writes()) != writes {
		t.Errorf("one of two does not exist: exit code %d, %s", code, s.writes()[writes:])
	}
}

func TestCompletionOfCaches(t *testing.T) {
	s := shop(t, aCache("web", 1, v1alpha1.ImageCacheStatus{}))
	for line, want := range map[string]string{"cache refresh": "web\n", "status": "imagecache/web\n"} {
		_, out, _ := try(t, append(append([]string{"__complete"}, strings.Fields(line)...), "--server", s.URL, "-n", "shop", "")...)
		if !strings.HasPrefix(out, want) {
			t.Errorf("%s: %s", line, out)
		}
	}
}

func part(apiVersion, kind, namespace, name string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": apiVersion, "kind": kind}}
	u.SetName(name)
	u.SetNamespace(namespace)
	u.SetLabels(map[string]string{operator.LabelPartOf: "orlop"})
	u.SetAnnotations(map[string]string{"meta.helm.sh/release-name": "orlop"})
	return u
}

// anInstall is a shop with the objects of an install, in which the agents of node-1 and node-2 let go when they are asked.
func anInstall(t *testing.T) *apiServer {
	s := shop(t, aCache("web", 1, v1alpha1.ImageCacheStatus{}))
	for _, u := range []*unstructured.Unstructured{
		part("apps/v1", "Deployment", "orlop-system", "orlop-controller"), part("apps/v1", "DaemonSet", "orlop-system", "orlop-agent"),
		part("rbac.authorization.k8s.io/v1", "ClusterRole", "", "orlop-agent"), part("v1", "ServiceAccount", "orlop-system", "orlop-agent"),
		part("coordination.k8s.io/v1", "Lease", "orlop-system", "orlop-controller"),
		part("apiextensions.k8s.io/v1", "CustomResourceDefinition", "", "imagecaches.orlop.dev"), part("v1", "Namespace", "", "orlop-system"),
	} {
		s.put(u)
	}
	for _, node := range []string{"node-1", "node-2"} {
		store := aStore(node)
		store.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionRetired, Status: metav1.ConditionTrue}}
		s.put(store)
	}
	return s
}

func TestUninstall(t *testing.T) {
	s := anInstall(t)
	code, out, errs := s.run("uninstall", "--dry-run")
	if code != 0 || len(s.writes()) > 0 {
		t.Errorf("dry run: exit code %d, %s", code, s.writes())
	}
	expect(t, out, "let go", "node-1, node-2, node-3, node-4", "daemonsets", "clusterroles", "serviceaccounts")
	expect(t, errs, "1 ImageCache with them; --crds", "Nothing was done")
	if strings.Contains(out, "customresource") {
		t.Errorf("the definitions are to go: %s", out)
	}
	code, _, errs = s.run("uninstall", "--yes", "--timeout", "1s")
	if code != term.ExitPartial {
		t.Errorf("exit code %d %s", code, errs)
	}
	expect(t, errs, "2 of 4 nodes let go", "node-3: agent not ready for 4m", "node-4: its agent did not answer within 1s", "namespace orlop-system stays")
	var order []string
	for _, write := range s.writes() {
		if strings.HasPrefix(write, "DELETE") {
			order = append(order, last(write[:strings.LastIndex(write, "/")])+"/"+last(write))
		}
	}
	want := []string{"deployments/orlop-controller", "daemonsets/orlop-agent", "v1alpha1/imagestores", "v1alpha1/imageinventories", "leases/orlop-controller", "clusterroles/orlop-agent", "serviceaccounts/orlop-agent"}
	if diff := cmp.Diff(want, order); diff != "" {
		t.Error(diff)
	}
}

// TestUninstallOfARelease: what Helm has installed is not deleted behind its back.
func TestUninstallOfARelease(t *testing.T) {
	s := anInstall(t)
	release := part("v1", "Secret", "orlop-system", "sh.helm.release.v1.orlop.v3")
	release.SetLabels(map[string]string{"owner": "helm", "name": "orlop"})
	s.put(release)
	code, _, errs := s.run("uninstall", "--yes", "--timeout", "1s")
	if code != term.ExitPartial {
		t.Errorf("exit code %d %s", code, errs)
	}
	expect(t, errs, "2 of 4 nodes let go", "helm uninstall orlop -n orlop-system")
	for _, write := range s.writes() {
		if strings.HasPrefix(write, "DELETE") {
			t.Errorf("%s", write)
		}
	}
}

func TestUninstallWithTheKinds(t *testing.T) {
	s := anInstall(t)
	_, _, errs := s.run("uninstall", "--yes", "--crds", "--timeout", "1s")
	if s.get("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/imagecaches.orlop.dev") != nil {
		t.Error("the definition stays")
	}
	expect(t, errs, "the CRDs go too, and 1 ImageCache with them")
}

func TestUninstallWithTheKindsAndNoCaches(t *testing.T) {
	s := anInstall(t)
	s.mu.Lock()
	delete(s.objects, "/apis/orlop.dev/v1alpha1/namespaces/shop/imagecaches/web")
	s.mu.Unlock()
	_, _, errs := s.run("uninstall", "--dry-run", "--crds")
	if strings.Contains(errs, "the definitions of the kinds stay") {
		t.Errorf("they go: %s", errs)
	}
}
