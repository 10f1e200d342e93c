// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagecache

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"orlop.dev/orlop/api/v1alpha1"
)

// lowAndHigh are two digests, the lower first.
func lowAndHigh() (low, high string) {
	low, high = digest.FromString("1").String(), digest.FromString("2").String()
	if low > high {
		low, high = high, low
	}
	return low, high
}

func TestTwoCachesFixOneTag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nodes("n1", "n2")...)
		defer func() { b.stop() }()
		low, high := lowAndHigh()
		other := types.NamespacedName{Namespace: "depot", Name: "other"}
		b.create(web, nil, one+"@"+high)
		b.node("n1", present(one, high))
		b.node("n2", present(one, high))
		b.run(time.Second, web)
		b.expect(web, "2/2 Ready=True/Ready")

		b.create(other, func(c *v1alpha1.ImageCache) { c.Spec.NodeSelector = map[string]string{"pool": "b"} }, one+"@"+low)
		b.run(time.Second, other) // It selects no node yet: there is no conflict.
		b.expect(web, "2/2 Ready=True/Ready")

		b.edit(other, func(c *v1alpha1.ImageCache) { c.Spec.NodeSelector, c.Generation = nil, 2 })
		b.run(2*time.Second, other)
		b.expect(web, "0/2 Ready=False/Conflict Stalled=True/Conflict")
		if got := b.message(web, v1alpha1.ConditionStalled); !strings.Contains(got, "depot/other") || !strings.Contains(got, low) {
			t.Errorf("%q", got)
		}
		if s := b.cache(web).Status; len(s.Failures) != 2 || s.Failures[0].Reason != v1alpha1.ReasonConflict || s.Images[0].FailedNodes != 2 {
			t.Errorf("%+v", s)
		}
		b.node("n1", present(one, low))
		b.node("n2", present(one, low))
		b.run(2*time.Second, web, other)
		b.expect(web, "0/2 Ready=False/Conflict Stalled=True/Conflict")
		b.expect(other, "2/2 Ready=True/Ready")

		if err := b.api.Delete(t.Context(), b.cache(other)); err != nil {
			t.Fatal(err)
		}
		b.run(2*time.Second, other)
		b.expect(web, "0/2 Ready=False/RollingOut Reconciling=True/RollingOut")
		b.node("n1", present(one, high))
		b.node("n2", present(one, high))
		b.run(2*time.Second, web)
		b.expect(web, "2/2 Ready=True/Ready")
	})
}

func TestWhoLosesATag(t *testing.T) {
	low, high := lowAndHigh()
	gpu := func(v *view) {
		v.node.Spec.Taints = []corev1.Taint{{Key: "gpu", Effect: corev1.TaintEffectNoSchedule}}
	}
	for name, tc := range map[string]struct {
		mine, theirs []string
		found        string // what the registry says
		node         func(*view)
		want         string
	}{
		"the lower counts":                   {mine: []string{one + "@" + high}, theirs: []string{one + "@" + low}, want: "depot/other"},
		"mine is the lower":                  {mine: []string{one + "@" + low}, theirs: []string{one + "@" + high}},
		"both say the same":                  {mine: []string{one + "@" + low}, theirs: []string{one + "@" + low}},
		"neither fixes it":                   {mine: []string{one}, theirs: []string{one}, found: low},
		"theirs is fixed":                    {mine: []string{one}, theirs: []string{one + "@" + high}, found: low, want: "before what the registry says"},
		"theirs is what the registry says":   {mine: []string{one}, theirs: []string{one + "@" + low}, found: low},
		"mine is fixed, theirs is not":       {mine: []string{one + "@" + high}, theirs: []string{one}, found: low},
		"another tag":                        {mine: []string{one + "@" + high}, theirs: []string{two + "@" + low}},
		"by digest alone":                    {mine: []string{"reg.example/one@" + high}, theirs: []string{"reg.example/one@" + low}},
		"with myself":                        {mine: []string{one + "@" + high, one + "@" + low}, want: "twice"},
		"theirs is kept away by a taint":     {mine: []string{one + "@" + high}, theirs: []string{one + "@" + low}, node: gpu},
		"nothing is known of what I ask for": {mine: []string{one}, theirs: []string{one + "@" + low}},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMemory()
			me, them := cacheOf(tc.mine...), cacheOf(tc.theirs...)
			them.Namespace, them.Name = "depot", "other"
			m.put(them)
			w, _, _ := m.put(me)
			f := fact{Image: w.demand.Images[0]}
			f.entry.Digest = digest.Digest(tc.found)
			v := viewOf("n1")
			if tc.node != nil {
				tc.node(&v)
			}
			got := f.loses(w.demand, m.fixing(w.demand.Images)[0], v)
			if (got == "") != (tc.want == "") || !strings.Contains(got, tc.want) {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}

func TestRivalsAreForgotten(t *testing.T) {
	low, high := lowAndHigh()
	m := newMemory()
	mine, theirs := cacheOf(one+"@"+high, two), cacheOf(one+"@"+low, two)
	theirs.Name = "other"
	if _, _, rivals := m.put(mine); len(rivals) != 0 {
		t.Errorf("alone it has rivals: %v", rivals)
	}
	if _, _, rivals := m.put(theirs); len(rivals) != 1 || rivals[0].Name != "web" {
		t.Errorf("rivals %v", rivals)
	}
	if rivals := m.drop(types.NamespacedName{Namespace: "shop", Name: "other"}); len(rivals) != 1 {
		t.Errorf("rivals of the one that goes: %v", rivals)
	}
	m.drop(web)
	if len(m.naming) != 0 || len(m.wanting) != 0 {
		t.Errorf("%v %v", m.naming, m.wanting)
	}
}
