// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package containerd adds to a CRI runtime what CRI lacks and containerd's own services on the same socket have:
// single names removed, pins, sizes of layers on disk, progress of a pull, and many removals with one collection.
package containerd

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	containersapi "github.com/containerd/containerd/api/services/containers/v1"
	contentapi "github.com/containerd/containerd/api/services/content/v1"
	eventsapi "github.com/containerd/containerd/api/services/events/v1"
	imagesapi "github.com/containerd/containerd/api/services/images/v1"
	leasesapi "github.com/containerd/containerd/api/services/leases/v1"
	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	criapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/engine/socket"
)

const (
	// namespace is where the CRI plugin keeps the images of Kubernetes; other namespaces are none of ours.
	namespace = "k8s.io"

	// callTimeout bounds every call but endLease: a synchronous removal waits for a garbage collection.
	callTimeout = 2 * time.Minute

	// endLease waits for the collection of all that a batch removed, which takes as long as the disk takes: its caller
	// says how long that may be.
	endLease = "/containerd.services.leases.v1.Leases/Delete"

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
	pods       criapi.RuntimeServiceClient
	events     eventsapi.EventsClient

	mu       sync.Mutex
	usage    map[snapshotKey]int64     // committed snapshots never change
	bases    map[containerKey][]string // from containers that CRI did not make to the ids of their images, which never change
	leads    map[string][]string       // from a manifest or an index to the ids of its images, as of the last Measure and since
	measured int                       // how many images the last Measure saw; 0 is unknown
	claims   map[string]bool           // manifests that pulls of this process have found to be theirs
}

var (
	_ engine.Interface    = (*Runtime)(nil)
	_ engine.Measurer     = (*Runtime)(nil)
	_ engine.Pinner       = (*Runtime)(nil)
	_ engine.Batcher      = (*Runtime)(nil)
	_ engine.Marker       = (*Runtime)(nil)
	_ engine.Watcher      = (*Runtime)(nil)
	_ engine.LateMeasurer = (*batch)(nil)
)

// Connect adds containerd's own services at endpoint to its CRI, which is reached already, and which it then owns.
func Connect(endpoint string, cri engine.Interface, options ...grpc.DialOption) (*Runtime, error) {
	conn, err := socket.Dial(endpoint, append(options,
		grpc.WithChainUnaryInterceptor(unaryInNamespace),
		grpc.WithChainStreamInterceptor(streamInNamespace),
		socket.Bounded(callTimeout, endLease))...)
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
		pods:       criapi.NewRuntimeServiceClient(conn),
		events:     eventsapi.NewEventsClient(conn),
		usage:      map[snapshotKey]int64{},
		leads:      map[string][]string{},
		bases:      map[containerKey][]string{},
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
