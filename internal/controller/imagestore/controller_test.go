// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagestore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/catalog"
	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/pullsecret"
)

// bench is a controller over an API in memory.
type bench struct {
	*Controller
	t        *testing.T
	api      client.WithWatch
	known    *catalog.Catalog
	recorder *events.FakeRecorder
	secrets  []pullsecret.Secret
	// writes counts; refuse, if set, is what the API server answers to one.
	writes int
	refuse error
	// blind is what reads of a Node end with; refused is whose store alone is refused, empty: everybody's.
	blind   error
	refused string
	// deaf is what reads of ImageCaches and lists of Nodes and ImageStores end with.
	deaf error
}

func (b *bench) For(context.Context, pullsecret.Holder) ([]pullsecret.Secret, []pullsecret.Problem) {
	return b.secrets, nil
}

func newBench(t *testing.T, objects ...client.Object) *bench {
	t.Helper()
	s := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(s), v1alpha1.AddToScheme(s)); err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, known: catalog.New(), recorder: events.NewFakeRecorder(20)}
	b.api = fake.NewClientBuilder().WithScheme(s).WithObjects(objects...).
		WithStatusSubresource(&v1alpha1.ImageStore{}, &v1alpha1.ImageInventory{}, &v1alpha1.ImageCache{}).
		WithIndex(&corev1.Pod{}, podNode, nodeOfPod).
		WithIndex(&corev1.Pod{}, "status.phase", func(o client.Object) []string { return []string{string(o.(*corev1.Pod).Status.Phase)} }).
		Build()
	counted := interceptor.NewClient(b.api, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			if _, node := o.(*corev1.Node); node && b.blind != nil {
				return b.blind
			}
			if _, cache := o.(*v1alpha1.ImageCache); cache && b.deaf != nil {
				return b.deaf
			}
			return c.Get(ctx, key, o, opts...)
		},
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			if b.deaf != nil {
				return b.deaf
			}
			return c.List(ctx, list, opts...)
		},
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			b.writes++
			if b.refuse != nil && (b.refused == "" || b.refused == o.GetName()) {
				return b.refuse
			}
			return b.patch(ctx, c, o, p, opts...)
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			b.writes++
			return c.Delete(ctx, o, opts...)
		},
	})
	b.Controller = New(Config{
		Client: counted, Live: live{counted}, Agents: NewAgents(counted, "orlop-system"), Catalog: b.known, Secrets: b, Recorder: b.recorder,
	})
	return b
}

// live lists pods by the fields that the real API server knows: the one in memory takes no "not equal".
type live struct{ client.Reader }

func (l live) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	all := &client.ListOptions{}
	for _, o := range opts {
		o.ApplyToList(all)
	}
	pods, ok := list.(*corev1.PodList)
	if !ok {
		return errors.New("only pods are listed live")
	}
	selector := all.FieldSelector
	if err := l.Reader.List(ctx, pods); err != nil {
		return err
	}
	items := pods.Items
	pods.Items = nil
	for _, pod := range items {
		if selector.Matches(fieldsOf{podNode: pod.Spec.NodeName, "status.phase": string(pod.Status.Phase)}) {
			pods.Items = append(pods.Items, pod)
		}
	}
	return nil
}

type fieldsOf map[string]string

func (f fieldsOf) Has(field string) bool   { _, ok := f[field]; return ok }
func (f fieldsOf) Get(field string) string { return f[field] }

// patch does what the API server does and the one in memory does not: it gives new objects a UID, and counts generations.
func (b *bench) patch(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
	before := &v1alpha1.ImageStore{}
	found := c.Get(ctx, client.ObjectKeyFromObject(o), before) == nil
	if _, meta := o.(*metav1.PartialObjectMetadata); meta {
		data, err := p.Data(o)
		if err != nil {
			return err
		}
		inventory := &v1alpha1.ImageInventory{}
		if err := json.Unmarshal(data, inventory); err != nil {
			return err
		}
		inventory.UID = "uid-inventory-of-" + inventory.OwnerReferences[0].UID
		return c.Create(ctx, inventory)
	}
	if err := c.Patch(ctx, o, p, opts...); err != nil {
		return err
	}
	store := &v1alpha1.ImageStore{}
	if err := c.Get(ctx, client.ObjectKeyFromObject(o), store); err != nil {
		return err
	}
	store.Generation = before.Generation + 1
	if !found {
		store.UID = "uid-store-of-" + store.OwnerReferences[0].UID
	}
	return c.Update(ctx, store)
}

