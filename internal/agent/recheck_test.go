// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/engine"
)

// wantDigest is which digest a:1 has on the node, and what the status says of it.
func (w *world) wantDigest(digest string) v1alpha1.StoreImageStatus {
	w.Helper()
	const name = "a:1"
	st := w.wantState(name, v1alpha1.ImagePresent, "")
	img, here := w.here(name)
	if _, ok := w.here(ref(name).Repository() + "@" + digest); !here || !ok || img.Digests[0].Digest().String() != digest || st.Digest != digest {
		w.Errorf("%s is %v (here %t) and is told to be %s, want %s", name, img.Digests, here, st.Digest, digest)
	}
	return st
}

func TestARecheckOfATagThatStandsIsOneWrite(t *testing.T) {
	inWorld(t, func(w *world) {
		e := w.push("a:1", "a", 1000)
		w.start()
		w.want(e)
		w.pass(time.Minute)
		writes, asked := len(w.api.Writes()), w.registry.Requests(ref("a:1").Repository())
		e.Recheck = "t1"
		w.want(e)
		w.pass(10 * time.Minute)
		if st := w.wantDigest(e.Digest); st.Rechecked != "t1" || !st.Pulled || !st.Pinned {
			t.Errorf("%+v", st)
		}
		if n := len(w.api.Writes()) - writes; n != 1 {
			t.Errorf("it took %d writes: %+v", n, w.api.Writes()[writes:])
		}
		if n := w.registry.Requests(ref("a:1").Repository()) - asked; n != 1 {
			t.Errorf("the registry was asked %d times", n)
		}
		w.start()
		w.pass(10 * time.Minute)
		if n := w.registry.Requests(ref("a:1").Repository()) - asked; n != 1 {
			t.Errorf("after a restart it was asked again: %d times", n)
		}
	})
}

// TestARecheckOfATagThatMoved: the node keeps what it found until the spec follows, also over a restart; then what the tag
// stood for is let go.
func TestARecheckOfATagThatMoved(t *testing.T) {
	inWorld(t, func(w *world) {
		e := w.push("a:1", "a", 1000)
		w.start()
		w.want(e)
		w.pass(time.Minute)
		moved := w.push("a:1", "a2", 1000).Digest
		old := ref("a:1").Repository() + "@" + e.Digest
		e.Recheck = "t1"
		w.want(e)
		for _, restart := range []bool{false, true} {
			if restart {
				w.start()
			}
			w.pass(10 * time.Minute)
			if st := w.wantDigest(moved); st.Rechecked != "t1" || !st.Pulled || !st.Pinned {
				t.Errorf("%+v", st)
			}
			if st := w.state(old); !st.Pulled || !st.Pinned || st.State != v1alpha1.ImageReleasing {
				t.Errorf("of what the tag stood for is recorded %+v", st)
			}
			w.wantHere(old, true)
		}
		let := v1alpha1.StoreImage{Image: old, Digest: e.Digest, Released: true, RemovalPolicy: v1alpha1.RemovalPolicyRemove}
		e.Digest = moved
		w.api.Change(func(s *v1alpha1.ImageStoreSpec) {
			s.Images, s.Needs = []v1alpha1.StoreImage{e, let}, &v1alpha1.PodNeeds{AsOf: metav1.NowMicro()}
		})
		w.pass(time.Minute)
		w.wantHere(old, false)
		if st := w.wantDigest(moved); st.Rechecked != "t1" {
			t.Errorf("%+v", st)
		}
		if got := w.images(); len(got) != 1 {
			t.Errorf("%+v", got)
		}
	})
}

// TestASpecThatDoesNotFollowIsObeyed: another cache fixes the tag meanwhile.
func TestASpecThatDoesNotFollowIsObeyed(t *testing.T) {
	inWorld(t, func(w *world) {
		e := w.push("a:1", "a", 1000)
		w.start()
		w.want(e)
		w.pass(time.Minute)
		moved := w.push("a:1", "a2", 1000).Digest
		e.Recheck = "t1"
		w.want(e)
		w.pass(time.Minute)
		w.wantDigest(moved)
		e.Recheck = ""
		w.want(e)
		w.pass(time.Minute)
		w.wantDigest(e.Digest)
	})
}

func TestARecheckThatFailsLeavesTheImagePresent(t *testing.T) {
	inWorld(t, func(w *world) {
		e := w.push("a:1", "a", 1000)
		w.start()
		w.want(e)
		w.pass(time.Minute)
		w.registry.Fail(ref("a:1").Repository(), engine.Becausef(engine.RegistryUnavailable, "connection refused"))
		writes := len(w.api.Writes())
		e.Recheck = "t1"
		w.want(e)
		w.pass(time.Hour)
		if st := w.wantDigest(e.Digest); st.Rechecked != "" || st.RecheckReason != "RegistryUnavailable" || st.Attempts != 0 {
			t.Errorf("%+v", st)
		}
		if n := len(w.api.Writes()) - writes; n > 2 {
			t.Errorf("an hour of attempts took %d writes", n)
		}
		e.Recheck = "" // The turn is another node's.
		w.want(e)
		w.pass(time.Minute)
		if st := w.wantDigest(e.Digest); st.RecheckReason != "" {
			t.Errorf("%+v", st)
		}
	})
}

func TestARecheckMakesNothingOursThatWasFound(t *testing.T) {
	inWorld(t, func(w *world) {
		e := w.push("a:1", "a", 1000)
		w.rt.Load(content("a", 1000), "a:1")
		w.start()
		w.want(e)
		w.pass(time.Minute)
		e.Recheck = "t1"
		w.want(e)
		w.pass(time.Minute)
		w.start() // What is marked would count as pulled from now on.
		w.pass(time.Minute)
		if st := w.wantDigest(e.Digest); st.Pulled || st.Rechecked != "t1" {
			t.Errorf("%+v", st)
		}
		moved := w.push("a:1", "a2", 1000).Digest
		e.Recheck = "t2"
		w.want(e)
		w.pass(time.Minute)
		if st := w.wantDigest(moved); !st.Pulled {
			t.Errorf("what it brought is not recorded: %+v", st)
		}
		if st := w.state(ref("a:1").Repository() + "@" + e.Digest); st.Pulled || !st.Pinned {
			t.Errorf("what was found is recorded as %+v", st)
		}
	})
}

// TestAMissingImageIsRecheckedByName: the registry no longer serves the digest.
func TestAMissingImageIsRecheckedByName(t *testing.T) {
	inWorld(t, func(w *world) {
		e := w.push("a:1", "a", 1000)
		w.registry.Delete(ref("a:1@" + e.Digest).WithoutTag())
		moved := w.push("a:1", "a2", 1000).Digest
		w.start()
		w.want(e)
		w.pass(time.Minute)
		w.wantState("a:1", v1alpha1.ImageFailed, "NotFound")
		e.Recheck = "t1"
		w.want(e)
		w.pass(time.Minute)
		if st := w.wantDigest(moved); !st.Pulled || st.Rechecked != "t1" {
			t.Errorf("%+v", st)
		}
	})
}
