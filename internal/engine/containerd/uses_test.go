// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package containerd

import (
	"fmt"
	"strings"
	"testing"
	"time"

	containersapi "github.com/containerd/containerd/api/services/containers/v1"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
	criapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
)

func TestUsesBesideCRI(t *testing.T) {
	s := newServer("2.4.2")
	s.known = []*criapi.Container{{Id: "app"}}
	s.pods = []*criapi.PodSandbox{
		{Id: "pod", Metadata: &criapi.PodSandboxMetadata{Namespace: "shop", Name: "web-1"}}, {Id: "virtual machine"},
	}
	s.natives = []*containersapi.Container{
		{ID: "pod", Image: "a.test/pause:3"},
		{ID: "app", Image: "a.test/app:1"},
		{ID: "by name", Image: "busybox:1"},
		{ID: "by id", Image: imageID, Labels: map[string]string{labelName: "debug"}},
		{ID: "of no image"},
	}
	r := s.connected(t)
	uses, err := r.Uses(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []engine.Use{
		{ImageID: "of CRI"},
		{Ref: ref(t, "a.test/pause:3"), Kind: engine.UseSandbox, Pod: "shop/web-1"},
		{ImageID: imageID, Kind: engine.UseContainer, Container: "debug"},
		{Ref: ref(t, "docker.io/library/busybox:1"), Kind: engine.UseContainer, Container: "by name"},
	}
	if diff := cmp.Diff(want, uses, cmp.Comparer(func(a, b oci.Ref) bool { return a == b })); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, method := range []string{"Containers/ListStream", "RuntimeService/ListContainers", "RuntimeService/ListPodSandbox"} {
		s.fail(method, status.Error(codes.Unknown, "not found"))
		if uses, err := r.Uses(t.Context()); err == nil {
			t.Errorf("%s fails, and %v are told", method, uses)
		}
		s.fail(method, nil)
	}
}

// A container of an id that another one had uses what it stands on, and not what that one stood on.
func TestUsesOfAnIDThatIsTakenAgain(t *testing.T) {
	s := newServer("2.4.2")
	first, second := "sha256:"+strings.Repeat("1", 64), "sha256:"+strings.Repeat("2", 64)
	s.configs = map[string]string{"top-1": first, "top-2": second}
	r := s.connected(t)
	for at, image := range []string{first, second} {
		s.parents = map[string]string{"debug": fmt.Sprintf("top-%d", at+1)}
		s.natives = []*containersapi.Container{{
			ID: "debug", Image: "busybox:1", Snapshotter: "overlayfs", SnapshotKey: "debug", CreatedAt: timestamppb.New(time.Unix(int64(at), 0)),
		}}
		for range 2 {
			uses, err := r.Uses(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if len(uses) != 2 || uses[1].ImageID != image {
				t.Errorf("of container %d: %+v, want that of %s", at, uses, image)
			}
		}
	}
}