func (b *bench) reconcile(node string) reconcile.Result {
	b.t.Helper()
	result, err := b.Reconcile(b.t.Context(), reconcile.Request{NamespacedName: types.NamespacedName{Name: node}})
	if err != nil {
		b.t.Fatal(err)
	}
	return result
}

// quiet fails the test if the node is not as it should be already.
func (b *bench) quiet(node string) {
	b.t.Helper()
	before := b.writes
	b.reconcile(node)
	if b.writes != before {
		b.t.Errorf("%d writes, and nothing was to do", b.writes-before)
	}
}

func (b *bench) store(node string) *v1alpha1.ImageStore {
	b.t.Helper()
	store := &v1alpha1.ImageStore{}
	if err := b.api.Get(b.t.Context(), types.NamespacedName{Name: node}, store); err != nil {
		b.t.Fatal(err)
	}
	return store
}

// answer writes what the agent says, having seen the spec that stands.
func (b *bench) answer(node string, change func(*v1alpha1.ImageStoreStatus)) {
	b.t.Helper()
	store := b.store(node)
	store.Status.ObservedGeneration, store.Status.ObservedRevision = store.Generation, store.Spec.Revision
	change(&store.Status)
	if err := b.api.Status().Update(b.t.Context(), store); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) entries(node string) (lines []string) {
	b.t.Helper()
	for _, e := range b.store(node).Spec.Images {
		lines = append(lines, short(e))
	}
	return lines
}

func (b *bench) learn(image, d string) {
	b.t.Helper()
	ref, err := oci.Parse(image)
	if err != nil {
		b.t.Fatal(err)
	}
	b.known.Update(ref, func(catalog.Entry) catalog.Entry {
		if d == "" {
			return catalog.Entry{Refusal: &catalog.Refusal{Reason: engine.Unauthorized, Message: "denied"}}
		}
		return catalog.Entry{Digest: digest.Digest(d)}
	})
}

func (b *bench) has(node string, want ...string) {
	b.t.Helper()
	if diff := gocmp.Diff(want, b.entries(node)); diff != "" {
		b.t.Errorf("node %s: -want +got\n%s", node, diff)
	}
}

func agentOn(node string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "orlop-system", Name: "agent-" + node, Labels: AgentLabels, CreationTimestamp: metav1.NewTime(time.Now().Add(-time.Hour))},
		Spec:       corev1.PodSpec{NodeName: node},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
	}
}

func TestANodeGetsItsObjectsOnce(t *testing.T) {
	b := newBench(t, nodeOf("n1"), agentOn("n1"))
	b.reconcile("n1")
	store := b.store("n1")
	if len(store.OwnerReferences) != 1 || store.OwnerReferences[0].UID != "uid-node" || store.OwnerReferences[0].BlockOwnerDeletion != nil || store.Spec.Runtime != "containerd://2.4.2" {
		t.Errorf("%+v", store)
	}
	if b.writes != 2 {
		t.Errorf("%d writes, want 2", b.writes)
	}
	b.quiet("n1")
	b.reconcile("gone")
	if b.writes != 2 {
		t.Error("something was written for a node that is not there")
	}
}

