// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package engines

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/engine/docker"
	"orlop.dev/orlop/internal/engine/enginetest"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/test/lab"
)

// dockerRepository is in a registry that Docker reaches without a mirror, which it has for docker.io alone.
const dockerRepository = "ghcr.io/orlop"

// olderVariable names a dockerd of the distribution's to prove the adapter with, beside the lab's own; Debian's
// docker.io, unpacked anywhere, will do.
const olderVariable = "ORLOP_OLDER_DOCKERD"

// engineOfDocker is a Docker engine on a machine of its own.
type engineOfDocker struct {
	node  string
	store map[string]any // its features
	can   enginetest.Abilities
}

var dockerEngines = map[string]engineOfDocker{
	"graph driver": {
		node:  "graph",
		store: map[string]any{"storage-driver": "overlay2", "features": features(false)},
		can:   enginetest.Abilities{OneTag: true, MoveTag: true, RefuseUse: true, ForceExited: true, Progress: true, Layers: true},
	},
	"containerd store": {
		node:  "store",
		store: map[string]any{"features": features(true)},
		can:   enginetest.Abilities{OneTag: true, MoveTag: true, RefuseUse: true, ForceExited: true, Progress: true},
	},
}

// features are Docker's switches; a runc older than 1.2 starts no container with a time namespace.
func features(containerdStore bool) map[string]bool {
	return map[string]bool{"time-namespaces": false, "containerd-snapshotter": containerdStore}
}

func TestDockerConformance(t *testing.T) {
	c := needEngines(t)
	for name, e := range dockerEngines {
		t.Run(name, func(t *testing.T) {
			e.add(t, c)
			socket := c.DockerSocket(e.node)
			enginetest.Run(t, func(t *testing.T) enginetest.Fixture { return dockerFixture(t, c, socket, e.can) })
		})
	}
}

// TestOlderDockerConformance runs another dockerd on the machine of the graph driver's.
func TestOlderDockerConformance(t *testing.T) {
	binary := os.Getenv(olderVariable)
	if binary == "" {
		t.Skipf("no older Docker: %s names none", olderVariable)
	}
	c := needEngines(t)
	e := dockerEngines["graph driver"]
	e.add(t, c)
	const socket = "/run/older.sock"
	config, err := json.Marshal(map[string]any{
		"hosts": []string{"unix://" + socket}, "data-root": "/var/lib/docker/older", "exec-root": "/run/older", "pidfile": "/run/older.pid",
		"storage-driver": "overlay2", "iptables": false, "bridge": "none", "insecure-registries": []string{"ghcr.io"},
	})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "daemon.json")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.Put(e.node, file, "/etc/older.json"); err != nil {
		t.Fatal(err)
	}
	daemon, err := c.Command(context.WithoutCancel(t.Context()), e.node, "sh", "-c",
		`PATH=$(dirname "$0"):$PATH exec "$0" --config-file /etc/older.json`, binary)
	if err != nil {
		t.Fatal(err)
	}
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-daemon.Process.Pid, syscall.SIGTERM)
		_ = daemon.Wait()
	})
	onHost := filepath.Join(c.NodeDir(e.node), socket)
	enginetest.Run(t, func(t *testing.T) enginetest.Fixture {
		f := dockerFixture(t, c, onHost, e.can)
		f.Mount = nil // This one has no image volumes.
		return f
	})
}

var addedEngines struct {
	sync.Mutex
	nodes map[string]bool
}

// add gives the lab this engine, once.
func (e engineOfDocker) add(t *testing.T, c *lab.Cluster) {
	t.Helper()
	addedEngines.Lock()
	defer addedEngines.Unlock()
	if addedEngines.nodes[e.node] {
		return
	}
	if _, err := c.AddNode(t.Context(), lab.NodeOptions{Name: e.node, Engine: lab.Docker, Docker: e.store}); err != nil {
		t.Fatal(err)
	}
	if addedEngines.nodes == nil {
		addedEngines.nodes = map[string]bool{}
	}
	addedEngines.nodes[e.node] = true
}

func dockerFixture(t *testing.T, c *lab.Cluster, socket string, can enginetest.Abilities) enginetest.Fixture {
	t.Helper()
	rt, api := connectDocker(t, "unix://"+socket)
	f := fixture(c, engine.Verify(rt))
	f.Repository, f.HasContent, f.Can = dockerRepository, nil, can
	f.Start = func(t testing.TB, image oci.Ref, state enginetest.State) func() {
		t.Helper()
		config := &container.Config{Image: image.String()}
		if state == enginetest.Exited {
			config.Cmd = []string{"exit", "0"}
		}
		return startDocker(t, api, state, config, nil)
	}
	f.Mount = func(t testing.TB, by, volume oci.Ref) func() {
		t.Helper()
		return startDocker(t, api, enginetest.Running, &container.Config{Image: by.String()},
			[]mount.Mount{{Type: mount.TypeImage, Source: volume.String(), Target: "/volume"}})
	}
	return f
}

// connectDocker waits for an engine that is just starting.
func connectDocker(t testing.TB, endpoint string) (*docker.Runtime, *client.Client) {
	t.Helper()
	var rt *docker.Runtime
	var err error
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if rt, err = docker.Connect(t.Context(), endpoint, nil); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	api, err := client.New(client.WithHost(endpoint))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rt.Close(); _ = api.Close() })
	return rt, api
}

func startDocker(t testing.TB, api *client.Client, state enginetest.State, config *container.Config, mounts []mount.Mount) func() {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	created, err := api.ContainerCreate(ctx, client.ContainerCreateOptions{
		Config: config, HostConfig: &container.HostConfig{NetworkMode: "none", Mounts: mounts},
	})
	if err != nil {
		t.Fatal(err)
	}
	remove := sync.OnceFunc(func() {
		if _, err := api.ContainerRemove(ctx, created.ID, client.ContainerRemoveOptions{Force: true}); err != nil {
			t.Errorf("removing the container: %v", err)
		}
	})
	t.Cleanup(remove)
	if state == enginetest.Created {
		return remove
	}
	if _, err := api.ContainerStart(ctx, created.ID, client.ContainerStartOptions{}); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		found, err := api.ContainerInspect(ctx, created.ID, client.ContainerInspectOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if string(found.Container.State.Status) == string(state) {
			return remove
		}
		if time.Now().After(deadline) {
			t.Fatalf("the container is %s, not %s", found.Container.State.Status, state)
		}
	}
}
