// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagestore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/assign"
	"orlop.dev/orlop/internal/pullsecret"
	"orlop.dev/orlop/internal/seal"
)

func jobOf(name string, change func(*v1alpha1.NodeJobSpec)) *v1alpha1.NodeJob {
	j := &v1alpha1.NodeJob{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: name, UID: types.UID("uid-" + name)}}
	change(&j.Spec)
	return j
}

func removes(images ...string) func(*v1alpha1.NodeJobSpec) {
	return func(s *v1alpha1.NodeJobSpec) { s.Remove = &v1alpha1.RemoveAction{Images: images} }
}

func pulls(images ...string) func(*v1alpha1.NodeJobSpec) {
	return func(s *v1alpha1.NodeJobSpec) { s.Pull = &v1alpha1.PullAction{Images: images} }
}

// entryOf is what such a job asks.
func entryOf(j *v1alpha1.NodeJob) v1alpha1.StoreJob {
	e := v1alpha1.StoreJob{Job: j.Namespace + "/" + j.Name, UID: string(j.UID), Remove: j.Spec.Remove}
	if j.Spec.Pull != nil {
		e.Pull = &v1alpha1.StorePull{Images: j.Spec.Pull.Images}
	}
	return e
}

// ask has the jobs ask n1.
func (b *bench) ask(jobs ...*v1alpha1.NodeJob) {
	for i, j := range jobs {
		b.Jobs.Set(string(j.UID), fmt.Sprintf("2026-11-20T12:00:%02dZ", i), map[string]v1alpha1.StoreJob{"n1": entryOf(j)})
	}
}

// done is a final answer to the entry.
func done(uid string) v1alpha1.StoreJobStatus {
	return v1alpha1.StoreJobStatus{UID: uid, State: v1alpha1.JobSucceeded}
}

// forJobs is a bench with a ledger.
func forJobs(t *testing.T, objects ...client.Object) *bench {
	b := newBench(t, append([]client.Object{nodeOf("n1"), agentOn("n1")}, objects...)...)
	b.Jobs = assign.New(func(...string) {})
	return b
}

func (b *bench) asked() (all []string) {
	b.t.Helper()
	for _, e := range b.store("n1").Spec.Jobs {
		text := e.Job
		if e.Remove == nil && e.Pull == nil {
			text += " bare"
		}
		all = append(all, text)
	}
	return all
}

func TestARemovalTravelsWithWhatPodsNeed(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "uses"}, Spec: corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Image: "nginx"}}}}
	first, second := jobOf("first", removes("one")), jobOf("second", removes("two"))
	b := forJobs(t, pod, first, second)
	b.reconcile("n1")
	before := b.writes
	b.ask(first)
	b.reconcile("n1")
	store := b.store("n1")
	if needs := store.Spec.Needs; b.writes != before+1 || needs == nil || len(needs.Images) != 1 || needs.Images[0].Pod != "shop/uses" {
		t.Fatalf("%d writes, needs %+v", b.writes-before, needs)
	}
	b.quiet("n1")
	b.answer("n1", func(s *v1alpha1.ImageStoreStatus) { s.NeedsAsked = "again" })
	b.reconcile("n1")
	if got := b.store("n1").Spec.Needs.Answers; got != "again" {
		t.Errorf("the needs answer %q", got)
	}
	b.answer("n1", func(s *v1alpha1.ImageStoreStatus) { s.Jobs = []v1alpha1.StoreJobStatus{done("uid-first")} })
	b.quiet("n1") // That it is done, and needs no needs any more, is not worth a write.
	b.answer("n1", func(s *v1alpha1.ImageStoreStatus) { s.NeedsAsked = "for nothing" })
	b.quiet("n1")

	was := b.store("n1").Spec.Needs.AsOf
	b.ask(first, second)
	b.reconcile("n1")
	if now := b.store("n1").Spec.Needs.AsOf; !was.Before(&now) {
		t.Error("a new removal goes by old needs")
	}
	// A controller that begins anew, and has yet to hear of one or of both.
	b.Jobs = assign.New(func(...string) {})
	b.quiet("n1")
	b.ask(second)
	b.quiet("n1")
	for _, j := range []*v1alpha1.NodeJob{first, second} {
		if err := b.api.Delete(t.Context(), j); err != nil {
			t.Fatal(err)
		}
	}
	b.reconcile("n1")
	if s := b.store("n1").Spec; s.Jobs != nil || s.Needs != nil {
		t.Errorf("%+v", s)
	}
}

