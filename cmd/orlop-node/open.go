// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"os"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/engine/containerd"
	"orlop.dev/orlop/internal/engine/cri"
	"orlop.dev/orlop/internal/engine/docker"
	"orlop.dev/orlop/internal/engine/socket"
)

// containerdName is what containerd calls itself over CRI.
const containerdName = "containerd"

// open connects to the runtime at endpoint, or finds the one that serves Kubernetes on this machine.
func open(ctx context.Context, endpoint, name string) (engine.Interface, error) {
	return observer(nil).open(ctx, endpoint, name)
}

// observer hears of every call of the runtime; nil: nobody does.
type observer socket.Observer

func (o observer) open(ctx context.Context, endpoint, name string) (engine.Interface, error) {
	rt, err := socket.Search{
		Probes:   map[socket.Kind]socket.Probe{socket.CRI: o.probeCRI, socket.Docker: o.probeDocker},
		Endpoint: cmp.Or(endpoint, os.Getenv(socket.EndpointEnv)),
		Runtime:  name,
	}.Find(ctx)
	if err != nil {
		return nil, err
	}
	return engine.Verify(rt), nil
}

// probeCRI adds containerd's own services where it is containerd that answers.
func (o observer) probeCRI(ctx context.Context, endpoint string) (socket.Answer, error) {
	observed := socket.Observed(socket.Observer(o))
	rt, err := cri.Connect(ctx, endpoint, observed...)
	if err != nil {
		return socket.Answer{}, err
	}
	if rt.Name() != containerdName {
		return socket.Answer{Runtime: rt, Serving: rt.Serving}, nil
	}
	native, err := containerd.Connect(endpoint, rt, observed...)
	if err != nil {
		return socket.Answer{}, err
	}
	return socket.Answer{Runtime: native, Serving: rt.Serving}, nil
}

func (o observer) probeDocker(ctx context.Context, endpoint string) (socket.Answer, error) {
	rt, err := docker.Connect(ctx, endpoint, docker.Observer(o))
	if err != nil {
		return socket.Answer{}, err
	}
	return socket.Answer{Runtime: rt}, nil
}
