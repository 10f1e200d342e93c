// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagecache

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/opencontainers/go-digest"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/catalog"
	"orlop.dev/orlop/internal/condition"
	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/pullsecret"
	"orlop.dev/orlop/internal/registry"
)

// shelf is a registry in memory.
type shelf struct {
	mu      sync.Mutex
	digests map[string]string // by name
	refuse  map[string]error
	login   string // the user that must ask, if any
	takes   time.Duration
	asked   []string
}

func (s *shelf) Digest(ctx context.Context, ref oci.Ref, chains ...authn.Keychain) (digest.Digest, error) {
	s.mu.Lock()
	s.asked = append(s.asked, ref.String())
	s.mu.Unlock()
	select {
	case <-time.After(s.takes):
	case <-ctx.Done():
		return "", ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.login != "" && !slices.ContainsFunc(chains, func(c authn.Keychain) bool {
		found, err := pullsecret.Lookup(c, ref)
		return err == nil && found.Username == s.login
	}) {
		return "", engine.Becausef(engine.Unauthorized, "%s: UNAUTHORIZED: authentication required", ref.Registry())
	}
	if err := s.refuse[ref.String()]; err != nil {
		return "", err
	}
	if d := s.digests[ref.String()]; d != "" {
		return digest.Digest(d), nil
	}
	return "", engine.Becausef(engine.NotFound, "%s: MANIFEST_UNKNOWN: manifest unknown", ref.Registry())
}

func (s *shelf) Describe(ctx context.Context, ref oci.Ref, platforms []string, chains ...authn.Keychain) (registry.Description, error) {
	found, err := s.Digest(ctx, ref, chains...)
	if err != nil {
		return registry.Description{}, err
	}
	sizes := map[string]int64{}
	for _, p := range platforms {
		sizes[p] = 1000
	}
	return registry.Description{Digest: found, Sizes: sizes}, nil
}

func (s *shelf) set(image, content string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := digest.FromString(content).String()
	s.digests[image] = d
	delete(s.refuse, image)
	return d
}

func (s *shelf) questions() (asked []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked, s.asked = s.asked, nil
	slices.Sort(asked)
	return asked
}

// bench is a controller with a cluster in memory. Time is that of synctest.
type bench struct {
	t       *testing.T
	api     client.Client
	shelf   *shelf
	c       *Controller
	changed chan event.GenericEvent
	events  *events.FakeRecorder
	away    map[string]bool // nodes without an agent
	writes  int
	told    int
	due     map[types.NamespacedName]time.Time
	stop    func()
}

func newBench(t *testing.T, objects ...client.Object) *bench {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	b := &bench{t: t, shelf: &shelf{digests: map[string]string{}, refuse: map[string]error{}}, away: map[string]bool{}}
	b.api = fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).
		WithStatusSubresource(&v1alpha1.ImageCache{}, &v1alpha1.ImageStore{}).
		WithInterceptorFuncs(interceptor.Funcs{SubResourceApply: func(ctx context.Context, c client.Client, sub string, obj runtime.ApplyConfiguration, opts ...client.SubResourceApplyOption) error {
			b.writes++
			return c.SubResource(sub).Apply(ctx, obj, opts...)
		}}).Build()
	b.restart()
	return b
}

// restart replaces the controller by a new one, which knows nothing.
func (b *bench) restart() {
	if b.stop != nil {
		b.stop()
	}
	b.changed, b.events, b.due = make(chan event.GenericEvent, 1000), events.NewFakeRecorder(1000), map[types.NamespacedName]time.Time{}
	b.c = New(Config{
		Client: b.api, Secrets: pullsecret.New(b.api), Registry: b.shelf, Catalog: catalog.New(), AgentReady: func(node string) bool { return !b.away[node] },
		Changed: b.changed, Recorder: b.events,
	})
	c := b.c
	ctx, cancel := context.WithCancel(b.t.Context())
	var all sync.WaitGroup
	all.Go(func() { _ = c.asker.Start(ctx) })
	b.stop = func() { cancel(); all.Wait() }
}

