// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package containerd

import (
	"context"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	containersapi "github.com/containerd/containerd/api/services/containers/v1"
	contentapi "github.com/containerd/containerd/api/services/content/v1"
	imagesapi "github.com/containerd/containerd/api/services/images/v1"
	leasesapi "github.com/containerd/containerd/api/services/leases/v1"
	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/api/types"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"
	criapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"orlop.dev/orlop/internal/engine"
)

// server is as much of containerd as removals need, for what the real one does only in another version or in distress.
// Like 1.7, whose image service does not read Target, it deletes whatever a name means; 2.0 and later compare.
type server struct {
	version string

	mu       sync.Mutex
	records  map[string]*record
	leases   map[string]*leasesapi.Lease
	held     map[string][]string // by lease
	waited   []string            // leases whose end was waited for, and the collection that it brings
	natives  []*containersapi.Container
	parents  map[string]string // of snapshots
	content  []*contentapi.Info
	configs  map[string]string    // by the topmost snapshot of their layers
	shown    []engine.Image       // by CRI
	known    []*criapi.Container  // to CRI
	pods     []*criapi.PodSandbox // to CRI
	fails    map[string]error     // by method, such as Leases/Create
	called   []string
	deadline map[string]bool         // methods that were called with one
	refused  string                  // the name of a record that cannot be created
	deleting func(name string) error // is called when a record has been deleted, before its client hears of it
}

func newServer(version string, records ...*record) *server {
	s := &server{version: version, records: map[string]*record{}, leases: map[string]*leasesapi.Lease{},
		held: map[string][]string{}, fails: map[string]error{}, deadline: map[string]bool{}}
	for _, r := range records {
		s.records[r.Name] = r
	}
	return s
}

// The services that the server has; each is the same server, with its own methods.
type (
	imageService struct {
		imagesapi.UnimplementedImagesServer
		*server
	}
	leaseService struct {
		leasesapi.UnimplementedLeasesServer
		*server
	}
	contentService struct {
		contentapi.UnimplementedContentServer
		*server
	}
	containerService struct {
		containersapi.UnimplementedContainersServer
		*server
	}
	snapshotService struct {
		snapshotsapi.UnimplementedSnapshotsServer
		*server
	}
	podService struct {
		criapi.UnimplementedRuntimeServiceServer
		*server
	}
)

// set makes names mean something else, as the kubelet's pulls do.
func (s *server) set(records ...*record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range records {
		s.records[r.Name] = r
	}
}

// fail lets a method fail from now on; nil: no more. A call that was given up may be under way still.
func (s *server) fail(method string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fails[method] = err
}

func (s *server) names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.records))
}

// images stands for CRI, in which a change shows at once.
type images struct {
	engine.Interface
	server *server
}

func (i images) List(context.Context, ...string) ([]engine.Image, error) { return i.server.shown, nil }

func (images) Uses(context.Context) ([]engine.Use, error) {
	return []engine.Use{{ImageID: "of CRI"}}, nil
}

func (s *server) connected(t testing.TB) *Runtime {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer(grpc.UnaryInterceptor(s.unary), grpc.StreamInterceptor(s.stream))
	imagesapi.RegisterImagesServer(g, imageService{server: s})
	leasesapi.RegisterLeasesServer(g, leaseService{server: s})
	contentapi.RegisterContentServer(g, contentService{server: s})
	containersapi.RegisterContainersServer(g, containerService{server: s})
	snapshotsapi.RegisterSnapshotsServer(g, snapshotService{server: s})
	criapi.RegisterRuntimeServiceServer(g, podService{server: s})
	done := make(chan struct{})
	go func() { defer close(done); _ = g.Serve(listener) }()
	t.Cleanup(func() { g.Stop(); <-done })
	r, err := Connect("unix://"+path, images{server: s})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func (s *server) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	if err := s.begin(ctx, info.FullMethod); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return handle(ctx, req)
}

func (s *server) stream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	if err := s.begin(stream.Context(), info.FullMethod); err != nil {
		return err
	}
	return handle(srv, stream)
}

func (s *server) begin(ctx context.Context, method string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	method = method[strings.LastIndex(method, ".")+1:]
	s.called = append(s.called, method)
	_, s.deadline[method] = ctx.Deadline()
	return s.fails[method]
}

