// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package cri is engine.Interface over the Container Runtime Interface, which containerd, CRI-O and cri-dockerd
// speak, each with its own meaning: the differences are known here and nowhere above.
package cri

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/engine/socket"
	"orlop.dev/orlop/internal/oci"
)

const (
	// connectTimeout bounds the first answer. A socket that nobody serves fails at once; one whose owner hangs
	// must not hold up a command.
	connectTimeout = 5 * time.Second

	// callTimeout bounds every call but a pull. A removal returns after the runtime's garbage collection, which
	// takes seconds on a slow disk.
	callTimeout = 2 * time.Minute

	// maxParallelCalls bounds what is asked of the runtime at once: the kubelet wants answers too.
	maxParallelCalls = 8
)

// The names that runtimes give themselves.
const (
	nameContainerd = "containerd"
	nameCRIO       = "cri-o"
)

// Runtime is a container runtime behind CRI.
type Runtime struct {
	conn     *grpc.ClientConn
	images   cri.ImageServiceClient
	pods     cri.RuntimeServiceClient
	endpoint string
	name     string
	version  string

	count atomic.Int64 // of the images in the last list of all; 0 is unknown

	mu      sync.Mutex
	sandbox sandboxImage
	mounts  map[string][]string // container id → images mounted into it; a container's mounts never change
}

var _ engine.Interface = (*Runtime)(nil)

// Connect reaches the runtime at endpoint, such as unix:///run/crio/crio.sock, and asks its version. It fails within
// seconds when nothing answers there.
func Connect(ctx context.Context, endpoint string, options ...grpc.DialOption) (*Runtime, error) {
	conn, err := socket.Dial(endpoint, append(options, socket.Bounded(callTimeout, cri.ImageService_PullImage_FullMethodName))...)
	if err != nil {
		return nil, err
	}
	r, err := over(ctx, conn, endpoint)
	if err != nil {
		_ = conn.Close() // The first error tells more.
		return nil, fmt.Errorf("connecting to %s: %w", endpoint, err)
	}
	return r, nil
}

func over(ctx context.Context, conn *grpc.ClientConn, endpoint string) (*Runtime, error) {
	r := &Runtime{
		conn:     conn,
		images:   cri.NewImageServiceClient(conn),
		pods:     cri.NewRuntimeServiceClient(conn),
		endpoint: endpoint,
		mounts:   map[string][]string{},
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	version, err := r.askVersion(ctx)
	if err != nil {
		return nil, err
	}
	r.name, r.version = version.RuntimeName, version.RuntimeVersion
	return r, nil
}

// Close ends the connection.
func (r *Runtime) Close() error { return r.conn.Close() }

// Name is what the runtime calls itself: containerd, cri-o or docker.
func (r *Runtime) Name() string { return r.name }

// Serving reports whether Kubernetes uses this runtime: it holds a pod or an image. The containerd beside a Docker
// engine often answers CRI, and holds neither.
func (r *Runtime) Serving(ctx context.Context) (bool, error) {
	sandboxes, err := r.pods.ListPodSandbox(ctx, &cri.ListPodSandboxRequest{})
	if err != nil {
		return false, fmt.Errorf("listing pods: %w", socket.Why(err))
	}
	if len(sandboxes.Items) > 0 {
		return true, nil
	}
	images, err := r.listAll(ctx)
	return len(images) > 0, err
}

// Describe asks the runtime again, since it may be another version after its restart.
func (r *Runtime) Describe(ctx context.Context) (engine.Description, error) {
	version, err := r.askVersion(ctx)
	if err != nil {
		return engine.Description{}, err
	}
	d := engine.Description{Name: version.RuntimeName, Version: version.RuntimeVersion, Endpoint: r.endpoint}
	fs, err := r.images.ImageFsInfo(ctx, &cri.ImageFsInfoRequest{})
	if err != nil {
		return engine.Description{}, fmt.Errorf("asking for the image file system: %w", socket.Why(err))
	}
	if len(fs.ImageFilesystems) > 0 {
		d.ImageFS = fs.ImageFilesystems[0].GetFsId().GetMountpoint()
	}
	return d, nil
}

func (r *Runtime) askVersion(ctx context.Context) (*cri.VersionResponse, error) {
	version, err := r.pods.Version(ctx, &cri.VersionRequest{})
	if err != nil {
		return nil, fmt.Errorf("asking for the runtime's version: %w", socket.Why(err))
	}
	return version, nil
}

func parseRefs(names []string) []oci.Ref {
	var refs []oci.Ref
	for _, name := range names {
		// An image that lost its names shows <none>, which is no reference.
		if ref, err := oci.ParseFound(name); err == nil {
			refs = append(refs, ref)
		}
	}
	return refs
}
