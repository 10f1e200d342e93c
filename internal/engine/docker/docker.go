// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package docker makes an engine.Interface of the Docker Engine API, version 1.40 (Docker 19.03) and newer, over a
// graph driver and over the containerd store. Docker cannot pin, nor take a removal back.
package docker

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/client"

	"orlop.dev/orlop/internal/engine"
)

const (
	// connectTimeout is how long a daemon may take to say its version: a dead socket must not look like a slow one.
	connectTimeout = 5 * time.Second
	// callTimeout bounds every call but a pull. Removing a large image takes a graph driver tens of seconds.
	callTimeout = 2 * time.Minute
)

// Runtime is a Docker daemon.
type Runtime struct {
	api      *client.Client
	endpoint string
	details  details
}

// Connect reaches the daemon at an endpoint such as unix:///run/docker.sock, and agrees with it on a version. observe, if set, hears of
// every call.
func Connect(ctx context.Context, endpoint string, observe Observer) (*Runtime, error) {
	api, err := client.New(append(observed(observe), client.WithHost(endpoint))...)
	if err != nil {
		return nil, engine.Because(engine.InvalidReference, fmt.Errorf("connecting to %s: %w", endpoint, err))
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if _, err := api.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true}); err != nil {
		_ = api.Close()
		return nil, engine.Because(engine.RuntimeUnavailable, fmt.Errorf("connecting to %s: %w", endpoint, err))
	}
	return &Runtime{api: api, endpoint: endpoint}, nil
}

// Close lets the connections go.
func (r *Runtime) Close() error { return r.api.Close() }

// Describe is part of engine.Interface.
func (r *Runtime) Describe(ctx context.Context) (engine.Description, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := r.api.Info(ctx, client.InfoOptions{})
	if err != nil {
		return engine.Description{}, foreign(fmt.Errorf("asking %s what it is: %w", r.endpoint, err))
	}
	return engine.Description{
		Name: "docker", Version: answer.Info.ServerVersion, Endpoint: r.endpoint, ImageFS: imageFS(answer.Info),
	}, nil
}

// imageFS is where the images are: below Docker's folder, but with the containerd store where containerd keeps them.
// That is below Docker's folder too when Docker runs a containerd for itself. For the machine's own it is not told, and
// taken to be the usual one; for any other it is unknown.
func imageFS(info system.Info) string {
	store := slices.ContainsFunc(info.DriverStatus, func(status [2]string) bool {
		return status[0] == "driver-type" && strings.HasPrefix(status[1], "io.containerd.snapshotter")
	})
	if !store || info.Containerd == nil {
		return info.DockerRootDir
	}
	switch address := info.Containerd.Address; {
	case address == "/run/containerd/containerd.sock", address == "/var/run/containerd/containerd.sock":
		return "/var/lib/containerd"
	case strings.HasSuffix(address, "/containerd/containerd.sock"):
		return info.DockerRootDir
	}
	return ""
}
