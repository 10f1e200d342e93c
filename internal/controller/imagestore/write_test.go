// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagestore

import (
	"testing"

	"orlop.dev/orlop/api/v1alpha1"
)

func TestWhatIsAskedOfTheAgentAnew(t *testing.T) {
	outcome := v1alpha1.StoreJob{Job: "a/pod", UID: "1", Outcome: &v1alpha1.PodOutcome{State: v1alpha1.JobSucceeded}}
	prune := v1alpha1.StoreJob{Job: "a/prune", UID: "2", Prune: &v1alpha1.PruneAction{}}
	image := v1alpha1.StoreImage{Image: "docker.io/library/a:1"}
	for name, c := range map[string]struct {
		stands, wanted v1alpha1.ImageStoreSpec
		want           bool
	}{
		"the first time":    {v1alpha1.ImageStoreSpec{}, v1alpha1.ImageStoreSpec{}, true},
		"an outcome":        {v1alpha1.ImageStoreSpec{Revision: 1}, v1alpha1.ImageStoreSpec{Revision: 1, Jobs: []v1alpha1.StoreJob{outcome}}, false},
		"its end":           {v1alpha1.ImageStoreSpec{Revision: 1, Jobs: []v1alpha1.StoreJob{outcome}}, v1alpha1.ImageStoreSpec{Revision: 1}, false},
		"a job":             {v1alpha1.ImageStoreSpec{Revision: 1}, v1alpha1.ImageStoreSpec{Revision: 1, Jobs: []v1alpha1.StoreJob{outcome, prune}}, true},
		"an image":          {v1alpha1.ImageStoreSpec{Revision: 1}, v1alpha1.ImageStoreSpec{Revision: 1, Images: []v1alpha1.StoreImage{image}}, true},
		"what pods need":    {v1alpha1.ImageStoreSpec{Revision: 1}, v1alpha1.ImageStoreSpec{Revision: 1, Needs: &v1alpha1.PodNeeds{Answers: "x"}}, true},
		"another's retire":  {v1alpha1.ImageStoreSpec{Revision: 1, Retire: true}, v1alpha1.ImageStoreSpec{Revision: 1, Jobs: []v1alpha1.StoreJob{outcome}}, false},
		"nothing whatever":  {v1alpha1.ImageStoreSpec{Revision: 1, Jobs: []v1alpha1.StoreJob{prune}}, v1alpha1.ImageStoreSpec{Revision: 1, Jobs: []v1alpha1.StoreJob{prune}}, false},
		"a job is cut down": {v1alpha1.ImageStoreSpec{Revision: 1, Jobs: []v1alpha1.StoreJob{prune}}, v1alpha1.ImageStoreSpec{Revision: 1}, true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := asksOther(&c.stands, &c.wanted); got != c.want {
				t.Errorf("asksOther says %v, want %v", got, c.want)
			}
		})
	}
}
