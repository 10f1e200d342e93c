// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orlop.dev/orlop/api/v1alpha1"
)

func TestMeter(t *testing.T) {
	for name, test := range map[string]struct {
		left []int64 // each second
		want string
	}{
		"nothing is known":       {nil, ""},
		"too short for a rate":   {[]int64{100e6, 90e6}, "90MB left"},
		"it goes on":             {[]int64{100e6, 90e6, 80e6, 70e6}, "70MB left, 10MB/s, ~7s"},
		"it stands still":        {[]int64{100e6, 100e6, 100e6, 100e6, 100e6}, "100MB left"},
		"a rate is of late":      {[]int64{900e6, 100e6, 99e6, 98e6, 97e6, 96e6, 95e6, 94e6, 93e6, 92e6, 91e6, 90e6, 89e6, 88e6}, "88MB left, 1MB/s, ~1m28s"},
		"more is known of":       {[]int64{100e6, 90e6, 80e6, 170e6}, "170MB left"},
		"nothing is left":        {[]int64{30e6, 20e6, 10e6, 0}, "0B left"},
		"it will take for ever":  {[]int64{9e14, 9e14, 9e14, 9e14 - 3e6}, "900TB left, 1MB/s"},
		"the last of it is near": {[]int64{30e6, 20e6, 10e6, 1e6}, "1MB left, 9.67MB/s, ~1s"},
	} {
		t.Run(name, func(t *testing.T) {
			m, now := meter{}, time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
			for i, left := range test.left {
				m.add(left, now.Add(time.Duration(i)*time.Second))
			}
			if got := m.String(); got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}

// TestStatusOfACacheThatFills shows what is left, by sizes alone where nobody looks on, and to the byte where somebody does.
func TestStatusOfACacheThatFills(t *testing.T) {
	filling := v1alpha1.ImageCacheStatus{ObservedGeneration: 4, Summary: "0/3", ImageCount: 2, DesiredNodes: 3,
		Images:     []v1alpha1.CachedImageStatus{{Image: "ghcr.io/acme/web:1", Digest: digestA, ReadyNodes: 3}, {Image: "redis:8", Digest: digestB, ReadyNodes: 1, FailedNodes: 0}},
		Conditions: []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonRollingOut, ObservedGeneration: 4, Message: "0 of 3 nodes hold all 2 images"}}}
	s := shop(t, aCache("web", 4, filling))
	redis := v1alpha1.StoreImage{Image: "docker.io/library/redis:8", Digest: digestB, Size: 300e6, Caches: []string{"shop/web"}}
	waits := redis
	waits.Hold = v1alpha1.HoldTurn
	for node, entry := range map[string]v1alpha1.StoreImage{"node-1": redis, "node-2": redis, "node-3": waits} {
		store := aStore(node, entry)
		st := v1alpha1.StoreImageStatus{Image: redis.Image, State: v1alpha1.ImagePresent, Digest: digestB}
		if node != "node-1" {
			st.State, st.Digest = v1alpha1.ImageWaiting, ""
		}
		if node == "node-2" {
			st.State, st.Progress = v1alpha1.ImagePulling, &v1alpha1.PullProgress{DoneBytes: 100e6, TotalBytes: 250e6}
		}
		store.Status.Images = []v1alpha1.StoreImageStatus{st}
		s.put(store)
	}
	_, out, _ := s.run("status", "ic/web", "-n", "shop")
	want := `ImageCache shop/web   generation 4 (observed 4)   Ready=False RollingOut: 0 of 3 nodes hold all 2 images
0 of 3 nodes ready
IMAGE                READY   PULLING   FAILED   BYTES LEFT   DIGEST
ghcr.io/acme/web:1     3/3         0        0           0B   aaaaaaaaaaaaa
redis:8                1/3         1        0        450MB   bbbbbbbbbbbbb
`
	if diff := cmp.Diff(want, out); diff != "" {
		t.Error(diff)
	}
	_, out, _ = s.run("status", "ic/web", "-n", "shop", "--bytes")
	expect(t, out, "450000000")
	s.denied["imagestores"] = "no"
	_, out, _ = s.run("status", "ic/web", "-n", "shop")
	expect(t, out, "redis:8", "READY   FAILED   DIGEST")
}
