// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/operator"
	"orlop.dev/orlop/internal/term"
)

const (
	digestA = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	digestB = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)

func aNode(name string, ready corev1.ConditionStatus) *corev1.Node {
	return &corev1.Node{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Node"}, ObjectMeta: metav1.ObjectMeta{Name: name},
		Status: corev1.NodeStatus{
			NodeInfo:   corev1.NodeSystemInfo{ContainerRuntimeVersion: "containerd://2.4.2", OperatingSystem: "linux", Architecture: "amd64", KubeletVersion: "v1.37.2"},
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready, Message: "kubelet stopped posting", LastTransitionTime: metav1.NewTime(time.Now().Add(-time.Hour))}},
		},
	}
}

func anAgent(node string, ready bool) *corev1.Pod {
	pod := &corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Name: "orlop-agent-" + node, Namespace: "orlop-system", CreationTimestamp: metav1.NewTime(time.Now().Add(-4*time.Minute - time.Second)),
			Labels: map[string]string{operator.LabelName: "orlop", operator.LabelComponent: "agent"}},
		Spec:   corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "agent", Image: "ghcr.io/orlop-dev/orlop-node:1.2.3"}}},
		Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
	}
	if !ready {
		pod.Status = corev1.PodStatus{Phase: corev1.PodPending, ContainerStatuses: []corev1.ContainerStatus{{State: corev1.ContainerState{
			Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: "Back-off pulling image"}}}}}
	}
	return pod
}

func ofKind(kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: kind}
}

func anInventory(node string, images ...v1alpha1.InventoryImage) *v1alpha1.ImageInventory {
	return &v1alpha1.ImageInventory{TypeMeta: ofKind("ImageInventory"), ObjectMeta: metav1.ObjectMeta{Name: node}, Status: v1alpha1.ImageInventoryStatus{
		ObservedTime: metav1.Now(), Runtime: "containerd://2.4.2", Platform: "linux/amd64", Endpoint: "unix:///run/containerd/containerd.sock",
		ImageFS: v1alpha1.ImageFS{CapacityBytes: 100e9, UsedBytes: 20e9, AvailableBytes: 80e9}, ReclaimableBytes: 1e9, ImageCount: int32(len(images)), Images: images,
	}}
}

func aStore(node string, images ...v1alpha1.StoreImage) *v1alpha1.ImageStore {
	return &v1alpha1.ImageStore{TypeMeta: ofKind("ImageStore"), ObjectMeta: metav1.ObjectMeta{Name: node}, Spec: v1alpha1.ImageStoreSpec{Runtime: "containerd://2.4.2", Images: images},
		Status: v1alpha1.ImageStoreStatus{AgentVersion: "1.2.3", Runtime: "containerd://2.4.2"}}
}

// shop is a cluster of four nodes: two are well, one's agent is not ready, and one is not ready itself.
func shop(t *testing.T, more ...runtime.Object) *apiServer {
	web := v1alpha1.InventoryImage{ID: "sha256:1111111111111111", Tags: []string{"ghcr.io/acme/web:1"}, Digests: []string{"ghcr.io/acme/web@" + digestA}, DiskBytes: 4e8, PullBytes: 1e8, Pinned: true,
		Users: []string{"shop/web-1", "shop/web-2", "shop/web-3"}, UserCount: 5}
	old := v1alpha1.InventoryImage{ID: "sha256:2222222222222222", Tags: []string{"docker.io/library/redis:8"}, Digests: []string{"docker.io/library/redis@" + digestB}, DiskBytes: 2e8}
	kept := v1alpha1.StoreImage{Image: "ghcr.io/acme/web:1", Digest: digestA, Caches: []string{"shop/web"}}
	objects := []runtime.Object{
		aNode("node-1", corev1.ConditionTrue), aNode("node-2", corev1.ConditionTrue), aNode("node-3", corev1.ConditionTrue), aNode("node-4", corev1.ConditionUnknown),
		anAgent("node-1", true), anAgent("node-2", true), anAgent("node-3", false), anAgent("node-4", true),
		anInventory("node-1", web, old), anInventory("node-2", old), anInventory("node-3", web), anInventory("node-4", web),
		aStore("node-1", kept), aStore("node-2"), aStore("node-3", kept), aStore("node-4"),
	}
	return newAPIServer(t, append(objects, more...)...).installed()
}

