// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package nodejob

import (
	"testing"

	"orlop.dev/orlop/api/v1alpha1"
)

// A job is remembered for as long as it is there, and its stores come anew with each change.
func TestWhatIsRememberedKeepsNoStoreInMemory(t *testing.T) {
	store := &v1alpha1.ImageStore{
		Spec:   v1alpha1.ImageStoreSpec{Jobs: []v1alpha1.StoreJob{{UID: "other"}, {UID: "ours", Job: "shop/ours"}}},
		Status: v1alpha1.ImageStoreStatus{Jobs: []v1alpha1.StoreJobStatus{{UID: "other"}, {UID: "ours", State: v1alpha1.JobSucceeded}}},
	}
	at := sightOf(store, "ours")
	if at.stood.Job != "shop/ours" || at.answer.State != v1alpha1.JobSucceeded {
		t.Errorf("remembered %+v and %+v", at.stood, at.answer)
	}
	if at.stood == store.Job("ours") || at.answer == store.Answer("ours") {
		t.Error("what is remembered points into the store, and keeps what it says of all jobs")
	}
	if none := sightOf(store, "nobody's"); none.stood != nil || none.answer != nil {
		t.Errorf("remembered %+v", none)
	}
}
