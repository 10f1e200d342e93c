// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package docker

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
)

// The labels that the kubelet's CRI shims (dockershim, cri-dockerd) put on containers.
const (
	labelType      = "io.kubernetes.docker.type"
	labelNamespace = "io.kubernetes.pod.namespace"
	labelPod       = "io.kubernetes.pod.name"
	labelContainer = "io.kubernetes.container.name"
	typeSandbox    = "podsandbox"
)

// Uses is part of engine.Interface.
func (r *Runtime) Uses(ctx context.Context) ([]engine.Use, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := r.api.ContainerList(ctx, client.ContainerListOptions{All: true})
	if err != nil {
		return nil, foreign(fmt.Errorf("listing containers: %w", err))
	}
	uses := make([]engine.Use, 0, len(answer.Items))
	for _, item := range answer.Items {
		of, err := r.usesOf(ctx, item)
		if err != nil {
			return nil, foreign(fmt.Errorf("listing what container %s uses: %w", item.ID, err))
		}
		uses = append(uses, of...)
	}
	return uses, nil
}

// usesOf is what one container needs: its own image, and those that it mounts.
func (r *Runtime) usesOf(ctx context.Context, item container.Summary) ([]engine.Use, error) {
	use := engine.Use{
		ImageID: item.ImageID, Kind: engine.UseContainer,
		Exited:    item.State == container.StateExited || item.State == container.StateDead,
		Container: cmp.Or(item.Labels[labelContainer], nameOf(item)),
	}
	if item.Labels[labelPod] != "" {
		use.Pod = item.Labels[labelNamespace] + "/" + item.Labels[labelPod]
	}
	if item.Labels[labelType] == typeSandbox {
		use.Kind = engine.UseSandbox
	}
	uses := []engine.Use{use}
	for _, m := range item.Mounts {
		if m.Type == mount.TypeImage {
			mounted, err := r.mounted(ctx, use, m.Name)
			if err != nil {
				return nil, err
			}
			uses = append(uses, mounted)
		}
	}
	return uses, nil
}

// mounted is the use that a container makes of an image as a volume. Docker tells only the name that it was mounted
// by, as it was given, and removes it from under a running container when asked by id.
func (r *Runtime) mounted(ctx context.Context, by engine.Use, name string) (engine.Use, error) {
	by.Kind = engine.UseVolume
	id, err := r.idOf(ctx, name)
	if errdefs.IsNotFound(err) {
		by.ImageID = name // An id, if it is no name.
		if ref, notName := oci.ParseFound(name); notName == nil {
			by.ImageID, by.Ref = "", ref
		}
		return by, nil
	}
	by.ImageID = id
	return by, err
}

func nameOf(item container.Summary) string {
	if len(item.Names) == 0 {
		return item.ID
	}
	return strings.TrimPrefix(item.Names[0], "/")
}

// users are those who hold an image against a removal.
func (r *Runtime) users(ctx context.Context, id string, force bool) ([]engine.Use, error) {
	uses, err := r.Uses(ctx)
	if err != nil {
		return nil, err
	}
	var holding []engine.Use
	for _, use := range uses {
		if use.ImageID == id && (!use.Exited || !force) {
			holding = append(holding, use)
		}
	}
	return holding, nil
}
