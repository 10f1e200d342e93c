// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package lab

import (
	"os"
	"testing"
)

func TestCluster(t *testing.T) {
	if os.Getenv("CI") == "true" {
		t.Fatal("left out, and with CI=true that is a failure: ", Supported())
	}
	t.Skip("left out: ", Supported())
}
