// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cri

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/engine/enginetest"
	"orlop.dev/orlop/internal/oci"
)

// server speaks CRI as CRI-O 1.35 and 1.36 and cri-dockerd do, by what is known of their sources and, for CRI-O, of a
// real one: no such daemon is at hand for tests.
type server struct {
	cri.UnimplementedRuntimeServiceServer
	cri.UnimplementedImageServiceServer
	t testing.TB

	name         string // as runtimes call themselves
	answersRef   bool   // CRI-O until 1.35 answers a pull with repository@digest
	sandboxImage string
	pinned       string // an image that the configuration pins

	mu         sync.Mutex
	remote     map[oci.Ref]enginetest.Content
	stalled    map[string]bool
	images     map[string]*stored
	pods       []*cri.PodSandbox
	containers map[string]*cri.Container
	mounts     map[string][]*cri.Mount
	asked      map[string]int   // ContainerStatus, by container
	unseen     map[string]error // what ContainerStatus answers, by container
	fails      error            // the next call

	failsInStream error
}

type stored struct {
	tags    []string
	digests []string
	size    uint64
}

const (
	privateHost     = "private.test"
	privateUser     = "orlop"
	privatePassword = "swordfish"
)

func newServer(t testing.TB, name string) *server {
	return &server{
		t: t, name: name, remote: map[oci.Ref]enginetest.Content{}, stalled: map[string]bool{}, images: map[string]*stored{},
		containers: map[string]*cri.Container{}, mounts: map[string][]*cri.Mount{}, asked: map[string]int{},
		unseen: map[string]error{},
	}
}