// run is one command line for the server.
func (s *apiServer) run(line ...string) (code int, out, err string) {
	s.t.Helper()
	return try(s.t, append(line, "--server", s.URL)...)
}

func expect(t *testing.T, text string, says ...string) {
	t.Helper()
	for _, words := range says {
		if !strings.Contains(text, words) {
			t.Errorf("does not say %q:\n%s", words, text)
		}
	}
}

// TestListOfAnInstall reads inventories, makes nothing, and takes no word of a node whose agent is away.
func TestListOfAnInstall(t *testing.T) {
	s := shop(t)
	code, out, errs := s.run("list")
	want := `IMAGE                     TAG   ID              NODES    DISK    PULL   USED BY   FLAGS
docker.io/library/redis   8     2222222222222     2/4   200MB       -   -         -
ghcr.io/acme/web          1     1111111111111     1/4   400MB   100MB   5 pods    UPC
`
	if diff := cmp.Diff(want, out); diff != "" || code != term.ExitPartial {
		t.Errorf("exit code %d %s", code, diff)
	}
	expect(t, errs, "P pinned, C kept by a cache", "2 of 4 nodes answered", "node-3 (AgentNotReady): agent not ready for 4m", "ImagePullBackOff: Back-off pulling image", "--ephemeral",
		"node-4: NotReady since 60m: kubelet stopped posting", "Retry: kubectl orlop list --server "+s.URL+" --node node-3,node-4 --ephemeral\n")
	if strings.Contains(errs, " old (") {
		t.Errorf("what is new is said to be old: %s", errs)
	}
	if len(s.writes()) > 0 {
		t.Errorf("written: %s", s.writes())
	}
	for pattern, tip := range map[string]string{"acme/w*": "'**/acme/w*'", "w*:1": "'**/w*:1'"} {
		_, _, errs = s.run("list", pattern, "--node", "node-1")
		expect(t, errs, "No image on 1 node fits", "try: kubectl orlop list "+tip)
	}
	_, _, errs = s.run("list", "nosuch*", "--node", "node-1")
	expect(t, errs, "may be missing; --ephemeral asks the nodes now")
	if strings.Contains(errs, "try:") {
		t.Errorf("nothing is like it, and yet: %s", errs)
	}
	_, out, _ = s.run("list", "-o", "json", "--node", "node-1")
	var doc struct {
		Items []struct {
			Image string
			Nodes []struct {
				Caches    []string
				MoreUsers int
			}
		}
		Nodes []nodeState
	}
	if err := json.Unmarshal([]byte(out), &doc); err != nil || len(doc.Items) != 2 || doc.Items[1].Nodes[0].Caches[0] != "shop/web" || doc.Items[1].Nodes[0].MoreUsers != 2 ||
		doc.Nodes[0].Runtime != "containerd 2.4.2" || doc.Nodes[0].Endpoint != "unix:///run/containerd/containerd.sock" {
		t.Errorf("%v %s", err, out)
	}
}

func TestDfOfAnInstall(t *testing.T) {
	code, out, _ := shop(t).run("df", "--node", "node-1,node-3")
	if code != term.ExitPartial {
		t.Errorf("exit code %d", code)
	}
	expect(t, out, "100GB", "20GB (20 %)", "1GB (1 %)", "AgentNotReady", "~in 65GB")
}

// TestAgesOfInventories: how old the oldest is stands below a table, where that matters. An age under ten minutes is printed to the second, which goes on
// while a command runs.
func TestAgesOfInventories(t *testing.T) {
	for name, test := range map[string]struct {
		ages     [2]time.Duration
		list, df string
	}{
		"new":          {[2]time.Duration{time.Second, 50 * time.Second}, "", ""},
		"a while":      {[2]time.Duration{3 * time.Minute, 7 * time.Minute}, `USED BY is up to 7m(\d+s)? old \(node-2\); --ephemeral asks`, `RECLAIMABLE are up to 7m(\d+s)? old \(node-2\);`},
		"one is quiet": {[2]time.Duration{3 * time.Minute, 50 * time.Hour}, "USED BY is up to 3m", `RECLAIMABLE are up to 2d2h old \(node-2\);`},
		"all is quiet": {[2]time.Duration{20 * time.Minute, 50 * time.Hour}, "", "up to 2d2h old"},
		"clocks apart": {[2]time.Duration{-time.Hour, time.Second}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := shop(t)
			for i, age := range test.ages {
				inventory := anInventory(fmt.Sprintf("node-%d", i+1), v1alpha1.InventoryImage{ID: "sha256:1111111111111111"})
				inventory.Status.ObservedTime = metav1.NewTime(time.Now().Add(-age))
				s.put(inventory)
			}
			for verb, want := range map[string]string{"list": test.list, "df": test.df} {
				_, _, errs := s.run(verb, "--node", "node-1,node-2")
				if want == "" && strings.Contains(errs, "old (") || !regexp.MustCompile(want).MatchString(errs) {
					t.Errorf("%s says %q, want %s", verb, errs, want)
				}
			}
		})
	}
}

