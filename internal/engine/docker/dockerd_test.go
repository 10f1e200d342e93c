// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package docker_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"github.com/opencontainers/go-digest"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/engine/docker"
	"orlop.dev/orlop/internal/engine/enginetest"
	"orlop.dev/orlop/internal/oci"
)

const goarch = runtime.GOARCH

// dockerdVariable names a dockerd to prove the adapter with. The test must then be root, in a network namespace of
// its own, since dockerd changes the network that it finds.
const dockerdVariable = "ORLOP_TEST_DOCKERD"

// containerdVariable is for a dockerd whose containerd is not in PATH; snapshotterVariable chooses the containerd store.
const featuresVariable = "ORLOP_TEST_DOCKERD_CONFIG"

func TestRealDocker(t *testing.T) {
	binary := os.Getenv(dockerdVariable)
	if binary == "" {
		t.Skipf("no real Docker: %s names none", dockerdVariable)
	}
	endpoint := startDockerd(t, binary)
	login := &engine.Credentials{Username: "orlop", Password: "s3cret-word"}
	open, private := newRegistry(t, nil), newRegistry(t, login)
	api, err := client.New(client.WithHost(endpoint))
	if err != nil {
		t.Fatal(err)
	}
	rt, err := docker.Connect(t.Context(), endpoint)
	if err != nil {
		t.Fatal(err)
	}
	enginetest.Run(t, func(*testing.T) enginetest.Fixture {
		return enginetest.Fixture{
			Runtime: engine.Verify(rt), Repository: open.host, Private: private.host, Credentials: *login,
			Push: func(t testing.TB, ref oci.Ref, content enginetest.Content) digest.Digest {
				if ref.Registry() == private.host {
					return private.push(t, ref, content)
				}
				return open.push(t, ref, content)
			},
			Start: func(t testing.TB, image oci.Ref, state enginetest.State) func() {
				return startContainer(t, api, image, state)
			},
			Stall: open.stall,
			Can: enginetest.Abilities{
				OneTag: true, MoveTag: true, RefuseUse: true, ForceExited: true, Progress: true,
				Layers: os.Getenv("ORLOP_TEST_LAYERS") != "",
			},
		}
	})
}

func startContainer(t testing.TB, api *client.Client, image oci.Ref, state enginetest.State) func() {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	config := &container.Config{Image: image.String()}
	if state == enginetest.Exited {
		config.Cmd = []string{"exit"}
	}
	created, err := api.ContainerCreate(ctx, client.ContainerCreateOptions{
		Config: config, HostConfig: &container.HostConfig{NetworkMode: "none"},
	})
	if err != nil {
		t.Fatal(err)
	}
	remove := sync.OnceFunc(func() {
		if _, err := api.ContainerRemove(ctx, created.ID, client.ContainerRemoveOptions{Force: true}); err != nil {
			t.Errorf("removing container: %v", err)
		}
	})
	t.Cleanup(remove)
	if state != enginetest.Created {
		if _, err := api.ContainerStart(ctx, created.ID, client.ContainerStartOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
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

// startDockerd runs a daemon for as long as the test, with everything of it in one folder.
func startDockerd(t *testing.T, binary string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("a real dockerd needs root")
	}
	dir, err := os.MkdirTemp("", "dk") // Short: a socket's path has at most 107 characters.
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "docker.sock")
	configFile := filepath.Join(dir, "daemon.json")
	config := map[string]any{}
	if text := os.Getenv(featuresVariable); text != "" {
		if err := json.Unmarshal([]byte(text), &config); err != nil {
			t.Fatal(err)
		}
	}
	config["storage-driver"] = "overlay2"
	text, _ := json.Marshal(config)
	if strings.Contains(string(text), "containerd-snapshotter\":true") {
		delete(config, "storage-driver")
		text, _ = json.Marshal(config)
	}
	if err := os.WriteFile(configFile, text, 0o600); err != nil {
		t.Fatal(err)
	}
	daemon := exec.Command(binary, "--config-file", configFile, "--data-root", dir+"/data", "--exec-root", dir+"/exec",
		"--pidfile", dir+"/pid", "-H", "unix://"+socket, "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--bridge=none")
	var out lockedBuffer
	daemon.Stdout, daemon.Stderr = &out, &out
	daemon.Env = append(os.Environ(), "PATH="+filepath.Dir(binary)+":"+os.Getenv("PATH"))
	daemon.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = daemon.Process.Signal(syscall.SIGTERM)
		_ = daemon.Wait()
		if t.Failed() && os.Getenv("DOCKERD_LOG") != "" {
			t.Logf("dockerd said:\n%s", out.String())
		}
	})
	endpoint := "unix://" + socket
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if rt, err := docker.Connect(t.Context(), endpoint); err == nil {
			d, err := rt.Describe(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(os.Stderr, "%+v\n", d)
			_ = rt.Close()
			return endpoint
		}
		if time.Now().After(deadline) {
			t.Fatalf("dockerd does not answer:\n%s", out.String())
		}
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
