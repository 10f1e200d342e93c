// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cri

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/engine/enginetest"
	"orlop.dev/orlop/internal/oci"
)

func TestUses(t *testing.T) {
	id := strings.Repeat("ab", 32)
	for name, c := range map[string]struct {
		container *cri.Container
		want      engine.Use
	}{
		"by id":          {&cri.Container{ImageId: id, ImageRef: "a.test/x@sha256:" + id}, engine.Use{ImageID: id}},
		"by digest":      {&cri.Container{ImageRef: "a.test/x@sha256:" + id}, engine.Use{Ref: ref(t, "a.test/x@sha256:"+id)}},
		"by id as a ref": {&cri.Container{ImageRef: "sha256:" + id}, engine.Use{ImageID: "sha256:" + id}},
		"by name":        {&cri.Container{Image: &cri.ImageSpec{Image: "nginx"}}, engine.Use{Ref: ref(t, "nginx")}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, "cri-o")
			c.container.Id, c.container.Metadata = "c1", &cri.ContainerMetadata{Name: "plain"}
			c.container.State = cri.ContainerState_CONTAINER_UNKNOWN
			s.containers["c1"] = c.container
			uses, err := s.connected(t).Uses(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			c.want.Kind, c.want.Container = engine.UseContainer, "plain"
			if diff := cmp.Diff([]engine.Use{c.want}, uses, cmp.Comparer(func(a, b oci.Ref) bool { return a == b })); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestUsesAskOnceForMounts(t *testing.T) {
	s := newServer(t, "cri-o")
	r := s.connected(t)
	volume := strings.Repeat("cd", 32)
	forget := s.start("c1", strings.Repeat("ab", 32), enginetest.Running, &cri.Mount{ContainerPath: "/host"},
		&cri.Mount{Image: &cri.ImageSpec{Image: volume, UserSpecifiedImage: "a.test/data:1"}})
	s.start("c2", strings.Repeat("ab", 32), enginetest.Exited)
	for range 3 {
		uses, err := r.Uses(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want := engine.Use{ImageID: volume, Kind: engine.UseVolume, Pod: "shop/web-1", Container: "main"}
		if !slices.Contains(uses, want) || len(uses) != 3 {
			t.Errorf("uses = %+v, want two containers and %+v", uses, want)
		}
	}
	if s.asked["c1"] != 1 || s.asked["c2"] != 1 {
		t.Errorf("asked for containers %v times, want once each", s.asked)
	}
	forget()
	if uses, err := r.Uses(t.Context()); err != nil || len(uses) != 1 {
		t.Errorf("uses = %+v, error %v", uses, err)
	}
	if len(r.mounts) != 1 {
		t.Errorf("containers that are gone are remembered: %v", r.mounts)
	}
}

func TestUsesOfAContainerThatCannotBeSeen(t *testing.T) {
	volume := strings.Repeat("cd", 32)
	for name, c := range map[string]struct {
		answer error
		fails  bool
	}{
		"gone":                          {answer: status.Error(codes.NotFound, "could not find container")},
		"something else is not found":   {answer: status.Error(codes.Unknown, "failed to get image: not found"), fails: true},
		"an answer that speaks of 404s": {answer: status.Error(codes.Internal, "log driver said 404"), fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, "cri-o")
			r := s.connected(t)
			s.start("c1", strings.Repeat("ab", 32), enginetest.Running, &cri.Mount{Image: &cri.ImageSpec{Image: volume}})
			s.unseen["c1"] = c.answer
			if _, err := r.Uses(t.Context()); (err != nil) != c.fails {
				t.Errorf("error %v", err)
			}
			delete(s.unseen, "c1")
			uses, err := r.Uses(t.Context())
			if err != nil || !slices.ContainsFunc(uses, func(u engine.Use) bool { return u.ImageID == volume }) {
				t.Errorf("seen again, uses = %+v, error %v", uses, err)
			}
		})
	}
}