func (s podService) Version(context.Context, *criapi.VersionRequest) (*criapi.VersionResponse, error) {
	return &criapi.VersionResponse{RuntimeName: "containerd", RuntimeVersion: s.version}, nil
}

func (s podService) ListContainers(context.Context, *criapi.ListContainersRequest) (*criapi.ListContainersResponse, error) {
	return &criapi.ListContainersResponse{Containers: s.known}, nil
}

func (s podService) ListPodSandbox(context.Context, *criapi.ListPodSandboxRequest) (*criapi.ListPodSandboxResponse, error) {
	return &criapi.ListPodSandboxResponse{Items: s.pods}, nil
}

func (s containerService) ListStream(_ *containersapi.ListContainersRequest, stream containersapi.Containers_ListStreamServer) error {
	for _, c := range s.natives {
		if err := stream.Send(&containersapi.ListContainerMessage{Container: c}); err != nil {
			return err
		}
	}
	return nil
}

func (s imageService) List(context.Context, *imagesapi.ListImagesRequest) (*imagesapi.ListImagesResponse, error) {
	list := &imagesapi.ListImagesResponse{}
	for _, r := range s.records {
		list.Images = append(list.Images, r)
	}
	return list, nil
}

func (s imageService) Get(_ context.Context, req *imagesapi.GetImageRequest) (*imagesapi.GetImageResponse, error) {
	r := s.records[req.Name]
	if r == nil {
		return nil, status.Errorf(codes.NotFound, "image %q: not found", req.Name)
	}
	return &imagesapi.GetImageResponse{Image: r}, nil
}

func (s imageService) Create(_ context.Context, req *imagesapi.CreateImageRequest) (*imagesapi.CreateImageResponse, error) {
	if req.Image.Name == s.refused {
		return nil, status.Errorf(codes.Internal, "image %q: ill", req.Image.Name)
	}
	s.records[req.Image.Name] = req.Image
	return &imagesapi.CreateImageResponse{Image: req.Image}, nil
}

// Update knows labels.
func (s imageService) Update(_ context.Context, req *imagesapi.UpdateImageRequest) (*imagesapi.UpdateImageResponse, error) {
	r := s.records[req.Image.Name]
	if r == nil {
		return nil, status.Errorf(codes.NotFound, "image %q: not found", req.Image.Name)
	}
	changed := &record{Name: r.Name, Target: r.Target, Labels: maps.Clone(r.Labels)}
	if changed.Labels == nil {
		changed.Labels = map[string]string{}
	}
	for _, path := range req.UpdateMask.Paths {
		label := strings.TrimPrefix(path, "labels.")
		changed.Labels[label] = req.Image.Labels[label]
	}
	maps.DeleteFunc(changed.Labels, func(_, value string) bool { return value == "" })
	s.records[r.Name] = changed
	return &imagesapi.UpdateImageResponse{Image: changed}, nil
}

func (s imageService) Delete(_ context.Context, req *imagesapi.DeleteImageRequest) (*emptypb.Empty, error) {
	r := s.records[req.Name]
	moved := r != nil && !strings.HasPrefix(strings.TrimPrefix(s.version, "v"), "1.") && req.Target != nil && req.Target.Digest != r.Target.Digest
	if r == nil || moved {
		return nil, status.Errorf(codes.NotFound, "image %q: not found", req.Name)
	}
	delete(s.records, req.Name)
	if s.deleting != nil {
		return &emptypb.Empty{}, s.deleting(req.Name)
	}
	return &emptypb.Empty{}, nil
}

// Info knows manifests with one child, the image.
func (s contentService) Info(_ context.Context, req *contentapi.InfoRequest) (*contentapi.InfoResponse, error) {
	if req.Digest == indexA || req.Digest == indexB {
		return &contentapi.InfoResponse{Info: &contentapi.Info{Digest: req.Digest, Labels: map[string]string{labelChild + ".config": idOfIndex[req.Digest]}}}, nil
	}
	return nil, status.Errorf(codes.NotFound, "content %s: not found", req.Digest)
}

var idOfIndex = map[string]string{indexA: imageID, indexB: "sha256:" + strings.Repeat("2", 64)}

