// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagecache

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
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
	away    map[string]bool            // nodes without an agent
	refused map[string]string          // what the API server said of nodes' stores
	leftOut map[string]map[string]bool // images for which nodes have no room
	unheard bool                       // what is left out is not known yet
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
		Client: b.api, Secrets: pullsecret.New(b.api), Registry: b.shelf, Catalog: catalog.New(), AgentReady: func(node string) bool { return !b.away[node] }, Refusal: func(node string) string { return b.refused[node] },
		LeftOut: func(node string) (map[string]bool, bool) { return b.leftOut[node], !b.unheard },
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

func secret(name, version, user string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID("uid-" + name)}, Type: corev1.SecretTypeDockerConfigJson,
		Data: map[string][]byte{corev1.DockerConfigJsonKey: fmt.Appendf(nil, `{"auths":{"reg.example":{"username":%q,"password":%q}}}`, user, version)},
	}
}
