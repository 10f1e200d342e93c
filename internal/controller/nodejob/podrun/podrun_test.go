// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package podrun

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"orlop.dev/orlop/api/v1alpha1"
)

// world is an API server, and what was asked of it.
type world struct {
	client.Client
	runner Runner
	events *events.FakeRecorder
	writes []string
	// refuse is what it says to a pod.
	refuse error
	// denied is what it says to a change of one.
	denied error
}

func newWorld(t *testing.T, objects ...client.Object) *world {
	t.Helper()
	s := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(s), v1alpha1.AddToScheme(s)); err != nil {
		t.Fatal(err)
	}
	w := &world{events: events.NewFakeRecorder(16)}
	w.Client = fake.NewClientBuilder().WithScheme(s).WithObjects(objects...).WithStatusSubresource(&corev1.Pod{}).WithIndex(&corev1.Pod{}, ByJob, JobOf).
		WithInterceptorFuncs(interceptor.Funcs{
			Create: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.CreateOption) error {
				w.writes = append(w.writes, "create")
				if w.refuse != nil {
					return w.refuse
				}
				if pod, ok := obj.(*corev1.Pod); ok {
					pod.UID = "pod-uid"
				}
				return c.Create(ctx, obj, opts...)
			},
			Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
				w.writes = append(w.writes, "patch")
				if w.denied != nil {
					return w.denied
				}
				var asked metav1.PartialObjectMetadata
				if data, err := patch.Data(obj); err != nil || json.Unmarshal(data, &asked) != nil {
					return fmt.Errorf("reading the patch %s: %w", data, err)
				}
				if err := only(ctx, c, obj, asked.UID); err != nil {
					return err
				}
				return c.Patch(ctx, obj, patch, opts...)
			},
			Delete: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.DeleteOption) error {
				w.writes = append(w.writes, "delete")
				if p := (&client.DeleteOptions{}).ApplyOptions(opts).Preconditions; p != nil {
					if err := only(ctx, c, obj, *p.UID); err != nil {
						return err
					}
				}
				return c.Delete(ctx, obj, opts...)
			},
		}).Build()
	w.runner = Runner{Client: w.Client, Live: w.Client, Recorder: w.events}
	return w
}

// only is what the API server says to a request that names an object's uid; the fake one passes over it.
func only(ctx context.Context, c client.Client, obj client.Object, uid types.UID) error {
	var there corev1.Pod
	if err := c.Get(ctx, client.ObjectKeyFromObject(obj), &there); err != nil {
		return err
	}
	if there.UID != uid {
		return apierrors.NewConflict(schema.GroupResource{Resource: "pods"}, there.Name, errors.New("another uid"))
	}
	return nil
}

var node1 = &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node1"}}

func (w *world) start(t *testing.T, job *v1alpha1.NodeJob, run int32) {
	t.Helper()
	if err := w.runner.Start(t.Context(), job, node1, run); err != nil {
		t.Fatal(err)
	}
}

// see is what is seen on node1.
func (w *world) see(t *testing.T, job *v1alpha1.NodeJob) (Seen, bool) {
	t.Helper()
	all, untidy, err := w.runner.Observe(t.Context(), job)
	if err := errors.Join(untidy, err); err != nil {
		t.Fatal(err)
	}
	seen, ok := all["node1"]
	return seen, ok
}

