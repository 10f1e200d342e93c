// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// TestHoldPushesNoPodOut: on a node under pressure ours is critical, and takes another's place where there is none.
func TestHoldPushesNoPodOut(t *testing.T) {
	cluster := newCluster(t, nil, aNode("a", condition(corev1.NodeDiskPressure, corev1.ConditionTrue, "")))
	nodes, err := cluster.fleet.Nodes(t.Context(), Choice{})
	if err != nil || len(nodes) != 1 {
		t.Fatal(nodes, err)
	}
	held, err := cluster.fleet.Hold(t.Context(), nodes[0], time.Second, time.Minute)
	if err == nil {
		held.Close(t.Context())
		t.Fatal("it was begun")
	}
	if !strings.Contains(err.Error(), "DiskPressure") || !strings.Contains(err.Error(), "pod slots are taken") {
		t.Errorf("it says %v", err)
	}
	if len(cluster.pods) != 0 {
		t.Errorf("%d pods were made", len(cluster.pods))
	}
}

// The tools image has flags of its own, which is what helps.
func TestHoldNamesTheToolsImage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := newCluster(t, map[string]host{"a": {status: waiting("ErrImagePull", "not found")}}, aNode("a"))
		nodes, err := cluster.fleet.Nodes(t.Context(), Choice{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		var kubelets sync.WaitGroup
		kubelets.Go(func() { cluster.kubelets(ctx) })
		defer kubelets.Wait()
		defer stop()
		synctest.Wait()
		_, err = cluster.fleet.Hold(t.Context(), nodes[0], time.Minute, time.Minute)
		trouble, ok := errors.AsType[*Trouble](err)
		if !ok || !strings.Contains(trouble.Message, "the tools image cannot be pulled: not found") || !strings.Contains(trouble.Advice, "--tools-image or ORLOP_TOOLS_IMAGE") {
			t.Errorf("error %v, %+v", err, trouble)
		}
	})
}
