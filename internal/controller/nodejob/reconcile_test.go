// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package nodejob

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/pullsecret"
)

// in runs a test in a world with a job and these nodes, that is so far as it will come.
func in(t *testing.T, j *v1alpha1.NodeJob, test func(*world), names ...string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		j = j.DeepCopy()
		j.CreationTimestamp = metav1.Time{}
		w := newWorld(t, append(nodesAndAgents(names...), j)...)
		test(w)
	})
}

func TestARemovalOnThreeNodes(t *testing.T) {
	in(t, job(), func(w *world) {
		w.run(200 * time.Millisecond)
		w.expect("Complete 3/3 a0 f0 s0 Complete/NodesDone")
		// An inventory and a store, which are made first, and what is asked; at the beginning and at the end, the status.
		if w.writes != 3*2+2 {
			t.Errorf("%d writes", w.writes)
		}
		if s := w.job().Status; s.FreedBytes == nil || *s.FreedBytes != 21 || s.Freed != "21B" || s.StartTime == nil || s.CompletionTime == nil {
			t.Errorf("%+v", s)
		}
		before := w.writes
		w.run(5 * time.Second)
		w.restart()
		w.run(5 * time.Second)
		if w.writes != before {
			t.Errorf("%d writes, and nothing was to do", w.writes-before)
		}
		if got := counts(w.acted); got != "n1:0=1 n2:0=1 n3:0=1" {
			t.Errorf("the agents did %s", got)
		}
		if err := w.api.Delete(t.Context(), w.job()); err != nil {
			t.Fatal(err)
		}
		w.run(time.Second)
		if w.writes != before+3 {
			t.Errorf("%d writes when the job went, want one for each node", w.writes-before)
		}
	}, "n1", "n2", "n3")
}

// TestKilledAnywhere kills the controller at each of its writes, before and after it: no node is asked twice, no pod is made twice.
func TestKilledAnywhere(t *testing.T) {
	for name, tc := range map[string]struct {
		job         *v1alpha1.NodeJob
		acted, made string
	}{
		"remove": {job(parallel(intstr.FromInt32(2))), "n1:0=1 n1:1=1 n2:0=1 n3:0=1", ""},
		"pods":   {job(templated, parallel(intstr.FromInt32(2))), "", "n1:0=1 n1:1=1 n2:0=1 n3:0=1"},
		"plan":   {job(dryRun), "n1:0 plan=1 n1:1=1 n1:1 plan=1 n2:0 plan=1 n2:1=1 n3:0 plan=1 n3:1=1", ""},
	} {
		t.Run(name, func(t *testing.T) {
			for kill, last := 1, false; !last; kill++ {
				for _, after := range []bool{false, true} {
					in(t, tc.job, func(w *world) {
						w.kill, w.after = kill, after
						w.fails["n1:0"], w.fails["n1:0 plan"] = true, true
						w.reach("Failed 2/3 a0 f1 s0 Failed/NodesFailed")
						w.edit(func(j *v1alpha1.NodeJob) { j.Annotations = map[string]string{v1alpha1.AnnotationRetry: "now"} })
						if name == "plan" {
							w.reach("Complete 3/3 a0 f0 s0 Complete/Planned")
							w.edit(func(j *v1alpha1.NodeJob) { j.Spec.DryRun = false })
						}
						w.reach("Complete 3/3 a0 f0 s0 Complete/NodesDone")
						if acted, made := counts(w.acted), counts(w.made); acted != tc.acted || made != tc.made {
							t.Errorf("killed at write %d (after it: %v), the agents did %q, and pods were %q", kill, after, acted, made)
						}
						w.run(200 * time.Millisecond)
						w.nobodyHeld()
						last = w.kill > 0 // It was never reached.
						before := w.writes
						w.restart()
						w.run(200 * time.Millisecond)
						if w.writes != before {
							t.Errorf("killed at write %d (after it: %v), a restart wrote %d times", kill, after, w.writes-before)
						}
					}, "n1", "n2", "n3")
				}
			}
		})
	}
}

// nobodyHeld fails the test if a pod has a finalizer of ours.
func (w *world) nobodyHeld() {
	w.t.Helper()
	var pods corev1.PodList
	if err := w.api.List(w.t.Context(), &pods); err != nil {
		w.t.Fatal(err)
	}
	for i := range pods.Items {
		if slices.Contains(pods.Items[i].Finalizers, v1alpha1.FinalizerNodeJob) {
			w.t.Errorf("pod %s still has the finalizer", pods.Items[i].Name)
		}
	}
}

