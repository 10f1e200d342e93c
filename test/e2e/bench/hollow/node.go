// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package hollow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
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
	f.jobs.Go(func() { f.beat(living, name) })
	return n, f.employ(living, n)
}

func newNode(name string) *corev1.Node {
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
			NodeInfo:   corev1.NodeSystemInfo{ContainerRuntimeVersion: runtimeName, KubeletVersion: "v1.36.3", OperatingSystem: "linux", Architecture: "amd64"},
			Conditions: readyNow(),
		},
	}
}

// beat renews the lease until ctx ends, and again and again where that fails.
func (f *Fleet) beat(ctx context.Context, name string) {
	first := time.NewTimer(rand.N(beatEvery)) // Not all at once.
	defer first.Stop()
	select {
	case <-ctx.Done():
		return
	case <-first.C:
	}
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for {
		f.renew(ctx, name)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (f *Fleet) renew(ctx context.Context, name string) {
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"renewTime": metav1.NowMicro()}})
	if err == nil {
		err = f.API.Patch(ctx, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: leases, Name: name}}, client.RawPatch(types.MergePatchType, patch))
	}
	f.note("renewing the lease of "+name, err)
}

// revive says that a node is Ready again which somebody took for dead: a busy machine may be silent for too long.
func (f *Fleet) revive(ctx context.Context, object client.Object) {
	n, ok := object.(*corev1.Node)
	if !ok || isReady(n) {
		return
	}
	patch, err := json.Marshal(map[string]any{"status": map[string]any{"conditions": readyNow()}})
	if err == nil {
		err = f.API.Status().Patch(ctx, n, client.RawPatch(types.StrategicMergePatchType, patch))
	}
	f.note("reviving "+n.Name, client.IgnoreNotFound(err))
	f.revived.Add(1)
}

func isReady(n *corev1.Node) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func readyNow() []corev1.NodeCondition {
	now := metav1.Now()
	return []corev1.NodeCondition{{
		Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "Hollow", LastHeartbeatTime: now, LastTransitionTime: now,
	}}
}

// remove takes the node and its lease away; the garbage collector takes what they own.
func (f *Fleet) remove(ctx context.Context, n *node) error {
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: leases, Name: n.object.Name}}
	return errors.Join(client.IgnoreNotFound(f.API.Delete(ctx, n.object)), client.IgnoreNotFound(f.API.Delete(ctx, lease)))
}