func TestDriftOfAnInstall(t *testing.T) {
	moved := v1alpha1.InventoryImage{ID: "sha256:3333333333333333", Tags: []string{"ghcr.io/acme/web:1"}, Digests: []string{"ghcr.io/acme/web@" + digestB}}
	code, out, _ := shop(t, anInventory("node-2", moved)).run("drift", "--offline", "--node", "node-1,node-2", "--exit-code")
	if code != term.ExitFound {
		t.Errorf("exit code %d", code)
	}
	expect(t, out, "ghcr.io/acme/web:1", "DRIFT")
}

// TestKindsWithoutAgents: after an uninstall the kinds may still be there; the nodes are asked as if they were not.
func TestKindsWithoutAgents(t *testing.T) {
	s := newAPIServer(t, aNode("node-1", corev1.ConditionUnknown)).installed()
	code, _, errs := s.run("list")
	if code != term.ExitPartial {
		t.Errorf("exit code %d", code)
	}
	expect(t, errs, "no agent was", "asking 1 node")
}

func TestRightsToTheKinds(t *testing.T) {
	s := shop(t)
	s.denied["imageinventories"] = `imageinventories.orlop.dev is forbidden: User "ann" cannot list resource "imageinventories" in API group "orlop.dev" at the cluster scope`
	code, _, errs := s.run("list")
	if code != term.ExitError {
		t.Errorf("exit code %d", code)
	}
	expect(t, errs, "no permission to list imageinventories.orlop.dev", "kubectl create clusterrolebinding orlop-view --clusterrole orlop-view --user ann")
	delete(s.denied, "imageinventories")
	s.denied["/pods"] = `pods is forbidden: User "ann" cannot list resource "pods" in API group "" at the cluster scope`
	_, out, errs := s.run("list")
	expect(t, errs, "may be old", "3 of 4 nodes answered")
	expect(t, out, "ghcr.io/acme/web")
	delete(s.denied, "/pods")
	s.denied["imagestores"] = `User "ann" cannot list resource "imagestores" in API group "orlop.dev" at the cluster scope`
	code, _, errs = s.run("rm", "ghcr.io/acme/web:1", "--yes")
	if code != term.ExitError || len(s.writes()) > 0 {
		t.Errorf("exit code %d, %s: what caches keep is not known, and something was done", code, s.writes())
	}
	expect(t, errs, "orlop-view")
}

func aCache(name string, generation int64, status v1alpha1.ImageCacheStatus) *v1alpha1.ImageCache {
	return &v1alpha1.ImageCache{TypeMeta: ofKind("ImageCache"), ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop", Generation: generation},
		Spec: v1alpha1.ImageCacheSpec{Images: []v1alpha1.CachedImage{{Image: "ghcr.io/acme/web:1"}, {Image: "redis:none"}}}, Status: status}
}

func statusOf(generation int64, ready metav1.ConditionStatus, reason, message string, stalled metav1.ConditionStatus) v1alpha1.ImageCacheStatus {
	st := v1alpha1.ImageCacheStatus{ObservedGeneration: generation, Summary: "1/3", ImageCount: 2, DesiredNodes: 3, ReadyNodes: 1, FailedNodes: 2,
		Images: []v1alpha1.CachedImageStatus{{Image: "ghcr.io/acme/web:1", Digest: digestA, ReadyNodes: 3}, {Image: "redis:none", ReadyNodes: 1, FailedNodes: 2, Reason: "NotFound"}},
		Conditions: []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: ready, Reason: reason, Message: message, ObservedGeneration: generation},
			{Type: v1alpha1.ConditionStalled, Status: stalled, Reason: "NotFound", Message: "redis:none does not exist", ObservedGeneration: generation}}}
	for _, node := range []string{"node-1", "node-2"} {
		st.Failures = append(st.Failures, v1alpha1.CacheFailure{Node: node, Image: "redis:none", Reason: "NotFound", Message: "manifest unknown", Attempts: 2})
	}
	return st
}

