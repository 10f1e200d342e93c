// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package nodejob

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/assign"
	"orlop.dev/orlop/internal/catalog"
	"orlop.dev/orlop/internal/controller/imagestore"
	"orlop.dev/orlop/internal/controller/nodejob/podrun"
	"orlop.dev/orlop/internal/pullsecret"
)

// errDead is what everything ends with once the controller was killed.
var errDead = errors.New("the controller was killed")

// world is a cluster in memory: the reconcilers of NodeJobs and of ImageStores, agents that do what they are asked, and kubelets.
// Time is that of synctest.
type world struct {
	t      *testing.T
	api    client.WithWatch // of agents, kubelets and people
	mine   client.WithWatch // of the controller
	jobs   *Controller
	stores *imagestore.Controller
	events *events.FakeRecorder

	mu sync.Mutex
	// writes counts the controller's; it is killed at the one with the number kill, after it if after is set.
	writes, kill int
	after, dead  bool
	// acted counts how often an agent was asked, made how many pods there were, by node and run.
	acted, made map[string]int
	// fails are those that do not succeed, by node and run; quiet are nodes whose agent does nothing.
	fails, quiet map[string]bool
	problems     []pullsecret.Problem
	// refuses is what the API server says to pods, by node; refused counts that.
	refuses map[string]string
	refused int
	broken  error // what every pod meets
}

func newWorld(t *testing.T, objects ...client.Object) *world {
	t.Helper()
	s := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(s), v1alpha1.AddToScheme(s)); err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, kill: -1, acted: map[string]int{}, made: map[string]int{}, fails: map[string]bool{}, quiet: map[string]bool{}}
	w.api = fake.NewClientBuilder().WithScheme(s).WithObjects(objects...).
		WithStatusSubresource(&v1alpha1.ImageStore{}, &v1alpha1.ImageInventory{}, &v1alpha1.NodeJob{}, &corev1.Pod{}, &corev1.Node{}).
		WithIndex(&corev1.Pod{}, "spec.nodeName", func(o client.Object) []string { return []string{o.(*corev1.Pod).Spec.NodeName} }).
		WithIndex(&corev1.Pod{}, podrun.ByJob, podrun.JobOf).Build()
	w.mine = interceptor.NewClient(w.api, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, _ ...client.GetOption) error {
			return errors.Join(w.alive(), c.Get(ctx, key, o))
		},
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			return errors.Join(w.alive(), c.List(ctx, list, opts...))
		},
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			return w.write(func() error { return w.create(ctx, c, o, opts...) })
		},
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			return w.write(func() error { return w.patch(ctx, c, o, p, opts...) })
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, _ ...client.DeleteOption) error {
			return w.write(func() error { return c.Delete(ctx, o) })
		},
		SubResourceApply: func(ctx context.Context, c client.Client, sub string, o runtime.ApplyConfiguration, opts ...client.SubResourceApplyOption) error {
			return w.write(func() error { return c.SubResource(sub).Apply(ctx, o, opts...) })
		},
	})
	w.restart()
	return w
}

func (w *world) alive() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dead {
		return errDead
	}
	return nil
}

// write does one write of the controller's, unless it is killed before.
func (w *world) write(do func() error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dead {
		return errDead
	}
	w.writes++
	w.dead = w.writes == w.kill
	if w.dead && !w.after {
		return errDead
	}
	if err := do(); err != nil || !w.dead {
		return err
	}
	return errDead
}

func (w *world) create(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
	if said := w.refuses[o.GetAnnotations()[v1alpha1.AnnotationNode]]; said != "" {
		w.refused++
		return apierrors.NewForbidden(corev1.Resource("pods"), o.GetName(), errors.New(said))
	}
	if w.broken != nil {
		w.refused++
		return w.broken
	}
	o.SetUID(types.UID("uid-" + o.GetName()))
	err := c.Create(ctx, o, opts...)
	if pod, ok := o.(*corev1.Pod); ok && err == nil {
		w.made[pod.Annotations[v1alpha1.AnnotationNode]+":"+pod.Annotations[v1alpha1.AnnotationRun]]++
	}
	return err
}