func TestTurnsAreKept(t *testing.T) {
	in(t, job(parallel(intstr.FromInt32(2))), func(w *world) {
		for i := range 6 {
			w.quiet[fmt.Sprintf("n%d", i)] = true
		}
		w.run(time.Second)
		w.expect("Running 0/6 a2 f0 s0")
		w.restart()
		w.run(time.Second)
		w.expect("Running 0/6 a2 f0 s0")
		clear(w.quiet)
		w.run(3 * time.Second)
		w.expect("Complete 6/6 a0 f0 s0 Complete/NodesDone")
	}, "n0", "n1", "n2", "n3", "n4", "n5")
}

func TestSuspendAndDeadline(t *testing.T) {
	in(t, job(templated, deadline(10)), func(w *world) {
		w.quiet["n2"] = true
		w.reach("Running 1/2 a1 f0 s0")
		began := w.job().Status.StartTime
		w.edit(suspend)
		w.run(2 * time.Second)
		w.expect("Suspended 1/2 a0 f0 s0 Suspended/Suspended")
		if w.job().Status.StartTime != nil {
			t.Error("a suspended job has a start time")
		}
		w.run(20 * time.Second)
		w.edit(func(j *v1alpha1.NodeJob) { j.Spec.Suspend = false })
		w.run(2 * time.Second)
		w.expect("Running 1/2 a1 f0 s0")
		if s := w.job().Status; !began.Before(s.StartTime) {
			t.Errorf("it began at %s, and again at %s", began, s.StartTime)
		}
		w.run(10 * time.Second)
		w.expect("Failed 1/2 a0 f1 s0 Failed/DeadlineExceeded")
		if f := w.job().Status.Failures; len(f) != 1 || f[0].Node != "n2" || f[0].Reason != v1alpha1.ReasonCancelled {
			t.Errorf("%+v", f)
		}
		w.nobodyHeld()
	}, "n1", "n2")
}

func TestANodeThatGoesAwayAndComesBack(t *testing.T) {
	in(t, job(deadline(3600)), func(w *world) {
		w.quiet["n2"] = true
		w.run(time.Second)
		ready := func(status corev1.ConditionStatus) {
			t.Helper()
			var n corev1.Node
			if err := w.api.Get(t.Context(), metaName("n2"), &n); err != nil {
				t.Fatal(err)
			}
			n.Status.Conditions[0].Status, n.Status.Conditions[0].LastTransitionTime = status, metav1.Now()
			if err := w.api.Status().Update(t.Context(), &n); err != nil {
				t.Fatal(err)
			}
		}
		ready(corev1.ConditionUnknown)
		w.run(30 * time.Second)
		w.expect("Running 1/2 a1 f0 s0")
		w.run(40 * time.Second)
		w.expect("Complete 1/2 a0 f0 s1 Complete/NodesDone")
		ready(corev1.ConditionTrue)
		clear(w.quiet)
		w.run(2 * time.Second)
		w.expect("Complete 2/2 a0 f0 s0 Complete/NodesDone")
		if got := counts(w.acted); got != "n1:0=1 n2:0=1" {
			t.Errorf("the agents did %s", got)
		}
	}, "n1", "n2")
}

func TestALatecomerIsCutOff(t *testing.T) {
	in(t, job(templated, deadline(100)), func(w *world) {
		w.quiet["n2"] = true
		ready := func(status corev1.ConditionStatus) {
			t.Helper()
			var n corev1.Node
			if err := w.api.Get(t.Context(), metaName("n2"), &n); err != nil {
				t.Fatal(err)
			}
			n.Status.Conditions[0].Status = status
			if err := w.api.Status().Update(t.Context(), &n); err != nil {
				t.Fatal(err)
			}
		}
		ready(corev1.ConditionUnknown)
		w.reach("Complete 1/2 a0 f0 s1 Complete/NodesDone")
		ready(corev1.ConditionTrue)
		w.reach("Complete 1/2 a1 f0 s0 Complete/NodesDone")
		w.run(2 * time.Minute)
		w.expect("Complete 1/2 a0 f0 s1 Complete/NodesDone")
		if s := w.job().Status; len(s.SkippedNodes) != 1 || s.SkippedNodes[0].Reason != v1alpha1.ReasonDeadlineExceeded || strings.Contains(s.Message, "at it") {
			t.Errorf("it says %q, and skipped %+v", s.Message, s.SkippedNodes)
		}
		w.nobodyHeld()
	}, "n1", "n2")
}

