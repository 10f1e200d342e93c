// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package docker_test

import (
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/engine/docker"
	"orlop.dev/orlop/internal/oci"
)

var equalRefs = cmp.Comparer(func(a, b oci.Ref) bool { return a == b })

func TestList(t *testing.T) {
	d := newDaemon(t)
	d.on("GET /images/json", say([]map[string]any{
		{"Id": webID, "RepoTags": []string{"web:2", "web:1", "web@" + webDigest}, "RepoDigests": []string{"web@" + webDigest}, "Size": 30},
		{"Id": otherID, "RepoTags": []string{"<none>:<none>"}, "RepoDigests": []string{"<none>@<none>"}, "Size": 5},
		{"Id": "sha256:3", "RepoTags": []string{"registry.k8s.io/pause:3.10"}, "RepoDigests": nil, "Size": 1},
	}))
	tagged := time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC)
	d.on("GET /images/"+webID+"/json", say(map[string]any{
		"Id": webID, "Metadata": map[string]any{"LastTagTime": tagged}, "RootFS": map[string]any{"Layers": []string{"sha256:a", "sha256:b"}},
	}))
	d.on("GET /images/"+webID+"/history", say([]map[string]any{{"Size": 20}, {"Size": 0}, {"Size": 10}}))
	d.on("GET /images/"+otherID+"/json", refuse(http.StatusInternalServerError, "layer does not exist"))
	rt := d.connect()
	got, err := rt.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []engine.Image{
		{ID: webID, Tags: refs(t, "web:1", "web:2"), Digests: refs(t, "web@"+webDigest), DiskBytes: 30, FirstSeen: tagged},
		{ID: otherID, DiskBytes: 5},
		{ID: "sha256:3", Tags: refs(t, "registry.k8s.io/pause:3.10"), DiskBytes: 1, Sandbox: true},
	}
	if diff := cmp.Diff(want, got, equalRefs); diff != "" {
		t.Errorf("the list differs (-want +got):\n%s", diff)
	}
	if err := rt.Measure(t.Context(), got); err != nil {
		t.Fatal(err)
	}
	layers := []engine.Layer{{ID: "sha256:a", Bytes: 10}, {ID: digest.FromString("sha256:a sha256:b").String(), Bytes: 20}}
	if diff := cmp.Diff(layers, got[0].Layers); diff != "" {
		t.Errorf("layers differ (-want +got):\n%s", diff)
	}
	if len(got[1].Layers) != 0 {
		t.Errorf("layers of what cannot be inspected = %v", got[1].Layers)
	}
}

// TestListCannotTell proves that an error is never an empty list.
func TestListCannotTell(t *testing.T) {
	d := newDaemon(t)
	d.on("GET /images/json", refuse(http.StatusInternalServerError, "oh dear"))
	d.on("GET /containers/json", refuse(http.StatusInternalServerError, "oh dear"))
	d.on("GET /images/"+webID+"/json", refuse(http.StatusInternalServerError, "oh dear"))
	rt := d.connect()
	if images, err := rt.List(t.Context()); err == nil || images != nil {
		t.Errorf("List = %v, %v", images, err)
	}
	if images, err := rt.List(t.Context(), webID); err == nil || images != nil {
		t.Errorf("List of one = %v, %v", images, err)
	}
	if uses, err := rt.Uses(t.Context()); err == nil || uses != nil {
		t.Errorf("Uses = %v, %v", uses, err)
	}
	if err := rt.Remove(t.Context(), engine.RemoveRequest{Image: engine.Image{ID: webID}}); err == nil {
		t.Error("a removal that could not look says OK")
	}
}

// TestListByIDIsExact proves that what Docker finds by the beginning of an id is not taken for that id.
func TestListByIDIsExact(t *testing.T) {
	d := newDaemon(t)
	d.on("GET /images/sha256:11/json", say(map[string]any{"Id": webID}))
	images, err := d.connect().List(t.Context(), "sha256:11")
	if err != nil || len(images) != 0 {
		t.Errorf("List = %v, %v, want none", images, err)
	}
}