// run lets so much time pass, and reconciles whatever asks for it meanwhile.
func (b *bench) run(span time.Duration, keys ...types.NamespacedName) {
	b.t.Helper()
	end := time.Now().Add(span)
	for _, key := range keys {
		b.due[key] = time.Now()
	}
	for {
		next, key := end, types.NamespacedName{}
		for k, at := range b.due {
			if at.Before(next) || at.Equal(next) && key.Name == "" {
				next, key = at, k
			}
		}
		select {
		case woken := <-b.c.wakes:
			b.due[client.ObjectKeyFromObject(woken.Object)] = time.Now()
			continue
		case <-b.changed:
			b.told++
			continue
		case <-time.After(time.Until(next)):
		}
		if key.Name == "" {
			return
		}
		delete(b.due, key)
		result, err := b.c.Reconcile(b.t.Context(), reconcile.Request{NamespacedName: key})
		if err != nil {
			b.t.Fatal(err)
		}
		if result.RequeueAfter > 0 {
			if at := time.Now().Add(result.RequeueAfter); b.due[key].IsZero() || at.Before(b.due[key]) {
				b.due[key] = at
			}
		}
	}
}

func (b *bench) cache(key types.NamespacedName) *v1alpha1.ImageCache {
	b.t.Helper()
	var c v1alpha1.ImageCache
	if err := b.api.Get(b.t.Context(), key, &c); err != nil {
		b.t.Fatal(err)
	}
	return &c
}

// says is one line about a cache: its conditions with their reasons, Ready first.
func (b *bench) says(key types.NamespacedName) string {
	s := b.cache(key).Status
	line := s.Summary
	for _, kind := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled, v1alpha1.ConditionDegraded} {
		for _, c := range s.Conditions {
			if c.Type == kind && (c.Status == metav1.ConditionTrue || kind == v1alpha1.ConditionReady) {
				line += fmt.Sprintf(" %s=%s/%s", c.Type, c.Status, c.Reason)
			}
		}
	}
	return line
}

func (b *bench) message(key types.NamespacedName, kind string) string {
	for _, c := range b.cache(key).Status.Conditions {
		if c.Type == kind {
			return c.Message
		}
	}
	return ""
}

func (b *bench) expect(key types.NamespacedName, want string) {
	b.t.Helper()
	if got := b.says(key); got != want {
		b.t.Errorf("%s says %q, want %q (%s)", key, got, want, b.message(key, v1alpha1.ConditionReady))
	}
	for _, c := range b.cache(key).Status.Conditions {
		if c.ObservedGeneration != b.cache(key).Generation {
			b.t.Errorf("%s is about generation %d", c.Type, c.ObservedGeneration)
		}
	}
}

// counted gives the writes since it was last called.
func (b *bench) counted() (n int) {
	n, b.writes = b.writes, 0
	return n
}

func (b *bench) heard() (all []string) {
	for {
		select {
		case e := <-b.events.Events:
			all = append(all, e)
		default:
			return all
		}
	}
}

// node says what a node's agent says of images, as image, state, digest or reason.
func (b *bench) node(name string, images ...v1alpha1.StoreImageStatus) {
	b.t.Helper()
	var s v1alpha1.ImageStore
	if err := b.api.Get(b.t.Context(), types.NamespacedName{Name: name}, &s); err != nil {
		b.t.Fatal(err)
	}
	s.Status.Images = images
	if err := b.api.Status().Update(b.t.Context(), &s); err != nil {
		b.t.Fatal(err)
	}
}

func present(image, digest string) v1alpha1.StoreImageStatus {
	return v1alpha1.StoreImageStatus{Image: image, Digest: digest, State: v1alpha1.ImagePresent, Pulled: true, Pinned: true}
}

func failed(image string, reason engine.Reason, message string) v1alpha1.StoreImageStatus {
	return v1alpha1.StoreImageStatus{Image: image, State: v1alpha1.ImageFailed, Reason: string(reason), Message: message, Attempts: 1}
}