// A removal that is not done hears of what a cache wants though no registry has said what it stands for; one that is done is no reason to
// write.
func TestARemovalHearsOfWhatIsNotResolvedYet(t *testing.T) {
	j := jobOf("j", removes("one"))
	b := forJobs(t, j)
	b.ask(j)
	b.reconcile("n1")
	if err := b.api.Create(t.Context(), cacheOf("x", web)); err != nil {
		t.Fatal(err)
	}
	b.reconcile("n1")
	if needs := b.store("n1").Spec.Needs; len(needs.Images) != 1 || needs.Images[0].Image != web || needs.Images[0].Cache != "a/x" {
		t.Errorf("the needs are %+v", needs.Images)
	}
	b.quiet("n1")
	b.answer("n1", func(s *v1alpha1.ImageStoreStatus) { s.Jobs = []v1alpha1.StoreJobStatus{done("uid-j")} })
	if err := b.api.Create(t.Context(), cacheOf("y", other)); err != nil {
		t.Fatal(err)
	}
	b.quiet("n1")
}

// TestNothingIsDroppedUnseen: an API server that does not answer does not say that a job is gone.
func TestNothingIsDroppedUnseen(t *testing.T) {
	j := jobOf("j", removes("one"))
	b := forJobs(t, j)
	b.ask(j)
	b.reconcile("n1")
	silent := errors.New("no answer")
	b.Client = interceptor.NewClient(b.api, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			if _, job := o.(*v1alpha1.NodeJob); job {
				return silent
			}
			return c.Get(ctx, key, o, opts...)
		},
	})
	if _, err := b.Reconcile(t.Context(), reconcile.Request{NamespacedName: types.NamespacedName{Name: "n1"}}); !errors.Is(err, silent) {
		t.Errorf("error %v", err)
	}
	if got := b.asked(); !gocmp.Equal(got, []string{"a/j"}) {
		t.Errorf("%q", got)
	}
}

func TestCredentialsOfAPull(t *testing.T) {
	secret := func(version string) []pullsecret.Secret {
		read, err := pullsecret.Read(&corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "reg", UID: "uid-secret", ResourceVersion: version}, Type: corev1.SecretTypeDockerConfigJson,
			Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte(`{"auths":{"ghcr.io":{"username":"ann","password":"pw"}}}`)},
		})
		if err != nil {
			t.Fatal(err)
		}
		return []pullsecret.Secret{read}
	}
	first, second := jobOf("first", pulls("ghcr.io/a/b:1", "quay.io/c:1")), jobOf("second", pulls("ghcr.io/a/c:1"))
	b := forJobs(t, first, second)
	b.secrets = secret("1")
	publish := func() string {
		key, err := seal.NewKey()
		if err != nil {
			t.Fatal(err)
		}
		b.answer("n1", func(s *v1alpha1.ImageStoreStatus) {
			s.NodeUID, s.Key = "uid-node", &v1alpha1.SealingKey{ID: key.ID(), Public: key.Public()}
		})
		return key.ID()
	}
	b.ask(first)
	b.reconcile("n1")
	if s := b.store("n1").Spec; len(s.Jobs[0].Pull.Credentials) != 1 || s.Credentials != nil {
		t.Fatalf("without a key: %+v", s)
	}
	key := publish()
	b.reconcile("n1")
	if s := b.store("n1").Spec; len(s.Credentials) != 1 || s.Credentials[0].Name != s.Jobs[0].Pull.Credentials[0] || s.Credentials[0].KeyID != key || s.Credentials[0].Registry != "ghcr.io" {
		t.Fatalf("%+v", s)
	}
	b.quiet("n1")
	b.answer("n1", func(s *v1alpha1.ImageStoreStatus) { s.Jobs = []v1alpha1.StoreJobStatus{done("uid-first")} })
	b.quiet("n1")
	again := publish()
	b.secrets = secret("2")
	b.quiet("n1") // Nobody needs them any more.
	b.ask(first, second)
	b.reconcile("n1")
	if s := b.store("n1").Spec; len(s.Credentials) != 1 || s.Credentials[0].KeyID != again || len(s.Jobs[1].Pull.Credentials) != 1 {
		t.Errorf("the second is given %+v", s.Credentials)
	}
	if first.Spec.Pull.Images[0] != "ghcr.io/a/b:1" || b.Jobs.On("n1", nil, func(string, string) bool { return true })[0].Pull.Credentials != nil {
		t.Error("what the ledger holds was changed")
	}
}