func TestANodeMadeAnew(t *testing.T) {
	b := newBench(t, nodeOf("n1"), agentOn("n1"), cacheOf("x", web))
	b.learn(web, one)
	b.reconcile("n1")
	node := nodeOf("n1")
	if err := b.api.Delete(t.Context(), node); err != nil {
		t.Fatal(err)
	}
	node = nodeOf("n1")
	node.UID = "uid-new"
	if err := b.api.Create(t.Context(), node); err != nil {
		t.Fatal(err)
	}
	b.reconcile("n1") // The old store goes.
	b.reconcile("n1") // The new one comes, and the old inventory goes.
	b.reconcile("n1") // The new inventory comes.
	if owner := b.store("n1").OwnerReferences[0].UID; owner != "uid-new" {
		t.Errorf("the store is %s's", owner)
	}
	inventory := &v1alpha1.ImageInventory{}
	if err := b.api.Get(t.Context(), types.NamespacedName{Name: "n1"}, inventory); err != nil || inventory.OwnerReferences[0].UID != "uid-new" {
		t.Errorf("the inventory is %v's, %v", inventory.OwnerReferences, err)
	}
	b.quiet("n1")
}

func TestTheLifeOfAnImage(t *testing.T) {
	b := newBench(t, nodeOf("n1"), agentOn("n1"), cacheOf("x", web), pod("a/naming", "n1", corev1.PodPending, web, other), pod("a/done", "n1", corev1.PodSucceeded, "done:1"), pod("a/else", "n2", corev1.PodRunning, "else:1"))
	b.reconcile("n1")
	b.has("n1")
	b.learn(web, one)
	b.reconcile("n1")
	b.has("n1", "web:1 =ONE pin a/x")
	b.quiet("n1")
	b.answer("n1", func(s *v1alpha1.ImageStoreStatus) {
		s.Images = []v1alpha1.StoreImageStatus{record(web, one, v1alpha1.ImagePresent)}
	})
	b.quiet("n1")

	if err := b.api.Delete(t.Context(), cacheOf("x")); err != nil {
		t.Fatal(err)
	}
	before := b.writes
	b.reconcile("n1")
	b.has("n1", "web:1 =ONE released")
	needs := b.store("n1").Spec.Needs
	if diff := gocmp.Diff([]v1alpha1.NeededImage{{Image: web, Pod: "a/naming"}, {Image: other, Pod: "a/naming"}}, needs.Images); diff != "" || needs.Answers != "" || time.Since(needs.AsOf.Time) > time.Minute {
		t.Errorf("needs as of %v: %s", needs.AsOf, diff)
	}
	b.quiet("n1")
	b.answer("n1", func(s *v1alpha1.ImageStoreStatus) {
		s.NeedsAsked = "again"
		s.Images[0].State = v1alpha1.ImageReleasing
	})
	b.reconcile("n1")
	if answers := b.store("n1").Spec.Needs.Answers; answers != "again" {
		t.Errorf("answers %q", answers)
	}
	b.quiet("n1")
	b.answer("n1", func(s *v1alpha1.ImageStoreStatus) { s.Images = nil })
	b.reconcile("n1")
	b.has("n1")
	if b.store("n1").Spec.Needs != nil || b.writes != before+3 {
		t.Errorf("needs %v after %d writes", b.store("n1").Spec.Needs, b.writes-before)
	}
	b.quiet("n1")
}

// TestWhatIsNotResolvedYetIsNeeded: a cache may want what another lets go, and no registry answers.
func TestWhatIsNotResolvedYetIsNeeded(t *testing.T) {
	b := newBench(t, nodeOf("n1"), agentOn("n1"), cacheOf("x", web), pod("a/naming", "n1", corev1.PodPending, "p:1"))
	b.learn(web, one)
	b.reconcile("n1")
	b.answer("n1", func(s *v1alpha1.ImageStoreStatus) {
		s.Images = []v1alpha1.StoreImageStatus{record(web, one, v1alpha1.ImagePresent)}
	})
	if err := b.api.Delete(t.Context(), cacheOf("x")); err != nil {
		t.Fatal(err)
	}
	b.reconcile("n1")
	b.has("n1", "web:1 =ONE released")
	if err := b.api.Create(t.Context(), cacheOf("late", other)); err != nil {
		t.Fatal(err)
	}
	b.reconcile("n1")
	b.has("n1", "web:1 =ONE released")
	want := []v1alpha1.NeededImage{{Image: "p:1", Pod: "a/naming"}, {Image: other, Cache: "a/late"}}
	if diff := gocmp.Diff(want, b.store("n1").Spec.Needs.Images); diff != "" {
		t.Error(diff)
	}
	b.quiet("n1")
}

