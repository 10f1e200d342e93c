// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package lab_test

import (
	"context"
	"strings"
	"testing"
	"time"

	lab "orlop.dev/orlop/test/lab"
)

func crictlPull(t *testing.T, c *lab.Cluster, args ...string) error {
	t.Helper()
	_, err := c.Crictl(t.Context(), "node1", append([]string{"pull"}, args...)...)
	return err
}

func digests(t *testing.T, c *lab.Cluster) string {
	t.Helper()
	out, err := c.Crictl(t.Context(), "node1", "images", "--digests", "--no-trunc")
	ok(t, err)
	return out
}

func testRegistries(t *testing.T, c *lab.Cluster) {
	for name, image := range map[string]string{
		"Docker's": "docker.io/acme/same:1", "another of the same path": "ghcr.io/acme/same:1",
		"one with a port": "registry.example:5000/acme/same:1", "short name": "nginx", "private": lab.PrivateHost + "/acme/same:1",
	} {
		t.Run(name, func(t *testing.T) {
			digest := push(t, c, image, lab.ImageSpec{Layers: []lab.Layer{{Size: 1 << 10}, {Size: 1 << 10, Shared: "base"}}})
			args := []string{image}
			if strings.HasPrefix(image, lab.PrivateHost) {
				if err := crictlPull(t, c, image); err == nil || !strings.Contains(err.Error(), "authorization failed") {
					t.Errorf("pull without a password: %v", err)
				}
				args = []string{"--creds", lab.PrivateUser + ":" + lab.PrivatePassword, image}
			}
			ok(t, crictlPull(t, c, args...))
			if got := digests(t, c); !strings.Contains(got, digest) {
				t.Errorf("pulled, but not %s:\n%s", digest, got)
			}
		})
	}
	if err := crictlPull(t, c, "docker.io/acme/unknown:1"); err == nil || !strings.Contains(err.Error(), "not found") {
		t.Errorf("unknown image: %v", err)
	}
}

func testTags(t *testing.T, c *lab.Cluster) {
	image := "docker.io/acme/moved:1"
	first := push(t, c, image, lab.ImageSpec{Platforms: []string{"linux/amd64", "linux/arm64"}})
	again := push(t, c, image, lab.ImageSpec{Platforms: []string{"linux/amd64", "linux/arm64"}})
	second := push(t, c, image, lab.ImageSpec{Platforms: []string{"linux/amd64", "linux/arm64"}, Seed: "second"})
	if first != again || first == second {
		t.Errorf("digests %s, again %s, of another seed %s", first, again, second)
	}
	for _, reference := range []string{image, "docker.io/acme/moved@" + first} {
		ok(t, crictlPull(t, c, reference))
	}
	if got := digests(t, c); !strings.Contains(got, first) || !strings.Contains(got, second) {
		t.Errorf("want both digests:\n%s", got)
	}
	ok(t, c.DeleteImage(t.Context(), "docker.io/acme/moved@"+second))
	_, err := c.Crictl(t.Context(), "node2", "pull", image)
	if err == nil || !strings.Contains(err.Error(), "not found") {
		t.Errorf("pulling what is deleted: %v", err)
	}
}

func testFaults(t *testing.T, c *lab.Cluster) {
	for name, part := range map[string]func(*testing.T, *lab.Cluster){
		"refused": faultRefused, "used up": faultTimes, "slow": faultSlow, "stalled": faultStalled,
	} {
		t.Run(name, func(t *testing.T) {
			ok(t, c.ResetCounts(t.Context()))
			part(t, c)
			ok(t, c.ClearFaults(t.Context()))
		})
	}
}

func faultRefused(t *testing.T, c *lab.Cluster) {
	push(t, c, "docker.io/acme/refused:1", lab.ImageSpec{})
	push(t, c, "docker.io/other/fine:1", lab.ImageSpec{})
	for status, words := range map[int]string{429: "429 Too Many Requests", 503: "503 Service Unavailable", 403: "403 Forbidden"} {
		ok(t, c.AddFault(t.Context(), lab.Fault{Images: "docker.io/acme/*", Status: status, RetryAfter: time.Second}))
		if err := crictlPull(t, c, "docker.io/acme/refused:1"); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("status %d: %v", status, err)
		}
		ok(t, crictlPull(t, c, "docker.io/other/fine:1"))
		ok(t, c.ClearFaults(t.Context()))
	}
	ok(t, crictlPull(t, c, "docker.io/acme/refused:1"))
}

func faultTimes(t *testing.T, c *lab.Cluster) {
	push(t, c, "docker.io/acme/twice:1", lab.ImageSpec{})
	ok(t, c.AddFault(t.Context(), lab.Fault{Images: "docker.io/acme/twice", Only: "manifests", Status: 500, Times: 1}))
	err := crictlPull(t, c, "docker.io/acme/twice:1")
	faults, listErr := c.Faults(t.Context())
	ok(t, listErr)
	if len(faults) != 0 {
		t.Errorf("used up, and still in force: %v (the pull: %v)", faults, err)
	}
	ok(t, crictlPull(t, c, "docker.io/acme/twice:1"))
	counts, err := c.Counts(t.Context())
	ok(t, err)
	for _, count := range counts {
		if count.Image == "docker.io/acme/twice" && count.Kind == "manifests" && count.Requests >= 2 {
			return
		}
	}
	t.Errorf("counts %+v", counts)
}

func faultSlow(t *testing.T, c *lab.Cluster) {
	push(t, c, "docker.io/acme/slow:1", lab.ImageSpec{Program: lab.NoProgram, Layers: []lab.Layer{{Size: 2 << 20}}})
	ok(t, c.AddFault(t.Context(), lab.Fault{Images: "*/slow", Only: "blobs", BytesPerSecond: 1 << 20}))
	begin := time.Now()
	ok(t, crictlPull(t, c, "docker.io/acme/slow:1"))
	if took := time.Since(begin); took < 1500*time.Millisecond {
		t.Errorf("2 MiB at 1 MiB/s took %s", took)
	}
}

func faultStalled(t *testing.T, c *lab.Cluster) {
	push(t, c, "docker.io/acme/stalled:1", lab.ImageSpec{Program: lab.NoProgram, Layers: []lab.Layer{{Size: 1 << 20}}})
	ok(t, c.AddFault(t.Context(), lab.Fault{Images: "*/stalled", Only: "blobs", Stall: true, StallAfter: 64 << 10}))
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	pulled := make(chan error, 1)
	go func() {
		_, err := c.Crictl(ctx, "node1", "pull", "docker.io/acme/stalled:1")
		pulled <- err
	}()
	stalled := func() int64 {
		counts, err := c.Counts(t.Context())
		ok(t, err)
		for _, count := range counts {
			if count.Image == "docker.io/acme/stalled" && count.Kind == "blobs" {
				return count.Bytes
			}
		}
		return 0
	}
	eventually(t, "bytes before the stall", func() bool { return stalled() >= 64<<10 })
	select {
	case err := <-pulled:
		t.Fatalf("the pull ended while it should stall: %v", err)
	case <-time.After(time.Second):
	}
	ok(t, c.ClearFaults(t.Context()))
	ok(t, <-pulled)
}
