// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package nodecronjob

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

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
)

var tidy = types.NamespacedName{Namespace: "shop", Name: "tidy"}

// bench is a controller with a cluster in memory. Time is that of synctest, which begins at midnight.
type bench struct {
	t      *testing.T
	api    client.WithWatch
	c      *Controller
	events *events.FakeRecorder
	due    time.Time

	made         []string // the NodeJobs that were, in their order
	writes       int      // of statuses
	uids         int
	refuseCreate error                 // what the API server says to a NodeJob
	refuseStatus error                 // and to a status
	behind       *v1alpha1.NodeCronJob // what the informer still has
}

func newBench(t *testing.T) *bench {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t}
	b.api = fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(&v1alpha1.NodeCronJob{}, &v1alpha1.NodeJob{}).
		WithIndex(&v1alpha1.NodeJob{}, ownerIndex, owners).
		WithInterceptorFuncs(interceptor.Funcs{Create: b.onCreate, SubResourceApply: b.onStatus, Get: b.onGet}).Build()
	b.restart()
	return b
}

func (b *bench) onCreate(ctx context.Context, to client.WithWatch, obj client.Object, opts ...client.CreateOption) error {
	if _, isJob := obj.(*v1alpha1.NodeJob); isJob && b.refuseCreate != nil {
		return b.refuseCreate
	}
	b.uids++
	obj.SetUID(types.UID(fmt.Sprintf("uid-%d", b.uids)))
	obj.SetCreationTimestamp(metav1.NewTime(time.Now().Truncate(time.Second)))
	err := to.Create(ctx, obj, opts...)
	if _, isJob := obj.(*v1alpha1.NodeJob); isJob && err == nil {
		b.made = append(b.made, obj.GetName())
	}
	return err
}

func (b *bench) onStatus(ctx context.Context, to client.Client, sub string, obj runtime.ApplyConfiguration, opts ...client.SubResourceApplyOption) error {
	if b.refuseStatus != nil {
		return b.refuseStatus
	}
	b.writes++
	if !(&client.SubResourceApplyOptions{}).ApplyOpts(opts).DisableReadYourWritesConsistency {
		b.t.Error("writing a status takes a second watch of all objects of its kind")
	}
	return to.SubResource(sub).Apply(ctx, obj, opts...)
}

func (b *bench) onGet(ctx context.Context, to client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	if cron, ok := obj.(*v1alpha1.NodeCronJob); ok && b.behind != nil {
		b.behind.DeepCopyInto(cron)
		return nil
	}
	return to.Get(ctx, key, obj, opts...)
}

// restart replaces the controller by a new one, which knows nothing.
func (b *bench) restart() {
	b.events = events.NewFakeRecorder(1000)
	b.c = New(Config{Client: b.api, Recorder: b.events})
}

func (b *bench) create(change func(*v1alpha1.NodeCronJobSpec)) {
	b.t.Helper()
	cron := &v1alpha1.NodeCronJob{}
	cron.Namespace, cron.Name, cron.Generation = tidy.Namespace, tidy.Name, 1
	cron.Spec = v1alpha1.NodeCronJobSpec{Schedule: "*/10 * * * *", ConcurrencyPolicy: v1alpha1.ConcurrencyAllow}
	cron.Spec.JobTemplate.Labels = map[string]string{"team": "a"}
	cron.Spec.JobTemplate.Annotations = map[string]string{"why": "disk"}
	cron.Spec.JobTemplate.Spec.Prune = &v1alpha1.PruneAction{Match: []string{"docker.io/minchou/*"}}
	if change != nil {
		change(&cron.Spec)
	}
	if err := b.api.Create(b.t.Context(), cron); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) once() (reconcile.Result, error) {
	return b.c.Reconcile(b.t.Context(), reconcile.Request{NamespacedName: tidy})
}

// run reconciles now, and whenever it was asked for in a span of time, and gives the statuses written.
func (b *bench) run(span time.Duration) int {
	b.t.Helper()
	before, end := b.writes, time.Now().Add(span)
	b.due = time.Now()
	for !b.due.IsZero() && !b.due.After(end) {
		time.Sleep(time.Until(b.due))
		result, err := b.once()
		if err != nil {
			b.t.Fatal(err)
		}
		b.due = time.Time{}
		if result.RequeueAfter > 0 {
			b.due = time.Now().Add(result.RequeueAfter)
		}
	}
	time.Sleep(time.Until(end))
	return b.writes - before
}

func (b *bench) cron() *v1alpha1.NodeCronJob {
	b.t.Helper()
	var c v1alpha1.NodeCronJob
	if err := b.api.Get(b.t.Context(), tidy, &c); err != nil {
		b.t.Fatal(err)
	}
	return &c
}