func TestAJobGoesWhenItsTimeIsOver(t *testing.T) {
	in(t, job(templated, func(j *v1alpha1.NodeJob) { j.Spec.TTLSecondsAfterFinished = new(int32(0)) }), func(w *world) {
		w.run(5 * time.Second)
		if err := w.api.Get(t.Context(), key, &v1alpha1.NodeJob{}); !apierrors.IsNotFound(err) {
			t.Fatalf("the job is still there: %v, %+v", err, w.job().Status)
		}
		w.nobodyHeld()
		var store v1alpha1.ImageStore
		if err := w.api.Get(t.Context(), metaName("n1"), &store); err != nil || len(store.Spec.Jobs) > 0 {
			t.Errorf("the store still has %+v, %v", store.Spec.Jobs, err)
		}
	}, "n1", "n2")
}

// What nobody was shown is not carried out, whenever the controller ends and the plan comes.
func TestAPlanThatComesLate(t *testing.T) {
	for name, late := range map[string]func(*world){
		"ended":   func(w *world) { w.round() },
		"restart": func(w *world) { w.round(); w.restart() },
		"before it hears that it is ended": func(w *world) {
			if _, err := w.jobs.Reconcile(w.t.Context(), requestFor(key)); err != nil {
				w.t.Fatal(err)
			}
			clear(w.quiet)
			w.agent("n2")
		},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, job(dryRun), func(w *world) {
				w.quiet["n2"] = true
				w.reach("Running 1/2 a1 f0 s0")
				w.edit(func(j *v1alpha1.NodeJob) { j.Spec.DryRun = false })
				late(w)
				clear(w.quiet)
				w.run(2 * time.Second)
				w.expect("Complete 1/2 a0 f0 s1 Complete/NodesDone")
				if got := w.acted["n1:0"] + 10*w.acted["n2:0"]; got != 1 {
					t.Errorf("the agents did %s", counts(w.acted))
				}
			}, "n1", "n2")
		})
	}
}

func TestAMissingSecretIsTold(t *testing.T) {
	pull := job(func(j *v1alpha1.NodeJob) {
		j.Spec.Remove, j.Spec.Pull = nil, &v1alpha1.PullAction{Images: []string{"nginx"}}
	})
	in(t, pull, func(w *world) {
		w.problems = []pullsecret.Problem{{Secret: "shop/reg", Message: "the Secret shop/reg does not exist"}}
		w.quiet["n2"] = true
		w.run(2 * time.Second)
		w.expect("Running 1/2 a1 f0 s0 Stalled/SecretNotFound")
		w.problems = nil
		w.run(12 * time.Second)
		w.expect("Running 1/2 a1 f0 s0")
	}, "n1", "n2")
}

// replace puts another node of the same name in the place of one, and takes away what goes with that.
func (w *world) replace(name string) {
	w.t.Helper()
	var n corev1.Node
	var pods corev1.PodList
	if err := errors.Join(w.api.Get(w.t.Context(), metaName(name), &n), w.api.List(w.t.Context(), &pods)); err != nil {
		w.t.Fatal(err)
	}
	errs := []error{w.api.Delete(w.t.Context(), &n), w.api.Delete(w.t.Context(), &v1alpha1.ImageStore{ObjectMeta: metav1.ObjectMeta{Name: name}})}
	for i := range pods.Items {
		if pods.Items[i].Annotations[v1alpha1.AnnotationNode] == name {
			errs = append(errs, w.api.Delete(w.t.Context(), &pods.Items[i]))
		}
	}
	w.jobs.onNode().Delete(w.t.Context(), event.DeleteEvent{Object: &n}, w.queue())
	n.ResourceVersion, n.UID, n.CreationTimestamp = "", n.UID+"-other", metav1.NewTime(time.Now().Add(time.Second))
	if err := errors.Join(append(errs, w.api.Create(w.t.Context(), &n))...); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) queue() queue {
	q := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
	w.t.Cleanup(q.ShutDown)
	return q
}

