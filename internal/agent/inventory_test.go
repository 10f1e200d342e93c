// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/agent"
	"orlop.dev/orlop/internal/engine/enginetest"
)

// stocked is what the inventory says of an image.
func (w *world) stocked(name string) (v1alpha1.InventoryImage, bool) {
	status, _ := w.api.Stock()
	for _, image := range status.Images {
		if slices.Contains(image.Tags, ref(name).String()) {
			return image, true
		}
	}
	return v1alpha1.InventoryImage{}, false
}

func TestInventoryIsWrittenWhenImagesChange(t *testing.T) {
	inWorld(t, func(w *world) {
		w.rt.Load(content("old", 1000), "old:1")
		came := time.Now()
		w.pass(time.Hour)
		w.start()
		w.pass(time.Second)
		if image, ok := w.stocked("old:1"); !ok || image.DiskBytes != 2000 || image.FirstSeen == nil || !image.FirstSeen.Time.Equal(came) {
			t.Errorf("what was there: %t, %+v", ok, image)
		}
		_, writes := w.api.Stock()
		w.want(w.push("a:1", "a", 1000), w.push("b:1", "b", 1000))
		w.pass(3 * time.Second)
		image, ok := w.stocked("a:1")
		if !ok || !image.Pinned || image.PullBytes != 1000 {
			t.Errorf("3 s after the work: %t, %+v", ok, image)
		}
		w.pass(time.Hour)
		status, after := w.api.Stock()
		if after != writes+1 {
			t.Errorf("%d writes, want 1", after-writes)
		}
		if status.ImageCount != 3 || status.ReclaimableBytes != 2000 || status.Runtime != "containerd://2.4.2" || !strings.HasSuffix(status.DiskUse, "% of 1.1TB") {
			t.Errorf("the inventory says %+v", status)
		}
	})
}

// A row of pulls is one write, also where it takes longer than a change may wait otherwise; one without an end is not waited for.
func TestInventoryWaitsForPulls(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.pass(time.Second)
		_, writes := w.api.Stock()
		w.rt.BytesPerSecond = 1000
		w.want(w.push("a:1", "a", 1000), w.push("b:1", "b", 20_000))
		w.pass(time.Minute)
		if _, n := w.api.Stock(); n != writes+1 {
			t.Errorf("%d writes for a row of pulls, want 1", n-writes)
		}
		w.registry.Stall(ref("stalled:1").Repository(), true)
		w.want(w.push("c:1", "c", 1000), w.push("stalled:1", "stalled", 1000))
		w.pass(35 * time.Second)
		if _, ok := w.stocked("c:1"); !ok {
			t.Error("more than 30 s after an image came, the inventory does not have it")
		}
	})
}

func TestInventoryOfUse(t *testing.T) {
	inWorld(t, func(w *world) {
		w.rt.Load(content("a", 1000), "a:1")
		w.start()
		w.pass(time.Second)
		_, writes := w.api.Stock()
		w.rt.Start("a:1", enginetest.Container{Name: "web", Pod: "shop/web-1"})
		w.pass(9 * time.Minute)
		if _, n := w.api.Stock(); n != writes {
			t.Error("a use alone was written before 10 minutes had passed")
		}
		w.pass(2 * time.Minute)
		if image, _ := w.stocked("a:1"); image.UserCount != 1 || image.Users[0] != "shop/web-1" {
			t.Errorf("after 11 minutes: %+v", image)
		}
		_, writes = w.api.Stock()
		w.pass(24 * time.Hour)
		if _, n := w.api.Stock(); n != writes {
			t.Errorf("a day in which nothing changed took %d writes", n-writes)
		}
		w.rt.Forget("web")
		ended := time.Now()
		w.pass(11 * time.Minute)
		if image, _ := w.stocked("a:1"); image.UserCount != 0 || image.LastUsed == nil || ended.Sub(image.LastUsed.Time) > 2*time.Minute {
			t.Errorf("after its end, at %s: %+v", ended, image)
		}
	})
}

