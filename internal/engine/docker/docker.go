// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package docker makes an engine.Interface of the Docker Engine API, version 1.40 (Docker 19.03) and newer, over a
// graph driver and over the containerd store. Docker cannot pin, nor take a removal back.
package docker

import (
	"context"
	"fmt"
	"path"
	"strings"
	"time"

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

// Connect reaches the daemon at an endpoint such as unix:///run/docker.sock, and agrees with it on a version.
func Connect(ctx context.Context, endpoint string) (*Runtime, error) {
	api, err := client.New(client.WithHost(endpoint))
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
	info := answer.Info
	folder := info.DockerRootDir
	for _, status := range info.DriverStatus {
		// With the containerd store, the images are where containerd keeps them: below Docker's folder for a
		// containerd that Docker started, else wherever that containerd was told to, which no one says.
		if status[0] == "driver-type" && strings.HasPrefix(status[1], "io.containerd.snapshotter") &&
			info.Containerd != nil && !ownContainerd(info.Containerd.Address) {
			folder = ""
		}
	}
	return engine.Description{Name: "docker", Version: info.ServerVersion, Endpoint: r.endpoint, ImageFS: folder}, nil
}

// ownContainerd reports whether this is the socket of a containerd that Docker runs for itself.
func ownContainerd(address string) bool {
	return path.Base(address) == "containerd.sock" && path.Base(path.Dir(address)) == "containerd" &&
		path.Dir(path.Dir(address)) != "/run" && path.Dir(path.Dir(address)) != "/var/run"
}
