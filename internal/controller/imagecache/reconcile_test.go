// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagecache

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/opencontainers/go-digest"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/condition"
	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/registry"
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

func TestAnAffinityThatCannotBeReadStalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nodes("n1")...)
		defer func() { b.stop() }()
		b.shelf.set(one, "1")
		b.create(web, func(c *v1alpha1.ImageCache) {
			c.Spec.Affinity = &v1alpha1.Affinity{NodeAffinity: &v1alpha1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
				NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "zone", Operator: "in", Values: []string{"a"}}}}},
			}}}
		}, one)
		b.run(time.Second, web)
		b.expect(web, "0/0 Ready=False/InvalidAffinity Stalled=True/InvalidAffinity")
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