func TestStatusOfACache(t *testing.T) {
	stalled := statusOf(4, metav1.ConditionFalse, "NotFound", "1 of 2 images", metav1.ConditionTrue)
	s := shop(t, aCache("web", 4, stalled))
	code, out, _ := s.run("status", "ic/web", "-n", "shop")
	want := `ImageCache shop/web   generation 4 (observed 4)   Ready=False NotFound: 1 of 2 images
1 of 3 nodes ready, 2 failed
Stalled: NotFound: redis:none does not exist
IMAGE                READY   FAILED   DIGEST          REASON
ghcr.io/acme/web:1     3/3        0   aaaaaaaaaaaaa   -
redis:none             1/3        2   -               NotFound
  node-1, node-2: redis:none (NotFound): manifest unknown (attempt 2)
`
	if diff := cmp.Diff(want, out); diff != "" || code != 0 {
		t.Errorf("exit code %d %s", code, diff)
	}
	for line := range strings.SplitSeq(out, "\n") {
		if len(line) > 90 {
			t.Errorf("%d columns: %s", len(line), line)
		}
	}
	_, out, _ = s.run("status", "imagecache", "web", "-n", "shop", "-o", "jsonpath={.kind}/{.metadata.name} {.status.summary}")
	if out != "ImageCache/web 1/3" {
		t.Errorf("as an object: %s", out)
	}
	code, _, errs := s.run("status", "ic/webb", "-n", "shop")
	if code != term.ExitError {
		t.Errorf("exit code %d", code)
	}
	expect(t, errs, "ImageCache webb does not exist in namespace shop", `did you mean "web"`)
	_, _, errs = s.run("status", "ic/web")
	expect(t, errs, "does not exist in namespace default, but does in shop", "-n shop")
	if code, _, errs = s.run("status", "ic/web", "-n", "shop", "--wait"); code != term.ExitPartial {
		t.Errorf("stalled: exit code %d %s", code, errs)
	}
}

// TestWaitForACache: it ends when the cache is ready for the spec as it is now, and says so while it is not.
func TestWaitForACache(t *testing.T) {
	before := statusOf(3, metav1.ConditionTrue, v1alpha1.ReasonReady, "", metav1.ConditionFalse)
	s := shop(t, aCache("web", 4, before))
	code, _, errs := s.run("status", "ic/web", "-n", "shop", "--wait", "--timeout", "50ms")
	if code != term.ExitTimeout {
		t.Errorf("exit code %d: %s", code, errs)
	}
	expect(t, errs, "generation 4 is not looked at yet", "not ready after 50ms: no controller looks at it; try: kubectl orlop check --pre")
	working := statusOf(4, metav1.ConditionFalse, v1alpha1.ReasonRollingOut, "", metav1.ConditionFalse)
	done := statusOf(4, metav1.ConditionTrue, v1alpha1.ReasonReady, "", metav1.ConditionFalse)
	s.put(aCache("web", 4, working))
	time.AfterFunc(100*time.Millisecond, func() { s.put(aCache("web", 4, done)) })
	code, out, errs := s.run("status", "ic/web", "-n", "shop", "--wait", "--timeout", "30s")
	if code != 0 {
		t.Errorf("exit code %d: %s", code, errs)
	}
	expect(t, errs, "1 of 3 nodes ready, 4 of 6 copies, 2 failed", "Ready after")
	expect(t, out, "(observed 4)   Ready=True\n")
}

