// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package nodejob

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/intstr"

	"orlop.dev/orlop/api/v1alpha1"
)

// A node whose pod is refused does not stop the others, and has its turn once more when the refusal is old.
func TestANodeIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(*v1alpha1.NodeJob)
		refuses map[string]string
	}{
		"all at once":   {func(*v1alpha1.NodeJob) {}, map[string]string{"n1": "no pods on n1"}},
		"one at a time": {parallel(intstr.FromInt32(1)), map[string]string{"n1": "no pods on n1"}},
		"each its own":  {func(*v1alpha1.NodeJob) {}, map[string]string{"n1": "no pods on n1", "n2": "no pods on n2"}},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, job(templated, c.change), func(w *world) {
				w.refuses = c.refuses
				w.run(10 * time.Second)
				want := "Running 2/3 a0 f0 s0 Stalled/PodRefused"
				if len(w.refuses) > 1 {
					want = "Running 1/3 a0 f0 s0 Stalled/PodRefused"
				}
				w.expect(want)
				if said := w.job().Status.Message; !strings.Contains(said, "on node n1: no pods on n1") {
					t.Errorf("it says %q", said)
				}
				if w.refused != len(w.refuses) {
					t.Errorf("asked %d times for what is refused", w.refused)
				}
				w.refuses = nil
				w.run(refusedFor)
				w.expect("Complete 3/3 a0 f0 s0 Complete/NodesDone")
				if got := counts(w.made); got != "n1:0=1 n2:0=1 n3:0=1" {
					t.Errorf("pods made: %s", got)
				}
			}, "n1", "n2", "n3")
		})
	}
}

// What the API server does not take on two nodes is not tried on the others.
func TestATemplateIsRefused(t *testing.T) {
	in(t, job(templated), func(w *world) {
		w.refuses = map[string]string{"n1": "no", "n2": "no", "n3": "no", "n4": "no"}
		w.run(10 * time.Second)
		w.expect("Waiting 0/4 a0 f0 s0 Stalled/PodRefused")
		if w.refused != 2 {
			t.Errorf("asked %d times", w.refused)
		}
		// It turns out to be two nodes' own: they come last, and hold up nobody.
		w.refuses = map[string]string{"n1": "no", "n2": "no"}
		w.run(refusedFor)
		w.expect("Running 2/4 a0 f0 s0 Stalled/PodRefused")
	}, "n1", "n2", "n3", "n4")
}
