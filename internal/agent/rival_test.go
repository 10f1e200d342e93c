// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"context"
	"testing"
	"time"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/agent/agenttest"
)

// rivalled is an API to which another agent writes after ours has said its last, and before ours hears of its own write.
type rivalled struct {
	*agenttest.API
	rival *v1alpha1.ImageStoreStatus
}

func (r *rivalled) ApplyStore(ctx context.Context, store *v1alpha1.ImageStore) (string, error) {
	version, err := r.API.ApplyStore(ctx, store)
	last := len(store.Status.Images) == 1 && store.Status.Images[0].State == v1alpha1.ImagePresent
	if rival := r.rival; err == nil && last && rival != nil {
		r.rival = nil
		r.SetStatus(*rival)
		time.Sleep(time.Second) // in which the watch tells of it
	}
	return version, err
}

func TestARivalsWriteIsSeenAlsoDuringOurs(t *testing.T) {
	inWorld(t, func(w *world) {
		w.cfg.API = &rivalled{w.api, &v1alpha1.ImageStoreStatus{Key: &v1alpha1.SealingKey{ID: "another's"}}}
		w.start()
		w.want(w.push("a:1", "a", 10))
		w.pass(time.Minute)
		if key := w.api.Store().Status.Key; key == nil || key.ID == "another's" {
			t.Errorf("the status is the other agent's: key %+v", key)
		}
		w.wantState(ref("a:1").String(), v1alpha1.ImagePresent, "")
	})
}