func TestStatusOfAnInstall(t *testing.T) {
	s := shop(t, aController("1.2.3"), aCache("web", 4, statusOf(4, metav1.ConditionFalse, "NotFound", "", metav1.ConditionTrue)), aCache("b", 1, statusOf(1, metav1.ConditionTrue, "Ready", "", metav1.ConditionFalse)))
	code, out, _ := s.run("status")
	want := `orlop 1.2.3 in orlop-system · Kubernetes v1.37.2
controller   1/1 ready
agents       3/4 ready      node-3: ImagePullBackOff: Back-off pulling image
runtimes     containerd 2.4.2 ×4
caches       1 ready, 1 stalled   shop/web
jobs         none
cron jobs    none
`
	if diff := cmp.Diff(want, out); diff != "" || code != 0 {
		t.Errorf("exit code %d %s", code, diff)
	}
	_, out, _ = s.run("status", "-o", "jsonpath={.agents.ready} {.caches.stalledCaches[0]} {.runtimes}")
	if out != `3 shop/web {"containerd 2.4.2":4}` {
		t.Errorf("as an object: %s", out)
	}
	code, out, _ = s.run("check")
	if code != term.ExitError {
		t.Errorf("check: exit code %d", code)
	}
	expect(t, out, "✔ the kinds of orlop.dev/v1alpha1 are served", "✔ controller 1/1 ready in orlop-system", "✗ node-3: agent not ready for 4m", "✔ this program 1.2.3, controller 1.2.3, agents 1.2.3 ×4",
		"✗ the admission policy or its binding is missing", "! stalled: shop/web", "status imagecache/web -n shop")
}

// TestWhatAnUninstallLeaves: kinds without a controller and agents are no install.
func TestWhatAnUninstallLeaves(t *testing.T) {
	s := newAPIServer(t, aNode("node-1", corev1.ConditionTrue)).installed()
	code, out, errs := s.run("status", "--wait")
	if code != term.ExitError || out != "" {
		t.Errorf("exit code %d %s", code, out)
	}
	expect(t, errs, "not installed", "neither a controller nor an agent", "kubectl orlop check --pre")
	_, out, _ = s.run("check", "--pre")
	expect(t, out, "! neither a controller nor an agent was found", "kubectl orlop uninstall --crds --dry-run")
	if strings.Contains(out, "✗") || strings.Contains(out, "this program") {
		t.Errorf("it looks further: %s", out)
	}
}

// TestStatusWithFewRights: who may only see Orlop's own objects is told of these, and what could not be seen.
func TestStatusWithFewRights(t *testing.T) {
	s := shop(t)
	s.denied["deployments"] = `User "ann" cannot list resource "deployments" in API group "apps" in the namespace "orlop-system"`
	s.denied["/pods"] = `User "ann" cannot list resource "pods" in API group "" in the namespace "orlop-system"`
	code, out, errs := s.run("status")
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	expect(t, out, "controller   not seen", "agents       not seen", "containerd 2.4.2 ×4")
	expect(t, errs, "no permission to list deployments.apps in namespace orlop-system", "no permission to list pods", "kubectl create rolebinding orlop-view -n orlop-system --role orlop-view --user ann\n")
	code, _, errs = s.run("status", "--wait")
	if code != term.ExitPartial {
		t.Errorf("exit code %d of a wait for what cannot be seen", code)
	}
	expect(t, errs, "you have no permission to see")
}

// TestAWaitWithoutHope: what will not come by itself is not waited for.
func TestAWaitWithoutHope(t *testing.T) {
	for name, test := range map[string]struct {
		now  installStatus
		says string
	}{
		"agents are coming": {installStatus{Controller: partStatus{Desired: 1}, Agents: partStatus{Desired: 3}}, ""},
		"no DaemonSet":      {installStatus{Controller: partStatus{Desired: 1}, noAgentSet: true}, "there is no DaemonSet"},
		"no node matches":   {installStatus{Controller: partStatus{Desired: 1}}, "matches no node"},
		"scaled to nothing": {installStatus{Agents: partStatus{Desired: 3}}, "scaled to 0"},
		"no rights":         {installStatus{Hidden: []string{"no"}}, "no permission"},
	} {
		t.Run(name, func(t *testing.T) {
			if why := test.now.hopeless(); (why == "") != (test.says == "") || !strings.Contains(why, test.says) {
				t.Errorf("%q", why)
			}
		})
	}
}

func TestNotInstalled(t *testing.T) {
	s := newAPIServer(t, aNode("node-1", corev1.ConditionTrue))
	for name, line := range map[string]string{"status": "status", "of a cache": "status ic/web", "create": "cache create web --image nginx", "refresh": "cache refresh web"} {
		t.Run(name, func(t *testing.T) {
			code, _, errs := s.run(strings.Fields(line)...)
			if code != term.ExitError || len(s.writes()) > 0 {
				t.Errorf("exit code %d, %s", code, s.writes())
			}
			expect(t, errs, "Orlop is not installed in this cluster")
		})
	}
	code, _, errs := s.run("uninstall", "--yes")
	if code != 0 {
		t.Errorf("uninstall: exit code %d", code)
	}
	expect(t, errs, "nothing to remove")
}
