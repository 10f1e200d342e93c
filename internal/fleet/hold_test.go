// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"strings"
	"testing"
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