// List knows configs, by the snapshot that the filter names; without one, what was set.
func (s contentService) List(req *contentapi.ListContentRequest, stream contentapi.Content_ListServer) error {
	list := &contentapi.ListContentResponse{}
	if len(req.Filters) == 0 {
		list.Info = s.content
	}
	for top, config := range s.configs {
		if slices.Contains(req.Filters, fmt.Sprintf("labels.%q==%q", labelSnapshot+"overlayfs", top)) {
			list.Info = append(list.Info, &contentapi.Info{Digest: config})
		}
	}
	return stream.Send(list)
}

// List knows the parents that were set, and one snapshotter.
func (s snapshotService) List(req *snapshotsapi.ListSnapshotsRequest, stream snapshotsapi.Snapshots_ListServer) error {
	if req.Snapshotter != "overlayfs" {
		return status.Errorf(codes.InvalidArgument, "snapshotter not loaded: %s", req.Snapshotter)
	}
	list := &snapshotsapi.ListSnapshotsResponse{}
	for name, parent := range s.parents {
		list.Info = append(list.Info, &snapshotsapi.Info{Name: name, Parent: parent, Kind: snapshotsapi.Kind_COMMITTED})
	}
	return stream.Send(list)
}

func (s snapshotService) Usage(_ context.Context, req *snapshotsapi.UsageRequest) (*snapshotsapi.UsageResponse, error) {
	if req.Snapshotter != "overlayfs" {
		return nil, status.Errorf(codes.InvalidArgument, "snapshotter not loaded: %s", req.Snapshotter)
	}
	return &snapshotsapi.UsageResponse{Size: 100}, nil
}

func (s snapshotService) Stat(_ context.Context, req *snapshotsapi.StatSnapshotRequest) (*snapshotsapi.StatSnapshotResponse, error) {
	return &snapshotsapi.StatSnapshotResponse{Info: &snapshotsapi.Info{Name: req.Key, Parent: s.parents[req.Key]}}, nil
}

func (s contentService) Write(stream contentapi.Content_WriteServer) error {
	if _, err := stream.Recv(); err != nil {
		return err
	}
	return stream.Send(&contentapi.WriteContentResponse{Action: contentapi.WriteAction_COMMIT})
}

func (s leaseService) Create(_ context.Context, req *leasesapi.CreateRequest) (*leasesapi.CreateResponse, error) {
	l := &leasesapi.Lease{ID: fmt.Sprintf("lease-%d", len(s.called)), Labels: req.Labels, CreatedAt: timestamppb.Now()}
	s.leases[l.ID] = l
	return &leasesapi.CreateResponse{Lease: l}, nil
}

func (s leaseService) List(_ context.Context, _ *leasesapi.ListRequest) (*leasesapi.ListResponse, error) {
	list := &leasesapi.ListResponse{}
	for _, l := range s.leases {
		list.Leases = append(list.Leases, l)
	}
	return list, nil
}

func (s leaseService) AddResource(_ context.Context, req *leasesapi.AddResourceRequest) (*emptypb.Empty, error) {
	s.held[req.ID] = append(s.held[req.ID], req.Resource.ID)
	return &emptypb.Empty{}, nil
}

func (s leaseService) Delete(_ context.Context, req *leasesapi.DeleteRequest) (*emptypb.Empty, error) {
	if s.leases[req.ID] == nil {
		return nil, status.Errorf(codes.NotFound, "lease %q: not found", req.ID)
	}
	delete(s.leases, req.ID)
	if req.Sync {
		s.waited = append(s.waited, req.ID)
	}
	return &emptypb.Empty{}, nil
}

func at(name, target string) *record {
	return &record{Name: name, Target: &types.Descriptor{Digest: target}}
}

// listed is an image as CRI lists it.
func listed(t testing.TB, id string, tags ...string) engine.Image {
	t.Helper()
	image := engine.Image{ID: id}
	for _, tag := range tags {
		image.Tags = append(image.Tags, ref(t, tag))
	}
	return image
}

// agedLease is one of somebody's that is as old as that.
func agedLease(id string, age time.Duration, labels map[string]string) *leasesapi.Lease {
	return &leasesapi.Lease{ID: id, Labels: labels, CreatedAt: timestamppb.New(time.Now().Add(-age))}
}