func TestUses(t *testing.T) {
	labels := func(kind string) map[string]string {
		return map[string]string{
			"io.kubernetes.docker.type": kind, "io.kubernetes.pod.namespace": "shop", "io.kubernetes.pod.name": "web-1",
			"io.kubernetes.container.name": "app",
		}
	}
	image := []map[string]string{{"Type": "image", "Name": "data:1"}, {"Type": "image", "Name": "gone:1"}, {"Type": "bind", "Name": "x"}}
	d := newDaemon(t)
	d.has(otherID, "data:1")
	d.on("GET /containers/json", say([]map[string]any{
		{"Id": "1", "Names": []string{"/k8s_app"}, "ImageID": webID, "State": "running", "Labels": labels("container")},
		{"Id": "2", "Names": []string{"/k8s_POD"}, "ImageID": webID, "State": "running", "Labels": labels("podsandbox")},
		{"Id": "3", "Names": []string{"/mine"}, "ImageID": webID, "State": "exited"},
		{"Id": "4", "Names": []string{"/new"}, "ImageID": webID, "State": "created"},
		{"Id": "5", "Names": []string{"/mounts"}, "ImageID": webID, "State": "paused", "Mounts": image},
	}))
	got, err := d.connect().Uses(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []engine.Use{
		{ImageID: webID, Kind: engine.UseContainer, Pod: "shop/web-1", Container: "app"},
		{ImageID: webID, Kind: engine.UseSandbox, Pod: "shop/web-1", Container: "app"},
		{ImageID: webID, Kind: engine.UseContainer, Container: "mine", Exited: true},
		{ImageID: webID, Kind: engine.UseContainer, Container: "new"},
		{ImageID: webID, Kind: engine.UseContainer, Container: "mounts"},
		{ImageID: otherID, Kind: engine.UseVolume, Container: "mounts"},
		{Ref: ref(t, "gone:1"), Kind: engine.UseVolume, Container: "mounts"},
	}
	if diff := cmp.Diff(want, got, equalRefs); diff != "" {
		t.Errorf("uses differ (-want +got):\n%s", diff)
	}
	if calls := d.called("GET"); calls[0] != "GET /containers/json?all=1" {
		t.Errorf("asked %s, want containers in every state", calls[0])
	}
}

func TestConnectToNothing(t *testing.T) {
	start := time.Now()
	_, err := docker.Connect(t.Context(), "unix://"+filepath.Join(t.TempDir(), "none.sock"), nil)
	if engine.ReasonOf(err) != engine.RuntimeUnavailable {
		t.Errorf("error = %v, want %s", err, engine.RuntimeUnavailable)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it took %s to say so", took)
	}
}

func TestDescribe(t *testing.T) {
	cases := map[string]struct {
		info map[string]any
		want string
	}{
		"a graph driver":           {map[string]any{"DriverStatus": [][2]string{{"Backing Filesystem", "extfs"}}}, "/data"},
		"a containerd of its own":  {map[string]any{"DriverStatus": [][2]string{{"driver-type", "io.containerd.snapshotter.v1"}}, "Containerd": map[string]any{"Address": "/run/docker/containerd/containerd.sock"}}, "/data"},
		"the machine's containerd": {map[string]any{"DriverStatus": [][2]string{{"driver-type", "io.containerd.snapshotter.v1"}}, "Containerd": map[string]any{"Address": "/run/containerd/containerd.sock"}}, "/var/lib/containerd"},
		"some other containerd":    {map[string]any{"DriverStatus": [][2]string{{"driver-type", "io.containerd.snapshotter.v1"}}, "Containerd": map[string]any{"Address": "/mnt/c/c.sock"}}, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			d := newDaemon(t)
			c.info["ServerVersion"], c.info["DockerRootDir"] = "29.0.0", "/data"
			d.on("GET /info", say(c.info))
			got, err := d.connect().Describe(t.Context())
			want := engine.Description{Name: "docker", Version: "29.0.0", Endpoint: d.endpoint, ImageFS: c.want}
			if err != nil || got != want {
				t.Errorf("Describe = %+v, %v, want %+v", got, err, want)
			}
		})
	}
}