func nodes(names ...string) (all []client.Object) {
	for _, name := range names {
		all = append(all,
			&corev1.Node{
				ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("uid-" + name)},
				Status: corev1.NodeStatus{
					Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}, NodeInfo: corev1.NodeSystemInfo{OperatingSystem: "linux", Architecture: "amd64"},
				},
			},
			&v1alpha1.ImageStore{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: v1alpha1.ImageStoreStatus{CanPin: true}})
	}
	return all
}

var web = types.NamespacedName{Namespace: "shop", Name: "web"}

func (b *bench) create(key types.NamespacedName, change func(*v1alpha1.ImageCache), images ...string) {
	b.t.Helper()
	c := &v1alpha1.ImageCache{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name, UID: types.UID("uid-" + key.Name), Generation: 1}}
	c.Spec.RefreshInterval = "15m"
	for _, image := range images {
		c.Spec.Images = append(c.Spec.Images, v1alpha1.CachedImage{Image: image})
	}
	if change != nil {
		change(c)
	}
	if err := b.api.Create(b.t.Context(), c); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) edit(key types.NamespacedName, change func(*v1alpha1.ImageCache)) {
	b.t.Helper()
	c := b.cache(key)
	change(c)
	if err := b.api.Update(b.t.Context(), c); err != nil {
		b.t.Fatal(err)
	}
}

const (
	one = "reg.example/one:1"
	two = "reg.example/two:latest"
)

func TestTheLifeOfACache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nodes("n1", "n2")...)
		defer func() { b.stop() }()
		first, second := b.shelf.set(one, "1"), b.shelf.set(two, "2")
		b.shelf.takes = 20 * time.Millisecond
		b.create(web, nil, one, two)
		b.run(100*time.Millisecond, web)
		b.expect(web, "0/2 Ready=False/RollingOut Reconciling=True/RollingOut")
		if b.counted() != 1 || b.told != 1 {
			t.Errorf("the nodes' reconciler was told %d times", b.told)
		}
		if got := b.cache(web).Status.Images; len(got) != 2 || got[0].Digest != first || got[1].Digest != second {
			t.Errorf("%+v", got)
		}

		b.node("n1", present(one, first), present(two, second))
		b.run(500*time.Millisecond, web)
		b.node("n2", present(one, first))
		b.run(2*time.Second, web)
		b.expect(web, "1/2 Ready=False/RollingOut Reconciling=True/RollingOut")
		if n := b.counted(); n != 1 {
			t.Errorf("progress took %d writes", n)
		}
		b.node("n2", present(one, first), present(two, second))
		b.run(150*time.Millisecond, web)
		b.expect(web, "2/2 Ready=True/Ready")
		if n := b.counted(); n != 1 {
			t.Errorf("the end took %d writes", n)
		}
		if got := b.heard(); got != nil {
			t.Errorf("events: %q", got)
		}

		b.shelf.questions()
		b.run(2*time.Hour, web)
		if n, asked := b.counted(), b.shelf.questions(); n != 0 || len(asked) < 7 || asked[0] != two {
			t.Errorf("refreshing wrote %d times, and asked %q", n, asked)
		}

		b.restart()
		b.told = 0
		b.run(time.Minute, web)
		if n, asked := b.counted(), b.shelf.questions(); n != 0 || len(asked) != 1 || asked[0] != two {
			t.Errorf("a restart wrote %d times, and asked %q", n, asked)
		}

		moved := b.shelf.set(two, "2b")
		b.run(20*time.Minute, web)
		b.expect(web, "0/2 Ready=False/RollingOut Reconciling=True/RollingOut")
		if got := b.heard(); len(got) != 1 || !strings.Contains(got[0], "DigestMoved") || !strings.Contains(got[0], moved) {
			t.Errorf("events: %q", got)
		}
		b.node("n1", present(one, first), present(two, moved))
		b.node("n2", present(one, first), present(two, moved))
		b.run(time.Second, web)
		b.expect(web, "2/2 Ready=True/Ready")
		b.counted()

		b.shelf.questions()
		b.edit(web, func(c *v1alpha1.ImageCache) { c.Annotations = map[string]string{v1alpha1.AnnotationRefresh: "now"} })
		b.run(time.Second, web)
		if n, asked := b.counted(), b.shelf.questions(); n != 1 || len(asked) != 2 || b.cache(web).Status.Refresh != "now" {
			t.Errorf("a refresh on demand wrote %d times, and asked %q", n, asked)
		}

		b.edit(web, func(c *v1alpha1.ImageCache) { c.Annotations[v1alpha1.AnnotationPurge] = "away" })
		b.run(time.Second, web)
		b.expect(web, "2/2 Ready=False/Purged")
		if s := b.cache(web).Status; b.counted() != 1 || s.Purge != "away" || s.PurgedGeneration != 1 || s.ImageCount != 0 {
			t.Errorf("%+v", s)
		}
		b.run(time.Hour, web)
		if n, asked := b.counted(), b.shelf.questions(); n != 0 || asked != nil {
			t.Errorf("purged, and yet: %d writes, asked %q", n, asked)
		}
		b.edit(web, func(c *v1alpha1.ImageCache) { c.Annotations[v1alpha1.AnnotationRefresh] = "again" })
		b.run(time.Second, web)
		b.expect(web, "2/2 Ready=True/Ready")
		if s := b.cache(web).Status; s.Refresh != "again" || s.PurgedGeneration != 0 || s.Purge != "away" {
			t.Errorf("%+v", s)
		}
		b.edit(web, func(c *v1alpha1.ImageCache) { c.Spec.Images = []v1alpha1.CachedImage{}; c.Generation = 2 })
		b.run(time.Second, web)
		b.expect(web, "2/2 Ready=True/NoImages")
	})
}

func TestAMissingImageHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nodes("n1", "n2")...)
		defer func() { b.stop() }()
		first := b.shelf.set(one, "1")
		b.create(web, nil, one, "reg.example/nope:1")
		b.run(400*time.Millisecond, web)
		b.expect(web, "0/2 Ready=False/Retrying Reconciling=True/Retrying")
		if f := b.cache(web).Status.Failures; len(f) != 1 || f[0].Node != "" || f[0].Reason != "NotFound" || !strings.Contains(f[0].Message, "manifest unknown") {
			t.Errorf("%+v", f)
		}
		if got := b.heard(); got != nil {
			t.Errorf("nothing is sure, and yet: %q", got)
		}
		b.node("n1", present(one, first), failed("reg.example/nope:1", engine.NotFound, "nope: not found"))
		b.run(200*time.Millisecond, web)
		b.expect(web, "0/2 Ready=False/NotFound Reconciling=True/RollingOut Stalled=True/NotFound")
		b.node("n2", present(one, first))
		b.run(3*time.Second, web)
		b.expect(web, "0/2 Ready=False/NotFound Stalled=True/NotFound")
		if got := b.cache(web).Status; got.Images[0].ReadyNodes != 2 || got.Images[1].Reason != "NotFound" || got.FailedNodes != 1 {
			t.Errorf("%+v", got)
		}
		if got := b.heard(); len(got) != 1 || !strings.Contains(got[0], "ImageFailed") {
			t.Errorf("events: %q", got)
		}
		b.counted()
		for i := range 20 {
			status := failed("reg.example/nope:1", engine.NotFound, "nope: not found")
			status.Attempts = int32(i + 2)
			b.node("n1", present(one, first), status)
			b.run(time.Minute, web)
		}
		if n := b.counted(); n > 5 {
			t.Errorf("twenty attempts that changed nothing were %d writes", n)
		}
		b.restart()
		b.run(time.Minute, web)
		if n := b.counted(); n != 0 {
			t.Errorf("a restart wrote %d times", n)
		}

		b.shelf.set("reg.example/nope:1", "3")
		b.run(6*time.Minute, web)
		b.node("n1", present(one, first), present("reg.example/nope:1", b.shelf.digests["reg.example/nope:1"]))
		b.node("n2", present(one, first), present("reg.example/nope:1", b.shelf.digests["reg.example/nope:1"]))
		b.run(time.Second, web)
		b.expect(web, "2/2 Ready=True/Ready")
		if got := b.heard(); len(got) != 1 || !strings.Contains(got[0], "ImageRecovered") {
			t.Errorf("events: %q", got)
		}
	})
}