func (b *bench) edit(change func(*v1alpha1.NodeCronJobSpec)) {
	b.t.Helper()
	c := b.cron()
	change(&c.Spec)
	c.Generation++
	if err := b.api.Update(b.t.Context(), c); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) setStatus(change func(*status)) {
	b.t.Helper()
	c := b.cron()
	change(&c.Status)
	if err := b.api.Status().Update(b.t.Context(), c); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) jobs() (names []string) {
	b.t.Helper()
	var list v1alpha1.NodeJobList
	if err := b.api.List(b.t.Context(), &list); err != nil {
		b.t.Fatal(err)
	}
	for _, job := range list.Items {
		names = append(names, job.Name)
	}
	slices.Sort(names)
	return names
}

func (b *bench) job(name string) *v1alpha1.NodeJob {
	b.t.Helper()
	var job v1alpha1.NodeJob
	if err := b.api.Get(b.t.Context(), types.NamespacedName{Namespace: tidy.Namespace, Name: name}, &job); err != nil {
		b.t.Fatal(err)
	}
	return &job
}

// end has a NodeJob end now, as a condition says.
func (b *bench) end(name, condition string, freed int64) {
	b.t.Helper()
	job, now := b.job(name), metav1.NewTime(time.Now().Truncate(time.Second))
	job.Status.Conditions = []metav1.Condition{{Type: condition, Status: metav1.ConditionTrue, Reason: "Test", LastTransitionTime: now}}
	job.Status.FreedBytes = &freed
	if condition == v1alpha1.ConditionComplete {
		job.Status.CompletionTime = &now
	}
	if err := b.api.Status().Update(b.t.Context(), job); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) remove(name string) {
	b.t.Helper()
	if err := b.api.Delete(b.t.Context(), b.job(name)); err != nil {
		b.t.Fatal(err)
	}
}

// slot is the name of the NodeJob for a time of the first day.
func (b *bench) slot(clock string) string {
	b.t.Helper()
	at, err := time.Parse("15:04", clock)
	if err != nil {
		b.t.Fatal(err)
	}
	day := time.Date(2000, 1, 1, at.Hour(), at.Minute(), 0, 0, time.UTC)
	return nameFor(tidy.Name, day)
}

func (b *bench) slots(clocks ...string) (names []string) {
	for _, clock := range clocks {
		names = append(names, b.slot(clock))
	}
	return names
}

func (b *bench) expectMade(clocks ...string) {
	b.t.Helper()
	if want := b.slots(clocks...); !slices.Equal(b.made, want) {
		b.t.Errorf("made %q, not %q", b.made, want)
	}
	b.made = nil
}

func (b *bench) expectJobs(clocks ...string) {
	b.t.Helper()
	want := b.slots(clocks...)
	slices.Sort(want)
	if got := b.jobs(); !slices.Equal(got, want) {
		b.t.Errorf("there are %q, not %q", got, want)
	}
}

// says is the times of the status, as last and next, and what Ready says.
func (b *bench) says() string {
	b.t.Helper()
	cron := b.cron()
	clock := func(at *metav1.Time) string {
		if at == nil {
			return "-"
		}
		return at.UTC().Format("15:04")
	}
	line := clock(cron.Status.LastScheduleTime) + " " + clock(cron.Status.NextScheduleTime)
	for _, c := range cron.Status.Conditions {
		if c.ObservedGeneration != cron.Generation || cron.Status.ObservedGeneration != cron.Generation {
			b.t.Errorf("%s is about generation %d, the status about %d", c.Type, c.ObservedGeneration, cron.Status.ObservedGeneration)
		}
		if c.Type == v1alpha1.ConditionReady || c.Status == metav1.ConditionTrue {
			line += fmt.Sprintf(" %s=%s/%s", c.Type, c.Status, c.Reason)
		}
	}
	return line
}

func (b *bench) expect(want string) {
	b.t.Helper()
	if got := b.says(); got != want {
		b.t.Errorf("it says %q, not %q", got, want)
	}
}

// message is that of Ready.
func (b *bench) message() string {
	b.t.Helper()
	for _, c := range b.cron().Status.Conditions {
		if c.Type == v1alpha1.ConditionReady {
			return c.Message
		}
	}
	return ""
}

// heard gives the events since it was last called: type and reason.
func (b *bench) heard() string {
	var all []string
	for {
		select {
		case e := <-b.events.Events:
			parts := strings.SplitN(e, " ", 3)
			all = append(all, parts[1])
		default:
			return strings.Join(all, " ")
		}
	}
}

func forbidden(text string) error {
	return apierrors.NewForbidden(v1alpha1.GroupVersion.WithResource("nodejobs").GroupResource(), "x", fmt.Errorf("%s", text))
}
