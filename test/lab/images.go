// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package lab

import (
	"cmp"
	"context"
	"os"

	"orlop.dev/orlop/test/lab/internal/images"
	"orlop.dev/orlop/test/lab/internal/registry"
	"orlop.dev/orlop/test/lab/internal/supervisor"
)

type (
	// ImageSpec is the shape of an image; the same shape under the same name is always the same image.
	ImageSpec = images.Spec
	// Layer is incompressible content of an image.
	Layer = images.Layer
	// Fault changes how the registries answer the nodes.
	Fault = registry.Fault
	// Count is how often the nodes asked the registries for something.
	Count = registry.Count
)

// The registry that wants TLS and a password, as the nodes know it, and what opens it.
const (
	PrivateHost     = supervisor.PrivateHost
	PrivateUser     = supervisor.PrivateUser
	PrivatePassword = supervisor.PrivatePassword
)

// PlainHost is a registry host without TLS that nodes and pods alike reach under this name: what asks a registry from
// within a pod finds the images there that nodes pull.
const PlainHost = supervisor.PlainHost

// MirrorHost has the images of all registry hosts but PrivateHost, each below its host's name: for what can be told of a mirror.
const MirrorHost = supervisor.MirrorHost

// NoProgram as an ImageSpec's Program makes an image that cannot run.
const NoProgram = "none"

// Registry is the address, on this machine, of the registry that holds the images of all hosts but PrivateHost:
// docker.io/acme/web is acme/web below docker.io there.
func (c *Cluster) Registry() string { return c.status.Registry }

// PushImage makes an image and pushes it to where the nodes find it under this name, whatever registry host that
// has; it returns the digest, of the index where there are several platforms. Its program is the lab's guest unless set.
func (c *Cluster) PushImage(ctx context.Context, image string, spec ImageSpec) (string, error) {
	if spec.Program = cmp.Or(spec.Program, c.Program("guest")); spec.Program == NoProgram {
		spec.Program = ""
	}
	target, err := c.target(image)
	if err != nil {
		return "", err
	}
	return images.Push(ctx, target, image, spec)
}

// DeleteImage removes a tag, or the manifest of a digest, from its registry.
func (c *Cluster) DeleteImage(ctx context.Context, image string) error {
	target, err := c.target(image)
	if err != nil {
		return err
	}
	return images.Delete(ctx, target, image)
}

// PrivateCA is the file with the certificate of the authority that PrivateHost's certificate is from.
func (c *Cluster) PrivateCA() string { return c.status.PrivateCA }

func (c *Cluster) target(image string) (images.Target, error) {
	host, err := images.Host(image)
	if err != nil || host != PrivateHost {
		return images.Plain(c.status.Registry), err
	}
	ca, err := os.ReadFile(c.status.PrivateCA)
	return images.Private(c.status.Private, ca, PrivateUser, PrivatePassword), err
}

// AddFault puts a fault of the registries in force, for what the nodes read; pushing from this machine is not touched.
func (c *Cluster) AddFault(ctx context.Context, fault Fault) error {
	_, err := call[struct{}](ctx, c, "AddFault", fault)
	return err
}

// ClearFaults ends all faults; what stalls goes on.
func (c *Cluster) ClearFaults(ctx context.Context) error {
	_, err := call[struct{}](ctx, c, "ClearFaults", struct{}{})
	return err
}

// Faults are the faults in force.
func (c *Cluster) Faults(ctx context.Context) ([]Fault, error) {
	return call[[]Fault](ctx, c, "Faults", struct{}{})
}

// Counts are what the nodes asked the registries for since the start, or the last ResetCounts.
func (c *Cluster) Counts(ctx context.Context) ([]Count, error) {
	return call[[]Count](ctx, c, "Counts", struct{}{})
}

// ResetCounts forgets what the nodes asked for so far.
func (c *Cluster) ResetCounts(ctx context.Context) error {
	_, err := call[struct{}](ctx, c, "ResetCounts", struct{}{})
	return err
}
