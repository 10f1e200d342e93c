// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package engines

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/engine/containerd"
	"orlop.dev/orlop/internal/engine/cri"
	"orlop.dev/orlop/internal/engine/enginetest"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/test/lab"
)

// engineNode is the machine with containerd on which adapters are proved.
const engineNode = "node1"

func TestMain(m *testing.M) {
	code := m.Run()
	for _, end := range atEnd {
		end()
	}
	os.Exit(code)
}

// atEnd takes down what tests share.
var atEnd []func()

func needEngines(t testing.TB) *lab.Cluster {
	t.Helper()
	lab.Need(t)
	c, err := startEngines()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// startEngines starts one lab for all tests of adapters; it has no Kubernetes.
var startEngines = sync.OnceValues(func() (*lab.Cluster, error) {
	c, err := lab.Start(context.Background(), lab.Options{Name: fmt.Sprintf("engines-%d", os.Getpid()), EnginesOnly: true, Nodes: 1})
	if err == nil {
		atEnd = append(atEnd, func() { _ = c.Close() })
	}
	return c, err
})

func connect(t testing.TB, c *lab.Cluster) (*containerd.Runtime, *cri.Runtime) {
	t.Helper()
	endpoint := "unix://" + c.ContainerdSocket(engineNode)
	plain, err := cri.Connect(t.Context(), endpoint)
	if err != nil {
		t.Fatal(err)
	}
	rt, err := containerd.Connect(endpoint, plain)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rt.Close() })
	return rt, plain
}

func TestContainerdConformance(t *testing.T) {
	c := needEngines(t)
	enginetest.Run(t, func(t *testing.T) enginetest.Fixture {
		rt, _ := connect(t, c)
		f := fixture(c, rt)
		f.Can = enginetest.Abilities{OneTag: true, MoveTag: true, Progress: true, Layers: true}
		return f
	})
}

func TestVerifiedContainerdConformance(t *testing.T) {
	c := needEngines(t)
	enginetest.Run(t, func(t *testing.T) enginetest.Fixture {
		rt, _ := connect(t, c)
		f := fixture(c, engine.Verify(rt))
		f.Can = enginetest.Abilities{OneTag: true, MoveTag: true, Progress: true, Layers: true}
		return f
	})
}

// TestPlainCRIConformance is what is left of containerd without its own services.
func TestPlainCRIConformance(t *testing.T) {
	c := needEngines(t)
	enginetest.Run(t, func(t *testing.T) enginetest.Fixture {
		_, plain := connect(t, c)
		return fixture(c, plain)
	})
}

func fixture(c *lab.Cluster, rt engine.Interface) enginetest.Fixture {
	return enginetest.Fixture{
		Runtime:     rt,
		Repository:  "registry.test",
		Private:     lab.PrivateHost,
		Credentials: engine.Credentials{Username: lab.PrivateUser, Password: lab.PrivatePassword},
		Push: func(t testing.TB, ref oci.Ref, content enginetest.Content) digest.Digest {
			t.Helper()
			return push(t, c, ref, content)
		},
		Start: func(t testing.TB, image oci.Ref, state enginetest.State) func() {
			t.Helper()
			return startContainer(t, c, rt, image, state)
		},
		Mount: func(t testing.TB, by, volume oci.Ref) func() {
			t.Helper()
			return startWith(t, c, enginetest.Running, idOf(t, rt, by), volume.String())
		},
		Stall: func(t testing.TB, repository string) {
			t.Helper()
			if err := c.AddFault(t.Context(), lab.Fault{Images: repository, Only: "blobs", Stall: true, StallAfter: 1 << 10}); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = c.ClearFaults(context.WithoutCancel(t.Context())) })
		},
		HasContent: func(t testing.TB, layer string) bool {
			t.Helper()
			return hasContent(t, c, layer)
		},
	}
}

// push gives equal images for equal contents, whatever their names: the lab makes layers from their shared name alone.
func push(t testing.TB, c *lab.Cluster, ref oci.Ref, content enginetest.Content) digest.Digest {
	t.Helper()
	spec := lab.ImageSpec{Seed: content.Seed}
	for _, layer := range content.Layers {
		spec.Layers = append(spec.Layers, lab.Layer{Size: layer.Size, Shared: layer.Seed})
	}
	if content.Index {
		spec.Platforms = []string{"linux/" + runtime.GOARCH, "linux/s390x"}
	}
	text, err := c.PushImage(t.Context(), ref.String(), spec)
	if err != nil {
		t.Fatal(err)
	}
	return digest.Digest(text)
}

func hasContent(t testing.TB, c *lab.Cluster, layer string) bool {
	t.Helper()
	list := []string{"ctr", "-n", "k8s.io", "content", "ls", "-q"}
	if snapshotter, key, ok := strings.Cut(layer, "/"); ok {
		list, layer = []string{"ctr", "-n", "k8s.io", "snapshots", "--snapshotter", snapshotter, "ls"}, key
	}
	out, err := c.Exec(t.Context(), engineNode, list...)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(out, layer)
}
