// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package hollow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// leases is where kubelets show that they live.
	leases = "kube-node-lease"
	// beatEvery is well within the 15 s after which the lab takes a node for dead.
	beatEvery = 5 * time.Second
	// hearts is how many of them show it at once: an API server that is busy with the rest of them takes a while.
	hearts = 32
	// runtimeName is what the in-memory containerd says of itself.
	runtimeName = "containerd://2.4.2"
)

// add makes the Node as a kubelet would, its lease, and its agent.
func (f *Fleet) add(ctx, living context.Context, name string) (*node, error) {
	n := &node{object: newNode(name)}
	if err := f.API.Create(ctx, n.object); err != nil {
		return nil, fmt.Errorf("making the node %s: %w", name, err)
	}
	now := metav1.NowMicro()
	lease := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: leases, Name: name},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: &name, LeaseDurationSeconds: new(int32(40)), RenewTime: &now},
	}
	if err := f.API.Create(ctx, lease); err != nil {
		return n, fmt.Errorf("making the lease of %s: %w", name, err)
	}
	return n, f.employ(living, n)
}

func newNode(name string) *corev1.Node {
	now := metav1.Now()
	room := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("4"), corev1.ResourceMemory: resource.MustParse("8Gi"),
		corev1.ResourcePods: resource.MustParse("110"), corev1.ResourceEphemeralStorage: resource.MustParse("100Gi"),
	}
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
			Label: "", corev1.LabelHostname: name, corev1.LabelOSStable: "linux", corev1.LabelArchStable: "amd64",
		}},
		Status: corev1.NodeStatus{
			Capacity: room, Allocatable: room,
			NodeInfo: corev1.NodeSystemInfo{ContainerRuntimeVersion: runtimeName, KubeletVersion: "v1.36.3", OperatingSystem: "linux", Architecture: "amd64"},
			Conditions: []corev1.NodeCondition{{
				Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "Hollow", LastHeartbeatTime: now, LastTransitionTime: now,
			}},
		},
	}
}

// beat renews the leases until ctx ends, evenly over time, and again and again where that fails.
func (f *Fleet) beat(ctx context.Context) {
	turns := make(chan *node)
	for range hearts {
		f.jobs.Go(func() {
			for n := range turns {
				f.renew(ctx, n.object.Name)
			}
		})
	}
	defer close(turns)
	tick := time.NewTicker(beatEvery / time.Duration(len(f.nodes)))
	defer tick.Stop()
	for i := 0; ; i = (i + 1) % len(f.nodes) {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		select {
		case <-ctx.Done():
			return
		case turns <- f.nodes[i]:
		}
	}
}

func (f *Fleet) renew(ctx context.Context, name string) {
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"renewTime": metav1.NowMicro()}})
	if err == nil {
		err = f.API.Patch(ctx, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: leases, Name: name}}, client.RawPatch(types.MergePatchType, patch))
	}
	if err != nil && ctx.Err() == nil {
		f.warnings.add("renewing the lease of " + name + ": " + err.Error())
	}
}

// remove takes the node and its lease away; the garbage collector takes what they own.
func (f *Fleet) remove(ctx context.Context, n *node) error {
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: leases, Name: n.object.Name}}
	return errors.Join(client.IgnoreNotFound(f.API.Delete(ctx, n.object)), client.IgnoreNotFound(f.API.Delete(ctx, lease)))
}
