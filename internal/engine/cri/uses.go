// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cri

import (
	"cmp"
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/engine/socket"
	"orlop.dev/orlop/internal/oci"
)

// The labels that the kubelet puts on containers.
const (
	labelPodNamespace  = "io.kubernetes.pod.namespace"
	labelPodName       = "io.kubernetes.pod.name"
	labelContainerName = "io.kubernetes.container.name"
)

// Uses gives containers in every state, the images mounted into them, and the sandbox image where the runtime tells.
func (r *Runtime) Uses(ctx context.Context) ([]engine.Use, error) {
	sandbox, err := r.sandboxRef(ctx)
	if err != nil {
		return nil, err
	}
	list, err := r.pods.ListContainers(ctx, &cri.ListContainersRequest{})
	if err != nil {
		return nil, fmt.Errorf("listing containers: %w", socket.Why(err))
	}
	mounts, err := r.imageMounts(ctx, list.Containers)
	if err != nil {
		return nil, err
	}
	var uses []engine.Use
	if !sandbox.IsZero() {
		uses = append(uses, engine.Use{Ref: sandbox, Kind: engine.UseSandbox})
	}
	for _, c := range list.Containers {
		by := engine.Use{
			Kind:      engine.UseContainer,
			Exited:    c.State == cri.ContainerState_CONTAINER_EXITED,
			Container: cmp.Or(c.Labels[labelContainerName], c.GetMetadata().GetName()),
		}
		if name := c.Labels[labelPodName]; name != "" {
			by.Pod = c.Labels[labelPodNamespace] + "/" + name
		}
		uses = append(uses, named(by, cmp.Or(c.ImageId, c.ImageRef, c.GetImage().GetImage())))
		by.Kind = engine.UseVolume
		for _, image := range mounts[c.Id] {
			uses = append(uses, named(by, image))
		}
	}
	return uses, nil
}

// named says which image a use is of: by id where the runtime gave one, else by name.
func named(use engine.Use, image string) engine.Use {
	if imageID.MatchString(image) {
		use.ImageID = image
	} else if ref, err := oci.ParseFound(image); err == nil {
		use.Ref = ref
	} else {
		use.ImageID = image
	}
	return use
}

// imageMounts asks once for each container that is new. What it remembers is no more than the containers there are. One
// that is gone, by its own account, is asked for again if it is still listed next time.
func (r *Runtime) imageMounts(ctx context.Context, containers []*cri.Container) (map[string][]string, error) {
	r.mu.Lock()
	known := r.mounts
	r.mu.Unlock()
	found := make([][]string, len(containers))
	gone := make([]bool, len(containers))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(maxParallelCalls)
	for n, c := range containers {
		if mounted, ok := known[c.Id]; ok {
			found[n] = mounted
			continue
		}
		group.Go(func() (err error) {
			found[n], gone[n], err = r.askMounts(ctx, c.Id)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	mounts := make(map[string][]string, len(containers))
	for n, c := range containers {
		if !gone[n] {
			mounts[c.Id] = found[n]
		}
	}
	r.mu.Lock()
	r.mounts = mounts
	r.mu.Unlock()
	return mounts, nil
}

func (r *Runtime) askMounts(ctx context.Context, id string) (mounted []string, gone bool, err error) {
	answer, err := r.pods.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: id})
	if socket.Gone(err) {
		return nil, true, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("looking at container %s: %w", id, socket.Why(err))
	}
	for _, m := range answer.GetStatus().GetMounts() {
		if image := m.GetImage(); image != nil {
			mounted = append(mounted, cmp.Or(image.Image, image.ImageRef, image.UserSpecifiedImage))
		}
	}
	return mounted, false, nil
}