func TestRoomForJobs(t *testing.T) {
	long := func(n int) []string {
		images := make([]string, n)
		for i := range images {
			images[i] = fmt.Sprintf("%s-%d", strings.Repeat("x", 200), i)
		}
		return images
	}
	a, c, d := jobOf("a", removes(long(200)...)), jobOf("c", removes(long(200)...)), jobOf("d", removes(long(200)...))
	b := forJobs(t, a, c, d)
	expect := func(want ...string) {
		t.Helper()
		if diff := gocmp.Diff(want, b.asked()); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}
	}
	b.ask(a, c, d)
	if result := b.reconcile("n1"); result.RequeueAfter != roomGap {
		t.Errorf("looked at again after %s", result.RequeueAfter)
	}
	expect("a/a", "a/c")
	b.quiet("n1")
	b.answer("n1", func(s *v1alpha1.ImageStoreStatus) { s.Jobs = []v1alpha1.StoreJobStatus{done("uid-a")} })
	b.reconcile("n1")
	expect("a/a bare", "a/c", "a/d")
	b.quiet("n1")
	b.Jobs = assign.New(func(...string) {})
	b.quiet("n1")

	huge := jobOf("huge", removes(long(480)...))
	b.answer("n1", func(s *v1alpha1.ImageStoreStatus) {
		s.Jobs = []v1alpha1.StoreJobStatus{done("uid-a"), done("uid-c")}
	})
	if err := b.api.Create(t.Context(), huge); err != nil {
		t.Fatal(err)
	}
	b.ask(a, c, d, huge)
	b.reconcile("n1")
	expect("a/a bare", "a/c bare", "a/d")
	b.quiet("n1")
	b.answer("n1", func(s *v1alpha1.ImageStoreStatus) {
		s.Jobs = []v1alpha1.StoreJobStatus{done("uid-a"), done("uid-c"), done("uid-d")}
	})
	b.reconcile("n1")
	expect("a/a bare", "a/c bare", "a/d bare", "a/huge")
	b.quiet("n1")
}

// TestMoreJobsThanAreTold: of those that are complete for good the oldest go, and no other.
func TestMoreJobsThanAreTold(t *testing.T) {
	complete := []metav1.Condition{{Type: v1alpha1.ConditionComplete, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonNodesDone}}
	a := &assigned{store: &v1alpha1.ImageStore{}, of: map[string]*v1alpha1.NodeJob{}}
	for i := range maxJobs + 50 {
		j := jobOf(fmt.Sprintf("j%04d", i), removes("one"))
		if i >= 20 {
			j.Status.Conditions = complete
		}
		e := entryOf(j)
		a.entries, a.of[e.UID] = append(a.entries, e), j
		if i < maxJobs {
			a.store.Spec.Jobs = append(a.store.Spec.Jobs, e)
			a.store.Status.Jobs = append(a.store.Status.Jobs, done(e.UID))
		}
	}
	a.fit(maxJobBytes, time.Now())
	if got := a.weight(); got > maxJobBytes || a.left > 0 || len(a.entries) > maxJobs {
		t.Errorf("%d entries take %d bytes, %d were left", len(a.entries), got, a.left)
	}
	for i := range maxJobs + 50 {
		uid := fmt.Sprintf("uid-j%04d", i)
		there := slices.ContainsFunc(a.entries, func(e v1alpha1.StoreJob) bool { return e.UID == uid })
		if must := i < 20 || i >= maxJobs; must && !there {
			t.Errorf("%s was dropped", uid)
		}
	}
}

func TestWritesForJobsAreSpaced(t *testing.T) {
	p, now := newPace(), time.Now()
	if p.wait("n1", now) > 0 {
		t.Error("the first waits")
	}
	p.wrote("n1", now)
	if got := p.wait("n1", now.Add(100*time.Millisecond)); got != jobGap-100*time.Millisecond {
		t.Errorf("the second waits for %s", got)
	}
	if p.wait("n2", now) > 0 || p.wait("n1", now.Add(jobGap)) > 0 {
		t.Error("others wait, or for too long")
	}
	p.forget("n1")
	if p.wait("n1", now) > 0 {
		t.Error("a node of the same name waits")
	}
}
