// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package containerd

import (
	"context"
	"fmt"

	containersapi "github.com/containerd/containerd/api/services/containers/v1"
	criapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/engine/socket"
)

// Uses adds the image that each pod's sandbox was started with: since containerd 2.0, CRI does not tell which it is.
func (r *Runtime) Uses(ctx context.Context) ([]engine.Use, error) {
	uses, err := r.cri.Uses(ctx)
	if err != nil {
		return nil, err
	}
	list, err := r.pods.ListPodSandbox(ctx, &criapi.ListPodSandboxRequest{})
	if err != nil {
		return nil, fmt.Errorf("listing sandboxes: %w", socket.Why(err))
	}
	pauses, err := r.pausesOf(ctx, list.Items)
	if err != nil {
		return nil, err
	}
	for _, sandbox := range list.Items {
		if use := pauses[sandbox.Id]; use.Kind != "" {
			uses = append(uses, use)
		}
	}
	return uses, nil
}

// pausesOf asks for the sandboxes that are new, and remembers no more than there are.
func (r *Runtime) pausesOf(ctx context.Context, sandboxes []*criapi.PodSandbox) (map[string]engine.Use, error) {
	r.mu.Lock()
	known := r.pauses
	r.mu.Unlock()
	pauses := make(map[string]engine.Use, len(sandboxes))
	var filters []string
	for _, sandbox := range sandboxes {
		use, ok := known[sandbox.Id]
		if pauses[sandbox.Id] = use; !ok {
			filters = append(filters, fmt.Sprintf("id==%q", sandbox.Id))
		}
	}
	if len(filters) > 0 { // Without a filter, the list would be that of all containers.
		list, err := r.containers.List(ctx, &containersapi.ListContainersRequest{Filters: filters})
		if err != nil {
			return nil, fmt.Errorf("looking at sandboxes: %w", socket.Why(err))
		}
		byID := map[string]string{}
		for _, container := range list.Containers {
			byID[container.ID] = container.Image
		}
		for _, sandbox := range sandboxes {
			if _, ok := known[sandbox.Id]; !ok {
				pauses[sandbox.Id] = pauseOf(sandbox, byID[sandbox.Id])
			}
		}
	}
	r.mu.Lock()
	r.pauses = pauses
	r.mu.Unlock()
	return pauses, nil
}

// pauseOf is no use where the sandbox runs no image, as in some virtual machines.
func pauseOf(sandbox *criapi.PodSandbox, image string) engine.Use {
	use := engine.Use{Kind: engine.UseSandbox}
	if meta := sandbox.GetMetadata(); meta != nil {
		use.Pod = meta.Namespace + "/" + meta.Name
	}
	if isID(image) {
		use.ImageID = image
	} else if use.Ref = parsed(image); use.Ref.IsZero() {
		return engine.Use{}
	}
	return use
}