// What became of a pod on an earlier node of the name is not this one's, whichever reconciler sees the new node first.
func TestANodeIsMadeAnewForPods(t *testing.T) {
	for name, first := range map[string]func(*world) error{
		"the job's first": func(w *world) error {
			_, err := w.jobs.Reconcile(w.t.Context(), requestFor(key))
			return err
		},
		"the store's first": func(w *world) error {
			_, err := w.stores.Reconcile(w.t.Context(), requestFor(metaName("n2")))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, job(templated, never), func(w *world) {
				w.reach("Running 2/2 a0 f0 s0")
				w.run(time.Second)
				w.replace("n2")
				if err := first(w); err != nil {
					t.Fatal(err)
				}
				w.run(5 * time.Second)
				w.expect("Running 2/2 a0 f0 s0")
				if got := counts(w.made); got != "n1:0=1 n2:0=2" {
					t.Errorf("there were the pods %s", got)
				}
			}, "n1", "n2")
		})
	}
}

// A job that has ended, and looks after those that were away, is not for a node that was made since.
func TestANodeThatIsMadeAnewAfterTheEnd(t *testing.T) {
	for name, j := range map[string]*v1alpha1.NodeJob{"late": job(deadline(3600)), "for good": job()} {
		t.Run(name, func(t *testing.T) {
			in(t, j, func(w *world) {
				w.reach("Complete 2/2 a0 f0 s0 Complete/NodesDone")
				w.run(time.Second)
				w.replace("n2")
				if _, err := w.stores.Reconcile(t.Context(), requestFor(metaName("n2"))); err != nil {
					t.Fatal(err)
				}
				w.run(5 * time.Second)
				if got := counts(w.acted); got != "n1:0=1 n2:0=1" {
					t.Errorf("the agents did %s", got)
				}
			}, "n1", "n2")
		})
	}
}

func TestANodeIsMadeAnew(t *testing.T) {
	in(t, job(never), func(w *world) {
		w.reach("Running 2/2 a0 f0 s0")
		var n corev1.Node
		if err := w.api.Get(t.Context(), metaName("n2"), &n); err != nil {
			t.Fatal(err)
		}
		if err := w.api.Delete(t.Context(), &n); err != nil {
			t.Fatal(err)
		}
		n.ResourceVersion, n.UID = "", "uid-other"
		if err := w.api.Create(t.Context(), &n); err != nil {
			t.Fatal(err)
		}
		w.jobs.agents.forget("n2")
		_, err := w.jobs.Reconcile(t.Context(), requestFor(key))
		if err != nil {
			t.Fatal(err)
		}
		// What the earlier node of this name did is not this one's.
		if v := w.job().Status; v.Succeeded != 1 || v.Active != 1 {
			t.Errorf("%+v", v)
		}
	}, "n1", "n2")
}

// A failure that lasts is tried again later and later: no call in between succeeds.
func TestAFailureThatLasts(t *testing.T) {
	in(t, job(templated), func(w *world) {
		w.broken = errors.New("etcdserver: request timed out")
		for range 3 {
			if again, err := w.jobs.Reconcile(t.Context(), requestFor(key)); err == nil {
				t.Errorf("succeeded, and is to be called again after %s", again.RequeueAfter)
			}
		}
		if w.refused != 3 {
			t.Errorf("asked for the pod %d times", w.refused)
		}
	}, "n1")
}

// A quota that is full is told, and asked again later and later, until it has room.
func TestAQuotaThatIsFull(t *testing.T) {
	in(t, job(templated), func(w *world) {
		w.refuses = map[string]string{"n1": "exceeded quota: pods", "n2": "exceeded quota: pods", "n3": "exceeded quota: pods"}
		w.run(time.Minute)
		w.expect("Waiting 0/3 a0 f0 s0 Stalled/PodRefused")
		if said := w.job().Status.Message; !strings.Contains(said, "exceeded quota: pods") {
			t.Errorf("it says %q", said)
		}
		if w.refused < 6 || w.refused > 40 {
			t.Errorf("asked %d times in a minute", w.refused)
		}
		w.refuses = nil
		w.run(mostAgain + time.Second)
		w.expect("Complete 3/3 a0 f0 s0 Complete/NodesDone")
	}, "n1", "n2", "n3")
}
