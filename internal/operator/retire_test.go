// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orlop.dev/orlop/api/v1alpha1"
)

func TestRetired(t *testing.T) {
	for name, c := range map[string]struct {
		asked    bool
		answered metav1.ConditionStatus
		seen     int64
		want     bool
	}{
		"asked":                             {asked: true},
		"answered":                          {asked: true, answered: metav1.ConditionTrue, seen: 5, want: true},
		"answered to what was asked before": {asked: true, answered: metav1.ConditionTrue, seen: 3},
		"not asked any more":                {answered: metav1.ConditionTrue, seen: 5},
		"not yet":                           {asked: true, answered: metav1.ConditionFalse, seen: 5},
	} {
		t.Run(name, func(t *testing.T) {
			store := &v1alpha1.ImageStore{Spec: v1alpha1.ImageStoreSpec{Retire: c.asked}}
			store.Generation = 5
			if c.answered != "" {
				store.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionRetired, Status: c.answered, ObservedGeneration: c.seen}}
			}
			if got := retired(store); got != c.want {
				t.Errorf("retired: %t", got)
			}
		})
	}
}