func pod(name, node string, phase corev1.PodPhase, images ...string) *corev1.Pod {
	namespace, name, _ := strings.Cut(name, "/")
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: corev1.PodSpec{NodeName: node}, Status: corev1.PodStatus{Phase: phase}}
	for _, image := range images {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Image: image})
	}
	return p
}

func TestEveryImageOfAPodCounts(t *testing.T) {
	p := pod("a/p", "n1", corev1.PodRunning, "c:1", "c:1")
	p.Spec.InitContainers = []corev1.Container{{Image: "i:1"}}
	p.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Image: "e:1"}}}
	p.Spec.Volumes = []corev1.Volume{{VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: "v:1"}}}, {}}
	big := pod("a/big", "n1", corev1.PodRunning)
	for i := range 2 * maxNeedBytes / 100 {
		big.Spec.Containers = append(big.Spec.Containers, corev1.Container{Image: fmt.Sprintf("%0100d", i)})
	}
	b := newBench(t, p)
	needs, err := listNeeds(t.Context(), b.Live, "n1", "q", nil, time.Now())
	if err != nil || len(needs.Images) != 4 || needs.Omitted != 0 || needs.Answers != "q" {
		t.Errorf("%+v, %v", needs, err)
	}
	b = newBench(t, p, big)
	needs, err = listNeeds(t.Context(), b.Live, "n1", "q", nil, time.Now())
	if err != nil || needs.Omitted == 0 || len(encoded(t, needs)) > maxNeedBytes+maxNeedBytes/10 {
		t.Errorf("%d images, %d omitted, %d bytes, %v", len(needs.Images), needs.Omitted, len(encoded(t, needs)), err)
	}
}

func TestRetiring(t *testing.T) {
	b := newBench(t, nodeOf("n1"), agentOn("n1"), cacheOf("x", web))
	b.reconcile("n1")
	store := b.store("n1")
	store.Spec.Retire = true
	if err := b.api.Update(t.Context(), store); err != nil {
		t.Fatal(err)
	}
	b.learn(web, one)
	b.quiet("n1")
	if err := b.api.Delete(t.Context(), store); err != nil {
		t.Fatal(err)
	}
	before := b.writes
	if again := b.reconcile("n1").RequeueAfter; again <= 0 || again > pause || b.writes != before {
		t.Errorf("again in %v, after %d writes", again, b.writes-before)
	}
}

func TestTurnsGoRound(t *testing.T) {
	x := with(cacheOf("x", web), func(s *v1alpha1.ImageCacheSpec) { s.MaxParallelNodes = new(intstr.FromInt32(1)) })
	objects := []client.Object{x}
	for i := range 3 {
		node := fmt.Sprint("n", i)
		objects = append(objects, nodeOf(node), agentOn(node))
	}
	b := newBench(t, objects...)
	b.learn(web, one)
	for _, n := range []string{"n0", "n1", "n2"} {
		b.reconcile(n)
	}
	b.has("n0", "web:1 =ONE pin a/x")
	b.has("n1", "web:1 =ONE hold:Turn pin a/x")
	b.answer("n1", func(s *v1alpha1.ImageStoreStatus) {
		s.Images = []v1alpha1.StoreImageStatus{{Image: web, State: v1alpha1.ImageWaiting, Reason: "Turn"}}
	})

	// Another controller sees who has the turn before it gives one.
	c := New(b.Config)
	b.Controller = c
	b.quiet("n2")
	b.quiet("n1")
	b.answer("n0", func(s *v1alpha1.ImageStoreStatus) {
		s.Images = []v1alpha1.StoreImageStatus{record(web, one, v1alpha1.ImagePresent)}
	})
	b.quiet("n0")
	b.reconcile("n2")
	b.has("n2", "web:1 =ONE pin a/x")
	b.quiet("n1")

	// The one that pulls is cordoned: its turn goes on.
	node := nodeOf("n2")
	if err := b.api.Get(t.Context(), types.NamespacedName{Name: "n2"}, node); err != nil {
		t.Fatal(err)
	}
	node.Spec.Unschedulable = true
	if err := b.api.Update(t.Context(), node); err != nil {
		t.Fatal(err)
	}
	b.reconcile("n2")
	b.has("n2", "web:1 =ONE hold:Node pin a/x")
	b.reconcile("n1")
	b.has("n1", "web:1 =ONE pin a/x")
}