// patch does what the API server does and the one in memory does not: it gives new objects a UID, and counts generations.
func (w *world) patch(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
	if _, inventory := o.(*metav1.PartialObjectMetadata); inventory {
		name := o.GetName()
		return c.Create(ctx, &v1alpha1.ImageInventory{ObjectMeta: metav1.ObjectMeta{Name: name, OwnerReferences: []metav1.OwnerReference{{
			APIVersion: "v1", Kind: "Node", Name: name, UID: types.UID("uid-" + name),
		}}}})
	}
	if _, store := o.(*v1alpha1.ImageStore); !store {
		return c.Patch(ctx, o, p, opts...)
	}
	before, after := &v1alpha1.ImageStore{}, &v1alpha1.ImageStore{}
	_ = c.Get(ctx, client.ObjectKeyFromObject(o), before) // It may not be there.
	if err := errors.Join(c.Patch(ctx, o, p, opts...), c.Get(ctx, client.ObjectKeyFromObject(o), after)); err != nil {
		return err
	}
	after.Generation, after.UID = before.Generation+1, types.UID("uid-store-"+o.GetName())
	return c.Update(ctx, after)
}

// For and List stand in for Secrets, and for the pods that the API server lists.
func (w *world) For(context.Context, pullsecret.Holder) ([]pullsecret.Secret, []pullsecret.Problem) {
	return nil, w.problems
}

type noPods struct{ client.Reader }

func (noPods) List(context.Context, client.ObjectList, ...client.ListOption) error { return nil }

// restart puts new controllers in the place of the old ones, which know nothing.
func (w *world) restart() {
	w.mu.Lock()
	w.dead, w.kill = false, -1
	w.mu.Unlock()
	w.events = events.NewFakeRecorder(10000)
	agents := imagestore.NewAgents(w.mine, "orlop-system")
	w.stores = imagestore.New(imagestore.Config{Client: w.mine, Live: noPods{w.mine}, Agents: agents, Catalog: catalog.New(), Secrets: w, Recorder: w.events})
	w.stores.Jobs = assign.New(w.stores.Ask)
	w.jobs = New(Config{
		Client: w.mine, Ledger: w.stores.Jobs, Secrets: w, Recorder: w.events, Agent: agents.Expected, Refusal: w.stores.Refusal, Wake: w.stores.Ask,
		Pods: &podrun.Runner{Client: w.mine, Live: w.mine, Recorder: w.events},
	})
}

// round has every part do what it has to do once. A controller that was killed comes back.
func (w *world) round() {
	w.t.Helper()
	var jobs v1alpha1.NodeJobList
	var nodes corev1.NodeList
	if err := errors.Join(w.api.List(w.t.Context(), &jobs), w.api.List(w.t.Context(), &nodes)); err != nil {
		w.t.Fatal(err)
	}
	var requests []reconcile.Request
	for i := range jobs.Items {
		requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&jobs.Items[i])})
	}
	if len(requests) == 0 {
		requests = append(requests, reconcile.Request{NamespacedName: key})
	}
	for _, r := range requests {
		_, err := w.jobs.Reconcile(w.t.Context(), r)
		w.outlives(err)
	}
	for i := range nodes.Items {
		_, err := w.stores.Reconcile(w.t.Context(), reconcile.Request{NamespacedName: types.NamespacedName{Name: nodes.Items[i].Name}})
		w.outlives(err)
		w.agent(nodes.Items[i].Name)
	}
	w.kubelets()
	time.Sleep(beat)
}

// beat is how much time a round takes.
const beat = 100 * time.Millisecond

func (w *world) outlives(err error) {
	w.t.Helper()
	switch {
	case w.alive() != nil:
		w.restart()
	case err != nil:
		w.t.Fatal(err)
	}
}

// run lets so much time pass, in no more rounds than tell what happens.
func (w *world) run(span time.Duration) {
	w.t.Helper()
	for end := time.Now().Add(span); time.Now().Before(end); {
		w.round()
		time.Sleep(max(0, span/300-beat))
	}
}