// becomes edits the status of the pod of a run, as a kubelet would.
func (w *world) becomes(t *testing.T, job *v1alpha1.NodeJob, run int32, status corev1.PodStatus) {
	t.Helper()
	pod := w.pod(t, job, run)
	pod.Status = status
	if err := w.Status().Update(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
}

func (w *world) pod(t *testing.T, job *v1alpha1.NodeJob, run int32) *corev1.Pod {
	t.Helper()
	var pod corev1.Pod
	if err := w.Get(t.Context(), client.ObjectKey{Namespace: "ops", Name: nameOf(job, "node1", run)}, &pod); err != nil {
		t.Fatal(err)
	}
	return &pod
}

func (w *world) pods(t *testing.T) []corev1.Pod {
	t.Helper()
	var pods corev1.PodList
	if err := w.List(t.Context(), &pods); err != nil {
		t.Fatal(err)
	}
	return pods.Items
}

var done = corev1.PodStatus{Phase: corev1.PodSucceeded, ContainerStatuses: statuses(exit(0, 5, "Completed", ""))}

// A pod's life is a pod made and a finalizer taken away.
func TestLife(t *testing.T) {
	job := aJob(0, corev1.RestartPolicyNever)
	w := newWorld(t)
	w.start(t, job, 0)
	w.start(t, job, 0) // By a controller that was killed, and did not see what it had made.
	if seen, ok := w.see(t, job); !ok || seen.Outcome != nil || seen.Run != 0 {
		t.Errorf("seen %t: %+v", ok, seen)
	}
	w.becomes(t, job, 0, done)
	seen, _ := w.see(t, job)
	if seen.Outcome == nil || seen.Outcome.State != v1alpha1.JobSucceeded {
		t.Fatalf("seen %+v", seen)
	}
	for range 2 {
		if err := w.runner.Release(t.Context(), w.pod(t, job, 0)); err != nil {
			t.Fatal(err)
		}
	}
	if pod := w.pod(t, job, 0); len(pod.Finalizers) != 0 {
		t.Errorf("it still has %v", pod.Finalizers)
	}
	if diff := cmp.Diff([]string{"create", "create", "patch"}, w.writes); diff != "" {
		t.Error(diff)
	}
	if seen, _ := w.see(t, job); seen.Outcome == nil {
		t.Error("what has ended is no longer seen as ended")
	}
}

func TestCancel(t *testing.T) {
	job := aJob(0, corev1.RestartPolicyNever)
	w := newWorld(t)
	w.start(t, job, 0)
	stale := w.pod(t, job, 0)
	for range 2 { // The second time it is gone.
		if err := w.runner.Cancel(t.Context(), stale); err != nil {
			t.Fatal(err)
		}
	}
	if left := w.pods(t); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// A pod that bears the name by now, but is another one, is left alone.
func TestAnotherPodIsLeftAlone(t *testing.T) {
	job := aJob(0, corev1.RestartPolicyNever)
	for name, act := range map[string]func(*Runner, context.Context, *corev1.Pod) error{"cancel": (*Runner).Cancel, "release": (*Runner).Release} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.start(t, job, 0)
			stale := w.pod(t, job, 0)
			stale.UID = "before"
			if name == "release" {
				stale.Status.Phase = corev1.PodFailed
			}
			if err := act(&w.runner, t.Context(), stale); err != nil {
				t.Fatal(err)
			}
			if pod := w.pod(t, job, 0); pod.DeletionTimestamp != nil || !held(pod) {
				t.Errorf("it was touched: %+v", pod.ObjectMeta)
			}
		})
	}
}

