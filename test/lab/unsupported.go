// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

// Package lab runs a real Kubernetes cluster, or machines with nothing but a container engine, on a Linux machine.
package lab

import "errors"

// Supported says why there can be no lab here.
func Supported() error { return errors.New("the lab needs Linux") }