// Nothing else looks again: a failed attempt more changes nothing that the controller is woken by.
func TestATurnIsTakenFromANodeThatFailsForGood(t *testing.T) {
	x := with(cacheOf("x", web), func(s *v1alpha1.ImageCacheSpec) { s.MaxParallelNodes = new(intstr.FromInt32(1)) })
	b := newBench(t, x, nodeOf("n0"), agentOn("n0"), nodeOf("n1"), agentOn("n1"))
	b.learn(web, one)
	fails := func(node string) time.Duration {
		b.answer(node, func(s *v1alpha1.ImageStoreStatus) {
			s.Images = []v1alpha1.StoreImageStatus{{Image: web, State: v1alpha1.ImageFailed, Reason: "RegistryUnavailable"}}
		})
		return b.reconcile(node).RequeueAfter
	}
	b.reconcile("n0")
	b.reconcile("n1")
	if after := fails("n0"); after != 0 {
		t.Errorf("n0 has given its turn away, and is looked at after %s", after)
	}
	b.reconcile("n1")
	if after := fails("n1"); after < again-time.Minute || after > again {
		t.Errorf("n1 fails, too, and is looked at after %s", after)
	}
}

func TestAnAgentThatStarts(t *testing.T) {
	now := time.Now()
	starts := agentOn("n1")
	starts.CreationTimestamp, starts.Status = metav1.NewTime(now.Add(-10*time.Second)), corev1.PodStatus{Phase: corev1.PodPending}
	old := starts.DeepCopy()
	old.CreationTimestamp = metav1.NewTime(now.Add(-10 * time.Minute))
	restarted := old.DeepCopy()
	restarted.Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(now)}}}}
	crashing := starts.DeepCopy()
	crashing.Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}}}
	elsewhere := agentOn("n2")
	stranger := agentOn("n1")
	stranger.Labels = nil
	for name, tc := range map[string]struct {
		pod             *corev1.Pod
		expected, ready bool
	}{
		"ready": {agentOn("n1"), true, true}, "starting": {starts, true, false}, "never came": {old, false, false}, "just restarted": {restarted, true, false},
		"crashing": {crashing, false, false}, "on another node": {elsewhere, false, false}, "not an agent": {stranger, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, tc.pod)
			expected, until, err := b.Agents.Expected(t.Context(), "n1")
			if err != nil || expected != tc.expected || b.Agents.Ready(t.Context(), "n1") != tc.ready || until.IsZero() != (tc.ready || !tc.expected) {
				t.Errorf("expected %v until %v, %v", expected, until, err)
			}
		})
	}
}

func TestWhatTheServerRefusesIsSaidOnce(t *testing.T) {
	b := newBench(t, nodeOf("n1"), agentOn("n1"))
	b.refuse = apierrors.NewForbidden(schema.GroupResource{Resource: "imagestores"}, "n1", errors.New("policy says no"))
	for range 3 {
		if _, err := b.Reconcile(t.Context(), reconcile.Request{NamespacedName: types.NamespacedName{Name: "n1"}}); !apierrors.IsForbidden(err) {
			t.Fatalf("error %v", err)
		}
	}
	if n := len(b.recorder.Events); n != 1 {
		t.Fatalf("%d events, want 1", n)
	}
	if e := <-b.recorder.Events; !strings.Contains(e, "policy says no") {
		t.Errorf("event %q", e)
	}
}