func TestInventorySurvivesARestart(t *testing.T) {
	for name, c := range map[string]struct {
		gap  time.Duration
		kept bool
	}{"a short gap": {time.Minute, true}, "a long gap": {time.Hour, false}} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.rt.Load(content("a", 1000), "a:1")
				w.start()
				w.rt.Start("a:1", enginetest.Container{Name: "web", Pod: "shop/web-1"})
				w.pass(time.Hour)
				w.rt.Forget("web")
				w.pass(time.Hour)
				before, _ := w.api.Stock()
				used, _ := w.stocked("a:1")
				w.stop()
				w.pass(c.gap)
				w.start()
				w.pass(30 * time.Minute)
				after, _ := w.api.Stock()
				if kept := before.WatchedSince.Equal(&after.WatchedSince); kept != c.kept {
					t.Errorf("watched since %s, then since %s", before.WatchedSince, after.WatchedSince)
				}
				if again, _ := w.stocked("a:1"); used.LastUsed == nil || !again.LastUsed.Equal(used.LastUsed) {
					t.Errorf("last used %v, then %v", used.LastUsed, again.LastUsed)
				}
			})
		})
	}
}

func TestInventoryIsBounded(t *testing.T) {
	inWorld(t, func(w *world) {
		for i := range 2500 {
			w.rt.Load(content(fmt.Sprint(i), int64(1000+i)), fmt.Sprintf("registry.example/some/team/project/image-%d:v1", i))
		}
		w.start()
		w.pass(20 * time.Second)
		status, _ := w.api.Stock()
		text, err := json.Marshal(status)
		if err != nil {
			t.Fatal(err)
		}
		if len(text) > 390<<10 || status.ImageCount != 2500 || int(status.OmittedImages) != 2500-len(status.Images) || status.OmittedImages == 0 {
			t.Errorf("%d bytes, %d images, %d in the list, %d omitted", len(text), status.ImageCount, len(status.Images), status.OmittedImages)
		}
		if _, largest := w.stocked("registry.example/some/team/project/image-2499:v1"); !largest {
			t.Error("the largest image was left out")
		}
	})
}

func TestStatusIsBounded(t *testing.T) {
	inWorld(t, func(w *world) {
		var entries []v1alpha1.StoreImage
		for i := range 500 {
			name := fmt.Sprintf("registry.example/some/team/project/a-rather-long-name-of-an-image-%d:v1.2.3", i)
			w.registry.Fail(ref(name).Repository(), fmt.Errorf("%s", strings.Repeat("é no! ", 300)))
			entries = append(entries, w.push(name, name, 1))
		}
		w.start()
		w.want(entries...)
		w.pass(15 * time.Second)
		store := w.api.Store()
		text, err := json.Marshal(store)
		if err != nil {
			t.Fatal(err)
		}
		if len(text) > 400_000 || store.Status.Failed != 500 {
			t.Errorf("%d bytes, %d failed", len(text), store.Status.Failed)
		}
	})
}

func TestNodeUID(t *testing.T) {
	token := func(payload string) string {
		return "eyJ9." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".c2ln"
	}
	got, err := agent.NodeUID(token(`{"aud":["x"],"kubernetes.io":{"namespace":"orlop-system","node":{"name":"node1","uid":"u-1"}}}`) + "\n")
	if err != nil || got != "u-1" {
		t.Errorf("%q, %v", got, err)
	}
	for name, bad := range map[string]string{
		"not bound": token(`{"kubernetes.io":{"namespace":"x"}}`), "no JWT": "abc", "no base64": "a.%.c", "no JSON": token("x"),
	} {
		if got, err := agent.NodeUID(bad); err == nil {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestConditionKeepsItsTime(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		first := w.api.Store().Status.Conditions[0].LastTransitionTime
		w.pass(time.Minute)
		w.want(w.push("a:1", "a", 1))
		w.pass(time.Second)
		if now := w.api.Store().Status.Conditions[0]; !now.LastTransitionTime.Equal(&first) || now.Status != metav1.ConditionTrue {
			t.Errorf("the condition was of %s, and is %+v", first, now)
		}
	})
}
