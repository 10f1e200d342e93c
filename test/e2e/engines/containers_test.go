// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package engines

import (
	"context"
	"crypto/rand"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	criapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/engine/enginetest"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/test/lab"
)

// startContainer does what the kubelet does: a sandbox, in the machine's own network, and a container in it.
func startContainer(t testing.TB, c *lab.Cluster, rt engine.Interface, image oci.Ref, state enginetest.State) (remove func()) {
	t.Helper()
	return startWith(t, c, state, idOf(t, rt, image), "")
}

// startWith mounts a second image where volume is one.
func startWith(t testing.TB, c *lab.Cluster, state enginetest.State, image, volume string) (remove func()) {
	t.Helper()
	conn, err := grpc.NewClient("unix://"+c.ContainerdSocket(engineNode), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	pods := criapi.NewRuntimeServiceClient(conn)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	sandbox := sandboxConfig(strings.ToLower(rand.Text()[:8]))
	pod, err := pods.RunPodSandbox(t.Context(), &criapi.RunPodSandboxRequest{Config: sandbox})
	must(err)
	config := containerConfig(sandbox, image, volume)
	container, err := pods.CreateContainer(t.Context(), &criapi.CreateContainerRequest{PodSandboxId: pod.PodSandboxId, SandboxConfig: sandbox, Config: config})
	must(err)
	if state != enginetest.Created {
		_, err = pods.StartContainer(t.Context(), &criapi.StartContainerRequest{ContainerId: container.ContainerId})
		must(err)
	}
	if state == enginetest.Exited {
		_, err = pods.StopContainer(t.Context(), &criapi.StopContainerRequest{ContainerId: container.ContainerId, Timeout: 1})
		must(err)
	}
	return func() {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
		defer cancel()
		defer conn.Close()
		_, err := pods.StopPodSandbox(ctx, &criapi.StopPodSandboxRequest{PodSandboxId: pod.PodSandboxId})
		must(err)
		_, err = pods.RemovePodSandbox(ctx, &criapi.RemovePodSandboxRequest{PodSandboxId: pod.PodSandboxId})
		must(err)
	}
}

func sandboxConfig(name string) *criapi.PodSandboxConfig {
	return &criapi.PodSandboxConfig{
		Metadata: &criapi.PodSandboxMetadata{Name: name, Namespace: "engines", Uid: name},
		Labels:   map[string]string{"io.kubernetes.pod.namespace": "engines", "io.kubernetes.pod.name": name, "io.kubernetes.container.name": "main"},
		Linux: &criapi.LinuxPodSandboxConfig{
			CgroupParent: "/" + engineNode,
			SecurityContext: &criapi.LinuxSandboxSecurityContext{
				NamespaceOptions: &criapi.NamespaceOption{Network: criapi.NamespaceMode_NODE},
			},
		},
	}
}

func containerConfig(sandbox *criapi.PodSandboxConfig, image, volume string) *criapi.ContainerConfig {
	config := &criapi.ContainerConfig{
		Metadata: &criapi.ContainerMetadata{Name: "main"}, Labels: sandbox.Labels,
		Image: &criapi.ImageSpec{Image: image}, Linux: &criapi.LinuxContainerConfig{},
	}
	if volume != "" {
		config.Mounts = []*criapi.Mount{{ContainerPath: "/volume", Image: &criapi.ImageSpec{Image: volume}, Readonly: true}}
	}
	return config
}

func idOf(t testing.TB, rt engine.Interface, image oci.Ref) string {
	t.Helper()
	images, err := rt.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range images {
		if slices.Contains(i.Tags, image) || slices.Contains(i.Digests, image) {
			return i.ID
		}
	}
	t.Fatalf("%s is not there", image)
	return ""
}