// connected serves on a socket of the test's own, and connects to it.
func (s *server) connected(t testing.TB) *Runtime {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer()
	cri.RegisterImageServiceServer(g, s)
	cri.RegisterRuntimeServiceServer(g, s)
	done := make(chan struct{})
	go func() { defer close(done); _ = g.Serve(listener) }()
	t.Cleanup(func() { g.Stop(); <-done })
	r, err := Connect(t.Context(), "unix://"+path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func (s *server) push(ref oci.Ref, content enginetest.Content) digest.Digest {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remote[ref.WithoutDigest()] = content
	s.remote[ref.WithDigest(content.Manifest()).WithoutTag()] = content
	return content.Manifest()
}

// id is an image's in the runtime's own form: bare on CRI-O.
func (s *server) id(content enginetest.Content) string {
	if s.name == nameCRIO {
		return content.Config().Encoded()
	}
	return content.Config().String()
}

func (s *server) failure() error {
	err := s.fails
	s.fails = nil
	return err
}

func (s *server) Version(context.Context, *cri.VersionRequest) (*cri.VersionResponse, error) {
	return &cri.VersionResponse{Version: "0.1.0", RuntimeName: s.name, RuntimeVersion: "1.36.0", RuntimeApiVersion: "v1"}, nil
}

func (s *server) Status(context.Context, *cri.StatusRequest) (*cri.StatusResponse, error) {
	return &cri.StatusResponse{Info: map[string]string{"config": fmt.Sprintf(`{"sandboxImage": %q}`, s.sandboxImage)}}, nil
}

func (s *server) ImageFsInfo(context.Context, *cri.ImageFsInfoRequest) (*cri.ImageFsInfoResponse, error) {
	return &cri.ImageFsInfoResponse{ImageFilesystems: []*cri.FilesystemUsage{{FsId: &cri.FilesystemIdentifier{Mountpoint: "/var/lib/images"}}}}, nil
}

func (s *server) ListImages(_ context.Context, req *cri.ListImagesRequest) (*cri.ListImagesResponse, error) {
	if req.Filter != nil {
		s.t.Errorf("a list was asked for with the filter %v", req.Filter)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.failure(); err != nil {
		return nil, err
	}
	var list cri.ListImagesResponse
	for id := range s.images {
		list.Images = append(list.Images, s.image(id))
	}
	return &list, nil
}

// StreamImages gives one image in each message.
func (s *server) StreamImages(_ *cri.StreamImagesRequest, stream grpc.ServerStreamingServer[cri.StreamImagesResponse]) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.images {
		if err := stream.Send(&cri.StreamImagesResponse{Images: []*cri.Image{s.image(id)}}); err != nil {
			return err
		}
	}
	return s.failsInStream
}

func (s *server) ListPodSandbox(context.Context, *cri.ListPodSandboxRequest) (*cri.ListPodSandboxResponse, error) {
	return &cri.ListPodSandboxResponse{Items: s.pods}, nil
}

func (s *server) image(id string) *cri.Image {
	i := s.images[id]
	image := &cri.Image{Id: id, RepoTags: i.tags, RepoDigests: i.digests, Size: i.size}
	image.Pinned = s.pinned != "" && slices.Contains(i.tags, s.pinned)
	if len(i.tags) == 0 && s.name != nameCRIO {
		image.RepoTags = []string{"<none>:<none>"}
	}
	return image
}

// find is how the runtime reads what it is asked for; CRI-O takes sha256:… for a short name.
func (s *server) find(name string) (string, error) {
	if s.name == nameCRIO && strings.HasPrefix(name, "sha256:") {
		return "", status.Errorf(codes.Unknown, `short-name %q did not resolve to an alias and no unqualified-search registries are defined`, name)
	}
	for id, i := range s.images {
		if id == name || slices.Contains(i.tags, name) || slices.Contains(i.digests, name) {
			return id, nil
		}
	}
	return "", nil
}

func (s *server) ImageStatus(_ context.Context, req *cri.ImageStatusRequest) (*cri.ImageStatusResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id, err := s.find(req.Image.Image)
	if err != nil || id == "" {
		return &cri.ImageStatusResponse{}, err
	}
	return &cri.ImageStatusResponse{Image: s.image(id)}, nil
}

func (s *server) PullImage(ctx context.Context, req *cri.PullImageRequest) (*cri.PullImageResponse, error) {
	name := req.Image.Image
	ref, err := oci.Parse(name)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	if ref.Digest() != "" && ref.Tag() != "" {
		s.t.Errorf("%s was asked for by tag and digest, of which the runtime drops one", name)
	}
	if ref.Registry() == privateHost && (req.Auth.GetUsername() != privateUser || req.Auth.GetPassword() != privatePassword) {
		return nil, status.Errorf(codes.Unknown, "unable to pull image: reading manifest in %s: login with %s: unauthorized: authentication required",
			name, req.Auth.GetPassword())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	content, served := s.remote[ref]
	if !served {
		return nil, status.Errorf(codes.Unknown, "unable to pull image: initializing source docker://%[1]s: reading manifest in %[1]s: manifest unknown", name)
	}
	if s.stalled[ref.Repository()] {
		s.mu.Unlock()
		<-ctx.Done()
		s.mu.Lock()
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	return &cri.PullImageResponse{ImageRef: s.store(ref, content)}, nil
}

func (s *server) store(ref oci.Ref, content enginetest.Content) (answer string) {
	id := s.id(content)
	i := s.images[id]
	if i == nil {
		i = &stored{size: uint64(content.Size())}
		s.images[id] = i
	}
	byDigest := ref.WithDigest(content.Manifest()).WithoutTag().String()
	if !slices.Contains(i.digests, byDigest) {
		i.digests = append(i.digests, byDigest)
	}
	if ref.Tag() != "" && !slices.Contains(i.tags, ref.String()) {
		for _, other := range s.images {
			other.tags = slices.DeleteFunc(other.tags, func(tag string) bool { return tag == ref.String() })
		}
		i.tags = append(i.tags, ref.String())
	}
	if s.answersRef {
		return byDigest
	}
	return id
}

func (s *server) RemoveImage(_ context.Context, req *cri.RemoveImageRequest) (*cri.RemoveImageResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := req.Image.Image
	id, err := s.find(name)
	if err != nil || id == "" {
		return &cri.RemoveImageResponse{}, nil // CRI-O: also for sha256:…, which it does not know for an id.
	}
	switch {
	case s.name != nameCRIO && name != id:
		return &cri.RemoveImageResponse{}, nil // cri-dockerd looks up ids alone.
	case strings.Contains(name, "@"):
		return &cri.RemoveImageResponse{}, nil
	case name != id && s.images[id].otherNames(name):
		s.untag(id, name)
		return &cri.RemoveImageResponse{}, nil
	}
	for _, c := range s.containers {
		if c.ImageId == id {
			return nil, status.Errorf(codes.Unknown, "delete image %s: image used by %s: image is in use by a container", id, c.Id)
		}
	}
	delete(s.images, id)
	return &cri.RemoveImageResponse{}, nil
}

// otherNames reports whether the image has names beside the tag: CRI-O counts those that it was pulled by, by digest too.
func (i *stored) otherNames(tag string) bool {
	tagged := func(digest string) bool {
		repository, _, _ := strings.Cut(digest, "@")
		return slices.ContainsFunc(i.tags, func(t string) bool { return strings.HasPrefix(t, repository+":") })
	}
	return slices.ContainsFunc(i.tags, func(t string) bool { return t != tag }) ||
		slices.ContainsFunc(i.digests, func(d string) bool { return !tagged(d) })
}

func (s *server) untag(id, tag string) {
	i := s.images[id]
	i.tags = slices.DeleteFunc(i.tags, func(t string) bool { return t == tag })
	repository, _, _ := strings.Cut(tag, ":")
	if !slices.ContainsFunc(i.tags, func(t string) bool { return strings.HasPrefix(t, repository+":") }) {
		i.digests = slices.DeleteFunc(i.digests, func(d string) bool { return strings.HasPrefix(d, repository+"@") })
	}
}

func (s *server) ListContainers(_ context.Context, req *cri.ListContainersRequest) (*cri.ListContainersResponse, error) {
	if req.Filter != nil {
		s.t.Errorf("containers were asked for with the filter %v", req.Filter)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var list cri.ListContainersResponse
	for _, c := range s.containers {
		list.Containers = append(list.Containers, c)
	}
	return &list, s.failure()
}

func (s *server) ContainerStatus(_ context.Context, req *cri.ContainerStatusRequest) (*cri.ContainerStatusResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked[req.ContainerId]++
	if err := s.unseen[req.ContainerId]; err != nil {
		return nil, err
	}
	if s.containers[req.ContainerId] == nil {
		return nil, status.Errorf(codes.NotFound, "could not find container %q", req.ContainerId)
	}
	return &cri.ContainerStatusResponse{Status: &cri.ContainerStatus{Id: req.ContainerId, Mounts: s.mounts[req.ContainerId]}}, nil
}

var states = map[enginetest.State]cri.ContainerState{
	enginetest.Created: cri.ContainerState_CONTAINER_CREATED,
	enginetest.Running: cri.ContainerState_CONTAINER_RUNNING,
	enginetest.Exited:  cri.ContainerState_CONTAINER_EXITED,
}

// start adds a container; it names its image as this runtime does.
func (s *server) start(id, image string, state enginetest.State, mounts ...*cri.Mount) (remove func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.containers[id] = &cri.Container{
		Id: id, Metadata: &cri.ContainerMetadata{Name: id}, State: states[state], ImageId: image,
		Labels: map[string]string{labelPodNamespace: "shop", labelPodName: "web-1", labelContainerName: "main"},
	}
	s.mounts[id] = mounts
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.containers, id)
	}
}

func (s *server) fixture(_ testing.TB, rt engine.Interface) enginetest.Fixture {
	return enginetest.Fixture{
		Runtime: rt, Repository: "registry.test", Private: privateHost,
		Credentials: engine.Credentials{Username: privateUser, Password: privatePassword},
		Push:        func(_ testing.TB, ref oci.Ref, content enginetest.Content) digest.Digest { return s.push(ref, content) },
		Start: func(t testing.TB, image oci.Ref, state enginetest.State) func() {
			t.Helper()
			id, err := s.find(image.String())
			if err != nil {
				t.Fatal(err)
			}
			return s.start("one", id, state)
		},
		Stall: func(_ testing.TB, repository string) { s.stalled[repository] = true },
	}
}
