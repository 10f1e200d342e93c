// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

// Command lab runs a real Kubernetes cluster on a Linux machine.
package main

import (
	"fmt"
	"os"

	lab "orlop.dev/orlop/test/lab"
)

func main() {
	fmt.Fprintln(os.Stderr, "lab:", lab.Supported())
	os.Exit(1)
}
