// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package containerd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	containersapi "github.com/containerd/containerd/api/services/containers/v1"
	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	criapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/engine/socket"
)

// labelName is where nerdctl keeps a container's name.
const labelName = "nerdctl/name"

// Uses adds what CRI does not tell: containers that others made in the namespace of Kubernetes, as ctr and nerdctl do;
// and, since containerd 2.0, the image that each pod's sandbox was started with.
func (r *Runtime) Uses(ctx context.Context) ([]engine.Use, error) {
	// Before CRI is asked for uses, so that none of these is missing there unless it has gone.
	known, err := r.knownToCRI(ctx)
	if err != nil {
		return nil, err
	}
	var uses, more []engine.Use
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() (err error) { uses, err = r.cri.Uses(groupCtx); return err })
	group.Go(func() (err error) { more, err = r.usesBesideCRI(groupCtx, known); return err })
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return append(uses, more...), nil
}

// knownToCRI is what CRI has made of containerd's containers.
type knownToCRI struct {
	containers []*criapi.Container
	sandboxes  []*criapi.PodSandbox
}

func (r *Runtime) knownToCRI(ctx context.Context) (knownToCRI, error) {
	var known knownToCRI
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		list, err := r.pods.ListContainers(ctx, &criapi.ListContainersRequest{})
		if err != nil {
			return fmt.Errorf("listing containers: %w", socket.Why(err))
		}
		known.containers = list.Containers
		return nil
	})
	group.Go(func() error {
		list, err := r.pods.ListPodSandbox(ctx, &criapi.ListPodSandboxRequest{})
		if err != nil {
			return fmt.Errorf("listing sandboxes: %w", socket.Why(err))
		}
		known.sandboxes = list.Items
		return nil
	})
	return known, group.Wait()
}

func (r *Runtime) usesBesideCRI(ctx context.Context, known knownToCRI) ([]engine.Use, error) {
	all, err := r.listContainers(ctx)
	if err != nil {
		return nil, err
	}
	var uses []engine.Use
	for _, sandbox := range known.sandboxes {
		if container := all[sandbox.Id]; container != nil {
			uses = append(uses, pauseOf(sandbox, container)...)
		}
		delete(all, sandbox.Id)
	}
	for _, container := range known.containers {
		delete(all, container.Id)
	}
	others, err := r.usesOf(ctx, all)
	return append(uses, others...), err
}

// listContainers reads a stream: with their specifications, all containers of a large node are too much for one message.
func (r *Runtime) listContainers(ctx context.Context) (map[string]*containersapi.Container, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	stream, err := r.containers.ListStream(ctx, &containersapi.ListContainersRequest{})
	if err != nil {
		return nil, fmt.Errorf("listing containerd's containers: %w", socket.Why(err))
	}
	all := map[string]*containersapi.Container{}
	for {
		next, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("listing containerd's containers: %w", socket.Why(err))
		}
		c := next.Container
		all[c.ID] = &containersapi.Container{
			ID: c.ID, Labels: c.Labels, Image: c.Image, Snapshotter: c.Snapshotter, SnapshotKey: c.SnapshotKey, CreatedAt: c.CreatedAt,
		}
	}
}

// pauseOf is no use where the sandbox runs no image, as in some virtual machines.
func pauseOf(sandbox *criapi.PodSandbox, container *containersapi.Container) []engine.Use {
	use := engine.Use{Kind: engine.UseSandbox}
	if meta := sandbox.GetMetadata(); meta != nil {
		use.Pod = meta.Namespace + "/" + meta.Name
	}
	return byName(use, container.Image)
}

// byName is no use where the name is none.
func byName(use engine.Use, image string) []engine.Use {
	if isID(image) {
		use.ImageID = image
	} else if use.Ref = parsed(image); use.Ref.IsZero() {
		return nil
	}
	return []engine.Use{use}
}

// containerKey tells a container from an earlier one of the same id: with ctr, people choose them.
type containerKey struct {
	id      string
	created int64 // in nanoseconds
}

func keyOf(c *containersapi.Container) containerKey {
	return containerKey{c.ID, c.CreatedAt.AsTime().UnixNano()}
}

// usesOf asks once for each container on what it stands, and remembers no more than there are. Whether one has exited is
// not asked: its owner may start it again, and knows of no --force.
func (r *Runtime) usesOf(ctx context.Context, containers map[string]*containersapi.Container) ([]engine.Use, error) {
	r.mu.Lock()
	known := r.bases
	r.mu.Unlock()
	bases := make(map[containerKey][]string, len(containers))
	var uses []engine.Use
	for _, id := range slices.Sorted(maps.Keys(containers)) {
		c := containers[id]
		images := known[keyOf(c)]
		if len(images) == 0 {
			var err error
			if images, err = r.baseOf(ctx, c); err != nil {
				return nil, err
			}
		}
		use := engine.Use{Kind: engine.UseContainer, Container: cmp.Or(c.Labels[labelName], id)}
		if bases[keyOf(c)] = images; len(images) == 0 {
			uses = append(uses, byName(use, c.Image)...)
		}
		for _, image := range images {
			use.ImageID = image
			uses = append(uses, use)
		}
	}
	r.mu.Lock()
	r.bases = bases
	r.mu.Unlock()
	return uses, nil
}

// baseOf is from which images a container was made: those whose topmost layer its file system stands on. The name that it
// keeps of its image may be anything, and may mean another one by now.
func (r *Runtime) baseOf(ctx context.Context, c *containersapi.Container) ([]string, error) {
	if c.Snapshotter == "" || c.SnapshotKey == "" {
		return nil, nil
	}
	snapshot, err := r.snapshots.Stat(ctx, &snapshotsapi.StatSnapshotRequest{Snapshotter: c.Snapshotter, Key: c.SnapshotKey})
	switch code := status.Code(err); {
	case code == codes.NotFound, code == codes.InvalidArgument: // The second says that the snapshotter is no longer loaded.
		return nil, nil
	case err == nil && snapshot.Info.GetParent() == "":
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("looking at the snapshot of container %s: %w", c.ID, socket.Why(err))
	}
	configs, err := r.listContent(ctx, fmt.Sprintf("labels.%q==%q", labelSnapshot+c.Snapshotter, snapshot.Info.Parent))
	if err != nil {
		return nil, fmt.Errorf("looking for the image of container %s: %w", c.ID, err)
	}
	var ids []string
	for _, config := range configs {
		ids = append(ids, config.Digest)
	}
	return ids, nil
}