// A pod that has not ended, and is let go, is ended: nobody would look after it.
func TestReleaseEnds(t *testing.T) {
	job := aJob(0, corev1.RestartPolicyNever)
	w := newWorld(t)
	w.start(t, job, 0)
	if err := w.runner.Release(t.Context(), w.pod(t, job, 0)); err != nil {
		t.Fatal(err)
	}
	if left := w.pods(t); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// Somebody deletes a pod: it goes, and can be made again; the job's owner is told.
func TestDeletedIsRunAgain(t *testing.T) {
	job := aJob(0, corev1.RestartPolicyNever)
	w := newWorld(t)
	w.start(t, job, 0)
	if err := w.Delete(t.Context(), w.pod(t, job, 0)); err != nil {
		t.Fatal(err)
	}
	if seen, ok := w.see(t, job); !ok || seen.Outcome != nil || seen.Reason != reasonDeleted {
		t.Errorf("seen while it goes: %t, %+v", ok, seen)
	}
	if seen, ok := w.see(t, job); ok {
		t.Errorf("it is still seen: %+v", seen)
	}
	if left := w.pods(t); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	if said := <-w.events.Events; !strings.Contains(said, "deleted before it ended") {
		t.Errorf("said %q", said)
	}
	w.start(t, job, 0)
	if _, ok := w.see(t, job); !ok {
		t.Error("it was not made again")
	}
}

// While its kubelet stops it, a deleted pod counts as there: it may still end well.
func TestDeletedIsAwaited(t *testing.T) {
	job := aJob(0, corev1.RestartPolicyNever)
	going := podOf(job, "node1", 0)
	going.Spec.NodeName, going.Status.Phase = "node1", corev1.PodRunning
	*going = deleted(*going)
	w := newWorld(t, going)
	if seen, ok := w.see(t, job); !ok || seen.Outcome != nil {
		t.Errorf("seen %t: %+v", ok, seen)
	}
	w.becomes(t, job, 0, done)
	seen, ok := w.see(t, job)
	if !ok || seen.Outcome == nil || seen.Outcome.State != v1alpha1.JobSucceeded {
		t.Fatalf("seen %t: %+v", ok, seen)
	}
	if len(w.writes) != 0 {
		t.Errorf("it was let go before anybody wrote down what became of it: %v", w.writes)
	}
	if err := w.runner.Release(t.Context(), seen.Pod); err != nil {
		t.Fatal(err)
	}
	if left := w.pods(t); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// Of several runs the last counts. What is left of those before is let go, and ended.
func TestTheLastRunCounts(t *testing.T) {
	job := aJob(0, corev1.RestartPolicyNever)
	w := newWorld(t)
	w.start(t, job, 0)
	w.start(t, job, 2)
	w.start(t, job, 1)
	w.becomes(t, job, 1, corev1.PodStatus{Phase: corev1.PodFailed})
	if seen, ok := w.see(t, job); !ok || seen.Run != 2 || seen.Outcome != nil {
		t.Errorf("seen %t: %+v", ok, seen)
	}
	var left []string
	for _, pod := range w.pods(t) {
		left = append(left, fmt.Sprintf("%s held: %t", pod.Annotations[v1alpha1.AnnotationRun], held(&pod)))
	}
	slices.Sort(left)
	if diff := cmp.Diff([]string{"1 held: false", "2 held: true"}, left); diff != "" {
		t.Error(diff)
	}
}

// A webhook may say no to a write on one pod, for good.
func TestAPodThatCannotBeLetGoHoldsUpNoOther(t *testing.T) {
	job := aJob(0, corev1.RestartPolicyNever)
	deleted, running := podOf(job, "node1", 0), podOf(job, "node2", 0)
	deleted.DeletionTimestamp, deleted.DeletionGracePeriodSeconds = new(metav1.Now()), new(int64(0))
	w := newWorld(t, deleted, running)
	w.denied = errors.New("a webhook says no")
	all, untidy, err := w.runner.Observe(t.Context(), job)
	if err != nil || len(all) != 2 || all["node1"].Reason != reasonDeleted || !errors.Is(untidy, w.denied) {
		t.Errorf("seen %v; %v, %v", all, untidy, err)
	}
}

// Nobody gets a node counted as done by a pod that he made himself.
func TestForeignPodsDoNotCount(t *testing.T) {
	job := aJob(0, corev1.RestartPolicyNever)
	for name, by := range map[string]func(*corev1.Pod){
		"another name":  func(pod *corev1.Pod) { pod.Name = "mine" },
		"another node":  func(pod *corev1.Pod) { pod.Annotations[v1alpha1.AnnotationNode] = "node2" },
		"another run":   func(pod *corev1.Pod) { pod.Annotations[v1alpha1.AnnotationRun] = "7" },
		"no run":        func(pod *corev1.Pod) { delete(pod.Annotations, v1alpha1.AnnotationRun) },
		"another owner": func(pod *corev1.Pod) { pod.OwnerReferences[0].UID = "u-2" },
		"a Job's": func(pod *corev1.Pod) {
			pod.OwnerReferences[0].APIVersion, pod.OwnerReferences[0].Kind = "batch/v1", "Job"
		},
		"another role": func(pod *corev1.Pod) { pod.Labels[v1alpha1.LabelRole] = "agent" },
		"a run without bound": func(pod *corev1.Pod) {
			pod.Name, pod.Annotations[v1alpha1.AnnotationRun] = nameOf(job, "node1", math.MaxInt32), strconv.Itoa(math.MaxInt32)
		},
		"a run below all": func(pod *corev1.Pod) {
			pod.Name, pod.Annotations[v1alpha1.AnnotationRun] = nameOf(job, "node1", -1), "-1"
		},
		"no owner":       func(pod *corev1.Pod) { pod.OwnerReferences = nil },
		"elsewhere":      func(pod *corev1.Pod) { pod.Namespace = "other" },
		"owned, no more": func(pod *corev1.Pod) { pod.OwnerReferences[0].Controller = nil },
	} {
		t.Run(name, func(t *testing.T) {
			pod := podOf(job, "node1", 0)
			pod.Status.Phase = corev1.PodSucceeded
			by(pod)
			w := newWorld(t, pod)
			if seen, untidy, err := w.runner.Observe(t.Context(), job); errors.Join(untidy, err) != nil || len(seen) != 0 {
				t.Errorf("seen %v, %v", seen, err)
			}
		})
	}
	t.Run("it has the name", func(t *testing.T) {
		pod := podOf(job, "node1", 0)
		pod.OwnerReferences = nil
		w := newWorld(t, pod)
		err := w.runner.Start(t.Context(), job, node1, 0)
		if refused, ok := errors.AsType[*Refused](err); !ok || !strings.Contains(refused.Text, "is not this NodeJob's") {
			t.Errorf("started over it: %v", err)
		}
	})
}

// Without its labels a pod is in no cache. It gets them back, and ends as any other.
func TestLabelsThatWereTakenOff(t *testing.T) {
	for _, label := range []string{v1alpha1.LabelRole, v1alpha1.LabelNodeJobUID, v1alpha1.LabelNodeJob} {
		t.Run(label, func(t *testing.T) {
			job := aJob(0, corev1.RestartPolicyNever)
			w := newWorld(t)
			w.start(t, job, 0)
			pod := w.pod(t, job, 0)
			delete(pod.Labels, label)
			if err := w.Update(t.Context(), pod); err != nil {
				t.Fatal(err)
			}
			w.start(t, job, 0)
			if got := w.pod(t, job, 0); got.Labels[label] != podOf(job, "node1", 0).Labels[label] || !held(got) {
				t.Errorf("it has %v, %v", got.Labels, got.Finalizers)
			}
			w.becomes(t, job, 0, done)
			if seen, ok := w.see(t, job); !ok || seen.Outcome == nil || seen.Outcome.State != v1alpha1.JobSucceeded {
				t.Errorf("seen %t: %+v", ok, seen)
			}
			if err := w.runner.Release(t.Context(), w.pod(t, job, 0)); err != nil {
				t.Fatal(err)
			}
			if got := w.pod(t, job, 0); held(got) {
				t.Error("it is held for ever")
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	job := aJob(0, corev1.RestartPolicyNever)
	name := nameOf(job, "node1", 0)
	pods := schema.GroupResource{Resource: "pods"}
	forbidden := func(why string) *apierrors.StatusError { return apierrors.NewForbidden(pods, name, errors.New(why)) }
	ending := forbidden("unable to create new content in namespace ops because it is being terminated")
	ending.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}
	for label, c := range map[string]struct {
		err     error
		refused string
		passes  bool
	}{
		"pod security": {
			err:     forbidden(`violates PodSecurity "restricted:latest": hostPath volumes (volume "host")`),
			refused: `violates PodSecurity "restricted:latest": hostPath volumes (volume "host")`,
		},
		"invalid": {
			err:     apierrors.NewInvalid(schema.GroupKind{Kind: "Pod"}, name, field.ErrorList{field.Invalid(field.NewPath("spec", "nodeSelector"), "a b", "must be a name")}),
			refused: `spec.nodeSelector: Invalid value: "a b": must be a name`,
		},
		"a policy":              {err: apierrors.NewBadRequest("admission webhook denied the request: no"), refused: "admission webhook denied the request: no"},
		"a quota that is full":  {passes: true, err: forbidden("exceeded quota: pods, requested: pods=1, used: pods=10, limited: pods=10"), refused: "exceeded quota: pods, requested: pods=1, used: pods=10, limited: pods=10"},
		"a quota that is new":   {passes: true, err: forbidden("status unknown for quota: pods, resources: pods"), refused: "status unknown for quota: pods, resources: pods"},
		"an account to come":    {passes: true, err: forbidden("error looking up service account ops/default: serviceaccount \"default\" not found"), refused: "error looking up service account ops/default"},
		"a namespace that goes": {err: ending},
		"a server that is away": {err: apierrors.NewServiceUnavailable("no")},
		"a policy that is away": {err: apierrors.NewInternalError(errors.New("failed calling webhook"))},
		"too many requests":     {err: apierrors.NewTooManyRequests("later", 1)},
	} {
		t.Run(label, func(t *testing.T) {
			w := newWorld(t)
			w.refuse = c.err
			err := w.runner.Start(t.Context(), job, node1, 0)
			refused, final := errors.AsType[*Refused](err)
			if final != (c.refused != "") {
				t.Fatalf("final: %t: %v", final, err)
			}
			if final {
				if !strings.HasPrefix(refused.Text, c.refused) || refused.Node != "node1" || refused.Passing != c.passes {
					t.Errorf("on %s: %q", refused.Node, refused.Text)
				}
				if said := <-w.events.Events; !strings.Contains(said, c.refused) {
					t.Errorf("said %q", said)
				}
			} else if !errors.Is(err, c.err) {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

// What the cache keeps of a pod decides the same as the whole.
func TestSlimIsEnough(t *testing.T) {
	job := aJob(3, corev1.RestartPolicyOnFailure)
	whole := podOf(job, "node1", 2)
	whole.Spec.NodeName, whole.UID, whole.ResourceVersion = "node1", "pod-uid", "7"
	whole.Status = corev1.PodStatus{Phase: corev1.PodRunning, StartTime: new(at(1)), ContainerStatuses: []corev1.ContainerStatus{
		{Name: "a", RestartCount: 4, State: runs, LastTerminationState: exit(1, 5, "Error", "no room"), Image: "a", ImageID: "sha256:1"},
	}}
	*whole = deleted(*whole)
	slim := Slim(whole.DeepCopy())
	if slim.Spec.Containers != nil || slim.Annotations["note"] != "" || slim.Status.ContainerStatuses[0].ImageID != "" {
		t.Errorf("not slim: %+v", slim)
	}
	if node, run, ok := isOf(job, slim); node != "node1" || run != 2 || !ok {
		t.Errorf("of %s, run %d: %t", node, run, ok)
	}
	if lost(job, slim) != lost(job, whole) || held(slim) != held(whole) || gone(slim) != gone(whole) {
		t.Error("the slim pod is judged otherwise")
	}
	slim.DeletionTimestamp, whole.DeletionTimestamp = nil, nil
	got, over := judge(job, slim)
	want, wantOver := judge(job, whole)
	if diff := cmp.Diff(want, got); diff != "" || over != wantOver || !over {
		t.Errorf("over: %t, %t: %s", over, wantOver, diff)
	}
}