func TestOneNodeHasTheLastWord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nodes("n1", "n2")...)
		defer func() { b.stop() }()
		b.shelf.refuse[two] = engine.Becausef(engine.RegistryUnavailable, "reg.example: connection refused")
		b.create(web, nil, two)
		b.run(400*time.Millisecond, web)
		b.expect(web, "0/2 Ready=False/Retrying Reconciling=True/Retrying")
		mirror := digest.FromString("mirror").String()
		b.node("n1", present(two, mirror))
		b.told = 0
		b.run(200*time.Millisecond, web)
		if got := b.cache(web).Status; b.told != 1 || got.Images[0].Digest != mirror || got.Images[0].ReadyNodes != 1 {
			t.Errorf("told %d times: %+v", b.told, got)
		}
		b.node("n2", present(two, mirror))
		b.run(2*time.Second, web)
		b.expect(web, "2/2 Ready=True/Ready Degraded=True/RegistryUnavailable")
		b.counted()
		b.run(time.Hour, web)
		b.restart()
		b.run(time.Minute, web)
		if n := b.counted(); n != 0 {
			t.Errorf("a registry that stays away, and a restart, were %d writes", n)
		}
	})
}

func TestNoNodeCanTry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nodes("n1")...)
		defer func() { b.stop() }()
		b.away["n1"] = true
		b.shelf.set(one, "1")
		b.create(web, nil, "reg.example/nope:1")
		other := types.NamespacedName{Namespace: "shop", Name: "other"}
		b.create(other, nil, one)
		b.run(time.Second, web, other)
		b.expect(web, "0/1 Ready=False/NotFound Stalled=True/NotFound")
		b.expect(other, "0/1 Ready=False/WaitingForNodes Reconciling=True/WaitingForNodes")
	})
}

func secret(name, version, user string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID("uid-" + name)}, Type: corev1.SecretTypeDockerConfigJson,
		Data: map[string][]byte{corev1.DockerConfigJsonKey: fmt.Appendf(nil, `{"auths":{"reg.example":{"username":%q,"password":%q}}}`, user, version)},
	}
}

func TestSecrets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nodes("n1")...)
		defer func() { b.stop() }()
		first := b.shelf.set(one, "1")
		b.shelf.login = "ann"
		b.create(web, func(c *v1alpha1.ImageCache) {
			c.Spec.ImagePullSecrets = []v1alpha1.SecretReference{{Name: "reg"}}
		}, one)
		b.run(time.Second, web)
		b.node("n1", failed(one, engine.Unauthorized, "pull access denied"))
		b.run(time.Second, web)
		b.expect(web, "0/1 Ready=False/SecretNotFound Stalled=True/SecretNotFound Degraded=True/SecretNotFound")
		if got := b.message(web, v1alpha1.ConditionStalled); !strings.Contains(got, "the Secret shop/reg does not exist") || !strings.Contains(got, "authentication required") {
			t.Errorf("%q", got)
		}
		if err := b.api.Create(t.Context(), secret("reg", "1", "bob")); err != nil {
			t.Fatal(err)
		}
		b.run(25*time.Second, web)
		b.expect(web, "0/1 Ready=False/Unauthorized Stalled=True/Unauthorized")
		b.run(30*time.Minute, web) // The pauses are long by now.
		rotated := secret("reg", "2", "ann")
		if err := b.api.Update(t.Context(), rotated); err != nil {
			t.Fatal(err)
		}
		b.run(25*time.Second, web)
		if got := b.cache(web).Status.Images[0].Digest; got != first {
			t.Errorf("the rotated Secret was not noticed: %q", got)
		}
		b.node("n1", present(one, first))
		b.run(time.Second, web)
		b.expect(web, "1/1 Ready=True/Ready")
	})
}

func TestTwoCachesAskOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, append(nodes("n1"), secret("reg", "1", "ann"))...)
		defer func() { b.stop() }()
		b.shelf.set(one, "1")
		b.shelf.login, b.shelf.takes = "ann", 100*time.Millisecond
		other := types.NamespacedName{Namespace: "stranger", Name: "other"}
		b.create(other, nil, one)
		b.create(web, func(c *v1alpha1.ImageCache) {
			c.Spec.ImagePullSecrets = []v1alpha1.SecretReference{{Name: "reg"}}
		}, one)
		b.run(time.Second, web, other)
		b.expect(web, "0/1 Ready=False/RollingOut Reconciling=True/RollingOut")
		b.expect(other, "0/1 Ready=False/RollingOut Reconciling=True/RollingOut")
		if asked := b.shelf.questions(); len(asked) != 1 {
			t.Errorf("asked %q", asked)
		}
	})
}

func TestASlowRegistryHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nodes("n1")...)
		defer func() { b.stop() }()
		b.shelf.set(one, "1")
		b.c.cfg.Registry = nil
		b.c.asker.registry = slow{b.shelf}
		b.create(web, nil, one, "slow.example/x:1")
		b.run(500*time.Millisecond, web)
		if got := b.cache(web).Status; b.told != 1 || got.Images[0].Digest == "" || got.Images[1].Digest != "" {
			t.Errorf("told %d times: %+v", b.told, got)
		}
		b.run(4*time.Second, web)
		b.expect(web, "0/1 Ready=False/Retrying Reconciling=True/Retrying")
	})
}

// slow answers for one registry after 4 s, that it does not.
type slow struct{ *shelf }

func (s slow) Describe(ctx context.Context, ref oci.Ref, platforms []string, chains ...authn.Keychain) (registry.Description, error) {
	if ref.Registry() == "slow.example" {
		time.Sleep(4 * time.Second)
		return registry.Description{}, engine.Becausef(engine.Timeout, "slow.example: no answer within 4s")
	}
	return s.shelf.Describe(ctx, ref, platforms, chains...)
}

func TestSuspendAndInvalid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nodes("n1")...)
		defer func() { b.stop() }()
		first := b.shelf.set(one, "1")
		b.create(web, func(c *v1alpha1.ImageCache) { c.Spec.Suspend = true }, one)
		b.run(time.Second, web)
		b.expect(web, "0/1 Ready=False/Suspended")
		b.node("n1", present(one, first))
		b.run(time.Second, web)
		b.expect(web, "1/1 Ready=True/Suspended")
		b.edit(web, func(c *v1alpha1.ImageCache) {
			c.Spec.Suspend, c.Generation = false, 2
			c.Spec.Images = append(c.Spec.Images, v1alpha1.CachedImage{Image: "No Name"}, v1alpha1.CachedImage{Image: "reg.example/one:1"})
		})
		b.run(time.Second, web)
		b.expect(web, "1/1 Ready=False/InvalidReference Stalled=True/InvalidReference Degraded=True/DuplicateImages")
		if err := b.api.Delete(t.Context(), b.cache(web)); err != nil {
			t.Fatal(err)
		}
		b.run(time.Second, web)
		if len(b.c.memory.caches) != 0 || len(b.c.memory.wanting) != 0 || len(b.c.asker.inquiries) != 0 {
			t.Error("a cache that is gone is remembered")
		}
	})
}

func TestCordonAndTaints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		objects := nodes("n1", "n2", "n3")
		objects[2].(*corev1.Node).Spec.Unschedulable = true
		objects[4].(*corev1.Node).Spec.Taints = []corev1.Taint{{Key: "gpu", Effect: corev1.TaintEffectNoSchedule}}
		b := newBench(t, objects...)
		defer func() { b.stop() }()
		first := b.shelf.set(one, "1")
		b.create(web, nil, one)
		b.node("n1", present(one, first))
		b.run(2*time.Second, web)
		b.expect(web, "1/2 Ready=False/WaitingForNodes Reconciling=True/WaitingForNodes")
		if s := b.cache(web).Status; s.UnavailableNodes != 1 || s.DesiredNodes != 2 {
			t.Errorf("%+v", s)
		}
		b.node("n2", present(one, first))
		b.run(2*time.Second, web)
		b.expect(web, "2/2 Ready=True/Ready")
		if condition.Holds(b.cache(web).Status.Conditions, v1alpha1.ConditionDegraded) {
			t.Error("a cordoned node that has everything is no damage")
		}
	})
}
