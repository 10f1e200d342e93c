// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package containerd adds to a CRI runtime what CRI lacks and containerd's own services on the same socket have:
// single names removed, pins, sizes of layers on disk, progress of a pull, and many removals with one collection.
package containerd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	containersapi "github.com/containerd/containerd/api/services/containers/v1"
	contentapi "github.com/containerd/containerd/api/services/content/v1"
	imagesapi "github.com/containerd/containerd/api/services/images/v1"
	leasesapi "github.com/containerd/containerd/api/services/leases/v1"
	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/engine/socket"
)

const (
	// namespace is where the CRI plugin keeps the images of Kubernetes; other namespaces are none of ours.
	namespace = "k8s.io"

	// callTimeout bounds every call: a synchronous removal waits for a garbage collection.
	callTimeout = 2 * time.Minute

	// maxParallelCalls bounds what is asked of containerd at once.
	maxParallelCalls = 16
)

// Runtime is containerd with its CRI plugin.
type Runtime struct {
	cri        engine.Interface
	conn       *grpc.ClientConn
	images     imagesapi.ImagesClient
	content    contentapi.ContentClient
	snapshots  snapshotsapi.SnapshotsClient
	leases     leasesapi.LeasesClient
	containers containersapi.ContainersClient

	mu     sync.Mutex
	usage  map[snapshotKey]int64 // committed snapshots never change
	claims map[string]bool       // manifests that pulls of this process have found to be theirs
}

var (
	_ engine.Interface = (*Runtime)(nil)
	_ engine.Measurer  = (*Runtime)(nil)
	_ engine.Pinner    = (*Runtime)(nil)
	_ engine.Batcher   = (*Runtime)(nil)
)

// Connect adds containerd's own services at endpoint to its CRI, which is reached already, and which it then owns.
func Connect(endpoint string, cri engine.Interface) (*Runtime, error) {
	conn, err := socket.Dial(endpoint,
		grpc.WithChainUnaryInterceptor(unaryInNamespace),
		grpc.WithChainStreamInterceptor(streamInNamespace),
		socket.Bounded(callTimeout))
	if err != nil {
		return nil, err
	}
	return &Runtime{
		cri:        cri,
		conn:       conn,
		images:     imagesapi.NewImagesClient(conn),
		content:    contentapi.NewContentClient(conn),
		snapshots:  snapshotsapi.NewSnapshotsClient(conn),
		leases:     leasesapi.NewLeasesClient(conn),
		containers: containersapi.NewContainersClient(conn),
		usage:      map[snapshotKey]int64{},
		claims:     map[string]bool{},
	}, nil
}

// Close ends this connection and that of the CRI runtime.
func (r *Runtime) Close() error {
	err := r.conn.Close()
	if closer, ok := r.cri.(io.Closer); ok {
		err = errors.Join(err, closer.Close())
	}
	return err
}

// Describe is what CRI says.
func (r *Runtime) Describe(ctx context.Context) (engine.Description, error) {
	return r.cri.Describe(ctx)
}

func inNamespace(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "containerd-namespace", namespace)
}

func unaryInNamespace(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn,
	invoke grpc.UnaryInvoker, opts ...grpc.CallOption,
) error {
	return invoke(inNamespace(ctx), method, req, reply, conn, opts...)
}

func streamInNamespace(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string,
	stream grpc.Streamer, opts ...grpc.CallOption,
) (grpc.ClientStream, error) {
	return stream(inNamespace(ctx), desc, conn, method, opts...)
}

// The labels by which containers of the CRI plugin are known.
const (
	labelKind         = "io.cri-containerd.kind"
	kindSandbox       = "sandbox"
	labelPodNamespace = "io.kubernetes.pod.namespace"
	labelPodName      = "io.kubernetes.pod.name"
)

// Uses adds the image that each pod's sandbox was started with: since containerd 2.0, CRI does not tell which it is.
func (r *Runtime) Uses(ctx context.Context) ([]engine.Use, error) {
	uses, err := r.cri.Uses(ctx)
	if err != nil {
		return nil, err
	}
	filter := fmt.Sprintf("labels.%q==%q", labelKind, kindSandbox)
	list, err := r.containers.List(ctx, &containersapi.ListContainersRequest{Filters: []string{filter}})
	if err != nil {
		return nil, fmt.Errorf("listing sandboxes: %w", socket.Why(err))
	}
	for _, c := range list.Containers {
		use := engine.Use{Kind: engine.UseSandbox}
		if name := c.Labels[labelPodName]; name != "" {
			use.Pod = c.Labels[labelPodNamespace] + "/" + name
		}
		if isID(c.Image) {
			use.ImageID = c.Image
		} else {
			use.Ref = parsed(c.Image)
		}
		if use.ImageID != "" || !use.Ref.IsZero() {
			uses = append(uses, use)
		}
	}
	return uses, nil
}
