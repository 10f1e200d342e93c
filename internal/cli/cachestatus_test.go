// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/term"
)

// TestStatusOfAnEmptiedCache: what keeps no image is not said to be ready on nodes.
func TestStatusOfAnEmptiedCache(t *testing.T) {
	purged := statusOf(4, metav1.ConditionFalse, v1alpha1.ReasonPurged, "What this cache brought was let go", metav1.ConditionFalse)
	purged.ImageCount, purged.Images, purged.Failures, purged.FailedNodes, purged.PurgedGeneration = 0, nil, nil, 0, 4
	s := shop(t, aCache("web", 4, purged))
	_, out, _ := s.run("status", "ic/web", "-n", "shop")
	want := `ImageCache shop/web   generation 4 (observed 4)   Ready=False Purged: What this cache brought was let go
no image is kept on 3 nodes
`
	if diff := cmp.Diff(want, out); diff != "" {
		t.Error(diff)
	}
	_, _, errs := s.run("cache", "purge", "web", "-n", "shop", "--yes")
	expect(t, errs, "ImageCache shop/web is purged already")
	if strings.Contains(errs, "keeps on") {
		t.Errorf("it asks about images that are gone: %s", errs)
	}
}

// TestStatusOfARefusedLogin tells what helps, which depends on whether a Secret is named.
func TestStatusOfARefusedLogin(t *testing.T) {
	refused := statusOf(4, metav1.ConditionFalse, "Unauthorized", "no login", metav1.ConditionTrue)
	for i := range refused.Failures {
		refused.Failures[i].Reason = "Unauthorized"
	}
	cache := aCache("web", 4, refused)
	s := shop(t, cache)
	code, out, errs := s.run("status", "ic/web", "-n", "shop", "--wait")
	if code != term.ExitPartial {
		t.Errorf("exit code %d", code)
	}
	expect(t, out, "(attempt 2)\n    try: name a Secret", "--pull-secret")
	expect(t, errs, "✗ Stalled: NotFound; retrying will not help\n")
	cache.Spec.ImagePullSecrets = []v1alpha1.SecretReference{{Name: "regcred"}}
	s.put(cache)
	_, out, _ = s.run("status", "ic/web", "-n", "shop")
	expect(t, out, "    try: see whether shop/regcred has a login for this registry")
}

// TestAWaitThatEndsWithNothing: a cache without nodes is ready, and is not told with a tick.
func TestAWaitThatEndsWithNothing(t *testing.T) {
	empty := statusOf(4, metav1.ConditionTrue, v1alpha1.ReasonNoNodes, "No node fits", metav1.ConditionFalse)
	s := shop(t, aCache("web", 4, empty), aCache("new", 1, v1alpha1.ImageCacheStatus{}))
	code, _, errs := s.run("status", "ic/web", "-n", "shop", "--wait")
	if code != term.ExitOK || strings.Contains(errs, "✔") {
		t.Errorf("exit code %d %s", code, errs)
	}
	expect(t, errs, "! NoNodes after")
	_, out, _ := s.run("status", "ic/new", "-n", "shop")
	if want := "ImageCache shop/new   generation 1 (observed 0)   Ready=Unknown: the controller has not looked at it yet\n"; out != want {
		t.Errorf("%s", out)
	}
}