// agent answers all that its node is asked.
func (w *world) agent(node string) {
	w.t.Helper()
	var store v1alpha1.ImageStore
	if err := w.api.Get(w.t.Context(), types.NamespacedName{Name: node}, &store); err != nil || w.quiet[node] {
		return
	}
	before := len(store.Status.Jobs)
	var answers []v1alpha1.StoreJobStatus
	changed := false
	for i := range store.Spec.Jobs {
		e := &store.Spec.Jobs[i]
		at := slices.IndexFunc(store.Status.Jobs, func(s v1alpha1.StoreJobStatus) bool { return s.UID == e.UID })
		if at >= 0 && store.Status.Jobs[at].Run == e.Run && store.Status.Jobs[at].DryRun == e.DryRun {
			answers = append(answers, store.Status.Jobs[at])
			continue
		}
		if e.Remove == nil && e.Pull == nil {
			continue
		}
		answers, changed = append(answers, w.do(node, e)), true
	}
	if !changed && len(answers) == before {
		return
	}
	store.Status.Jobs, store.Status.ObservedGeneration = answers, store.Generation
	if err := w.api.Status().Update(w.t.Context(), &store); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) do(node string, e *v1alpha1.StoreJob) v1alpha1.StoreJobStatus {
	what := fmt.Sprintf("%s:%d", node, e.Run)
	if e.DryRun {
		what += " plan"
	}
	answer := v1alpha1.StoreJobStatus{UID: e.UID, Run: e.Run, DryRun: e.DryRun, State: v1alpha1.JobSucceeded, FreedBytes: new(int64(7))}
	switch {
	case e.Cancel:
		answer.State = v1alpha1.JobCancelled
		return answer
	case w.fails[what]:
		answer.State, answer.Reason = v1alpha1.JobFailed, "NoEffect"
	}
	w.acted[what]++
	return answer
}

// kubelets start pods, and end those that run.
func (w *world) kubelets() {
	w.t.Helper()
	var pods corev1.PodList
	if err := w.api.List(w.t.Context(), &pods, client.MatchingLabels{v1alpha1.LabelRole: v1alpha1.RoleNodeJob}); err != nil {
		w.t.Fatal(err)
	}
	for i := range pods.Items {
		pod := &pods.Items[i]
		what := pod.Annotations[v1alpha1.AnnotationNode] + ":" + pod.Annotations[v1alpha1.AnnotationRun]
		switch {
		case w.quiet[pod.Annotations[v1alpha1.AnnotationNode]] && pod.Status.Phase != "":
			continue
		case pod.Status.Phase == "":
			pod.Status.Phase = corev1.PodRunning
		case pod.Status.Phase == corev1.PodRunning && w.fails[what]:
			pod.Status.Phase = corev1.PodFailed
		case pod.Status.Phase == corev1.PodRunning:
			pod.Status.Phase = corev1.PodSucceeded
		default:
			continue
		}
		if err := w.api.Status().Update(w.t.Context(), pod); err != nil {
			w.t.Fatal(err)
		}
	}
}

var key = types.NamespacedName{Namespace: "shop", Name: "rm"}

func (w *world) job() *v1alpha1.NodeJob {
	w.t.Helper()
	var j v1alpha1.NodeJob
	if err := w.api.Get(w.t.Context(), key, &j); err != nil {
		w.t.Fatal(err)
	}
	return &j
}

func (w *world) edit(change func(*v1alpha1.NodeJob)) {
	w.t.Helper()
	j := w.job()
	before := j.Spec.DeepCopy()
	change(j)
	if size(before) != size(j.Spec) {
		j.Generation++
	}
	if err := w.api.Update(w.t.Context(), j); err != nil {
		w.t.Fatal(err)
	}
}

// says is one line about the job.
func (w *world) says() string {
	return strings.TrimPrefix(short(verdict{status: w.job().Status}), " | ")
}

func (w *world) expect(want string) {
	w.t.Helper()
	if got := w.says(); got != want {
		w.t.Errorf("the job says %q, want %q (%s)", got, want, w.job().Status.Message)
	}
}

// reach runs until the job says so.
func (w *world) reach(want string) {
	w.t.Helper()
	for end := time.Now().Add(10 * time.Second); w.says() != want && time.Now().Before(end); {
		w.round()
	}
	w.expect(want)
}

// counts is what a map counts, in order.
func counts(of map[string]int) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(of)) {
		parts = append(parts, fmt.Sprintf("%s=%d", k, of[k]))
	}
	return strings.Join(parts, " ")
}

// nodesAndAgents are nodes that are ready, with an agent on each.
func nodesAndAgents(names ...string) (all []client.Object) {
	for _, name := range names {
		all = append(all, &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("uid-" + name)},
			Status:     corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}},
		}, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "orlop-system", Name: "agent-" + name, Labels: imagestore.AgentLabels},
			Spec:       corev1.PodSpec{NodeName: name},
			Status:     corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
		})
	}
	return all
}

func metaName(name string) types.NamespacedName { return types.NamespacedName{Name: name} }

func requestFor(key types.NamespacedName) reconcile.Request {
	return reconcile.Request{NamespacedName: key}
}
